"""ISMRMRD files whose acquisitions lie along a trajectory: radial and spiral scans, a plane at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.along import Acquired, AlongScan
from mrunfold.io.encoding import MAX_XML_BYTES, parse_encoding
from mrunfold.io.hdf5 import find, open_h5, reading
from mrunfold.io.heap import read_text
from mrunfold.io.mrd import choose_group, find_acquisitions, find_groups
from mrunfold.io.mrd_heads import read_heads
from mrunfold.io.trajectory import Trajectory

__all__ = ["mrd_along", "trajectory_of"]


def trajectory_of(path: Path, measurement: str | None) -> str | None:
    """Return the trajectory that an ISMRMRD header names, None for a Cartesian one."""
    with open_h5(path) as file:
        name, _ = choose_group(path, find_groups(path, file), measurement)
        xml = read_text(path, find(path, file[name], "xml"), MAX_XML_BYTES)
        named = parse_encoding(path, xml).trajectory
    return None if named in ("cartesian", "epi") else named


def mrd_along(path: Path, measurement: str | None = None, given: Trajectory | None = None) -> AlongScan:
    """Open an ISMRMRD file along the trajectories that its acquisitions carry, or a `given` one."""
    with open_h5(path) as file:
        data, xml, notes = find_acquisitions(path, file, measurement)
        encoding = parse_encoding(path, xml)
        heads = read_heads(path, data)

        def floats(numbers: np.ndarray, what: str, widths: np.ndarray) -> list[np.ndarray]:
            with reading(path, "its acquisitions"):
                found = [np.asarray(one) for one in data.fields(what)[numbers.tolist()]]
            for number, one in zip(numbers, found, strict=True):
                if one.dtype != np.float32 or one.size != widths[number] * heads["number_of_samples"][number]:
                    raise InputError(f"{path}: acquisition {number} is not as long as it says; it is damaged")
            return found

        def rows(numbers: np.ndarray) -> list[np.ndarray]:
            coils = heads["active_channels"]
            found = floats(numbers, "data", 2 * coils)
            return [
                np.ascontiguousarray(one).view(np.complex64).reshape(int(coils[number]), -1)
                for number, one in zip(numbers, found, strict=True)
            ]

        def carried(numbers: np.ndarray) -> list[np.ndarray]:
            axes = heads["trajectory_dimensions"].astype(np.int64)
            found = floats(numbers, "traj", axes)
            return [one.reshape(-1, int(axes[number])) for number, one in zip(numbers, found, strict=True)]

        return AlongScan(Acquired(path, "mrd", heads, encoding, rows, carried, notes), given)
