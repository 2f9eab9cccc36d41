"""Headers of ISMRMRD acquisitions, read without their samples."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.heap import read_field

__all__ = ["FLAGS", "NOT_IMAGE", "VECTORS", "VOLUME", "diffusion_apart", "flagged", "heads_of", "read_heads"]

# ISMRMRD numbers its flags from 1: flag n is bit n − 1.
FLAGS = {
    "noise": 19,
    "calibration": 20,
    "calibration and imaging": 21,
    "reverse": 22,
    "navigation": 23,
    "phase correction": 24,
    "feedback": 26,
    "dummy scan": 27,
    "real-time feedback": 28,
    "surface coil correction": 29,
    "phase stabilisation reference": 30,
    "phase stabilisation": 31,
}
NOT_IMAGE = tuple(name for name in FLAGS if name not in {"calibration", "calibration and imaging", "reverse"})
# Counters that make frames, slowest first; `diffusion` is whichever one the header names (`diffusion_apart`).
VOLUME = ("repetition", "phase", "set", "diffusion", "contrast")
VECTORS = ("position", "read_dir", "phase_dir", "slice_dir")
FIELDS = (
    "flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample",
    "encoding_space_ref", "trajectory_dimensions", "sample_time_us", *VECTORS,
)  # fmt: skip
COUNTERS = (
    "kspace_encode_step_1", "kspace_encode_step_2", "slice", "average", "segment", "repetition", "phase",
    "set", "contrast",
)  # fmt: skip
STAMPS = ("acquisition_time_stamp", "physiology_time_stamp")
USER = 8  # counters without a name
MAX_ACQUISITIONS = 1_000_000


def read_heads(path: Path, data: h5py.Dataset) -> dict[str, np.ndarray]:
    """Return the needed fields of all acquisition headers, each (acquisition, …); no samples are read."""
    if not _is_acquisitions(data.dtype):
        raise InputError(f"{path}: its `data` are not ISMRMRD acquisitions (head, traj, data); write it anew")
    if data.size > MAX_ACQUISITIONS:
        raise InputError(f"{path}: {data.size} acquisitions, at most {MAX_ACQUISITIONS} are read; split it")
    heads = heads_of(read_field(path, data, "head"))
    # Samples are stored uncompressed: together they cannot be larger than the file.
    declared = 8 * int((heads["number_of_samples"] * heads["active_channels"]).sum())
    if declared > os.path.getsize(path):
        raise InputError(
            f"{path}: its acquisitions declare {declared / 1e6:.3g} MB but the file has "
            f"{os.path.getsize(path) / 1e6:.3g} MB; it is truncated or damaged"
        )
    return heads


def heads_of(raw: np.ndarray) -> dict[str, np.ndarray]:
    """Return the needed fields of headers (acquisition,) of ISMRMRD's structure, as `read_heads` does."""
    heads = {name: np.asarray(raw[name]) for name in FIELDS}
    heads.update({f"idx.{name}": np.asarray(raw["idx"][name]).astype(np.int64) for name in COUNTERS})
    heads.update({f"idx.user_{n}": raw["idx"]["user"][:, n].astype(np.int64) for n in range(USER)})
    heads.update({name: np.asarray(raw[name]).astype(np.int64) for name in STAMPS})
    for name in ("number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample"):
        heads[name] = heads[name].astype(np.int64)
    return heads


def _is_acquisitions(dtype: np.dtype) -> bool:
    """Return whether rows have the fields that are used, numbers of the right shape in each."""
    if not {"head", "traj", "data"} <= set(dtype.names or ()):
        return False
    head = dtype["head"]
    if not {*FIELDS, *STAMPS, "idx"} <= set(head.names or ()):
        return False
    if not {*COUNTERS, "user"} <= set(head["idx"].names or ()):
        return False
    vectors = all(head[name].base.kind == "f" and head[name].shape == (3,) for name in VECTORS)
    counts = all(head[name].kind in "ui" for name in FIELDS if name not in (*VECTORS, "sample_time_us"))
    counters = all(head["idx"][name].kind in "ui" for name in COUNTERS)
    counters &= head["idx"]["user"].base.kind in "ui" and head["idx"]["user"].shape == (USER,)
    counters &= all(head[name].base.kind in "ui" for name in STAMPS)
    counters &= [head[name].shape for name in STAMPS] == [(), (3,)]
    floats = all(h5py.check_vlen_dtype(dtype[name]) == np.float32 for name in ("traj", "data"))
    return vectors and counts and counters and floats and head["sample_time_us"].kind == "f"


def flagged(flags: np.ndarray, name: str) -> np.ndarray:
    """Return which acquisitions carry the flag `name`, bool (acquisition,)."""
    return (flags >> np.uint64(FLAGS[name] - 1)) & np.uint64(1) > 0


def diffusion_apart(heads: dict[str, np.ndarray], counter: str | None) -> dict[str, np.ndarray]:
    """Return the headers with a counter `idx.diffusion`, 0 where diffusion weightings have none of their own.

    counter: what the file's header counts them by, None where it does not say.  Those that VOLUME holds
    already make frames as they are; averages that are weightings are averages no longer.
    """
    heads = dict(heads)
    nothing = np.zeros(len(heads["flags"]), np.int64)
    own = counter is not None and counter not in VOLUME and f"idx.{counter}" in heads
    heads["idx.diffusion"] = heads[f"idx.{counter}"] if own else nothing
    if counter == "average":
        heads["idx.average"] = nothing
    return heads
