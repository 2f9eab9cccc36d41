"""`mrunfold info`: what is in this file, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from mrunfold.io import Header, Scan

__all__ = ["info"]

SHOWN = 4  # spikes
FORMATS = {
    "fastmri": "fastMRI HDF5",
    "mrd": "ISMRMRD HDF5",
    "twix": "Siemens twix .dat",
    "cfl": "BART .cfl/.hdr",
    "array": "an array",
}


def info(
    file: Annotated[Path, typer.Argument(help="Raw data: fastMRI .h5, ISMRMRD .h5, twix .dat or BART .cfl.")],
    measurement: Annotated[
        str | None, typer.Option(help="Which of several in a file: ISMRMRD's group, twix's number.")
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            help="fastmri, mrd, twix, cfl, or package.module:Class; by default told by the content."
        ),
    ] = None,
    trajectory: Annotated[
        str | None, typer.Option(help="Where samples lie off the grid, as in `recon`.")
    ] = None,
    matrix: Annotated[
        str | None, typer.Option(help="Rows x columns of the image along a trajectory.")
    ] = None,
) -> None:
    """Say what is in a raw data file; nothing of patient, place or device is shown.

    Example: mrunfold info scan.h5
    """
    from mrunfold.cli.console import print_table
    from mrunfold.io import open_scan

    along = None
    if trajectory is not None:
        from mrunfold.cli.options import parse_matrix
        from mrunfold.io.trajectory import Trajectory

        along = Trajectory.of(trajectory, None if matrix is None else parse_matrix(matrix))
    with open_scan(file, measurement, reader, along) as scan:
        print_table(_rows(scan), title=str(file))


def _rows(scan: Scan) -> list[tuple[str, str]]:
    """Return name and words of everything known; of the samples, the middle slice is looked at."""
    from mrunfold.io import data_crimes
    from mrunfold.io.frames import frames_words
    from mrunfold.masks.partial import partial_axes

    header = scan.header
    middle = len(scan) // 2
    acquired = scan.acquired(middle)
    points = scan.trajectory(middle)
    partial = partial_axes(acquired) if points is None and header.region is None else ()
    flags = () if points is not None else data_crimes(scan.kspace(middle), acquired, header)
    noise = scan.noise()
    reference = scan.reference(middle)
    return [
        (
            "format",
            FORMATS.get(header.format, header.format)
            + (f", {header.acquisition}" if header.acquisition else ""),
        ),
        ("slices", str(header.images.places)),
        *([("frames", frames_words(header.images.frames))] if header.images.frames else []),
        ("coils", str(header.coils)),
        ("k-space", _kspace(scan) if points is None else f"{_size(header.matrix)} (readout × interleaf)"),
        *([] if points is None else [("trajectory", _along(points, acquired, header))]),
        ("oversampling", _oversampling(header.images)),
        ("image", _image(header.images)),
        *([("acquired", _sampling(acquired, header))] if points is None else []),
        *([("one side", "; ".join(map(str, partial)))] if partial else []),
        ("noise scan", "none" if noise is None else f"{noise.shape[1]} samples a coil"),
        ("own images", "none" if reference is None else f"{_size(reference.shape)}"),
        ("geometry", _geometry(header.images)),
        *(("note", note) for note in header.notes),
        *([("settings", _settings(header))] if header.contrast else []),
        ("data crimes", "none found" if not flags else "; ".join(flags)),
        ("spikes", _spikes(scan.kspace(middle), points, acquired)),
    ]


def _spikes(kspace: np.ndarray, points: np.ndarray | None, acquired: np.ndarray) -> str:
    """Say where spikes of a slice are, which `recon` leaves out."""
    from mrunfold.io.spikes import find_spikes, find_spikes_along

    places = (
        find_spikes(kspace, acquired) if points is None else find_spikes_along(kspace, points, acquired)
    ).tolist()
    if not places:
        return "none found in the middle slice"
    where = ", ".join(f"({y}, {x})" for y, x in places[:SHOWN]) + (", …" if len(places) > SHOWN else "")
    axes = "readout, phase" if points is None else "readout, interleaf"
    return f"{len(places)} in the middle slice, at ({axes}) = {where}; `recon` leaves them out"


def _kspace(scan: Scan) -> str:
    if scan.header.grid is not None:
        size = _size((scan.header.grid.stored, *scan.header.grid.size[1:]))
        return f"3-D, {size} (readout × phase × partition)"
    return f"{_size(scan.header.matrix)} (readout × phase)"


def _size(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def _along(points: np.ndarray, acquired: np.ndarray, header: Header) -> str:
    """Say what trajectory it is, how far it reaches, and how much of k-space's cells it samples."""
    import numpy as np

    from mrunfold.coils.trajectory import density_weights

    there = acquired if acquired.any() else np.ones_like(acquired)
    reach = float(np.linalg.norm(points, axis=-1).max())
    share = float(density_weights(points, there, header.crop).sum()) / (np.pi * reach**2)
    count = int(there.any(axis=0).sum())
    said = (
        f"{header.trajectory}, {count} interleaves that reach to {reach:.4g} cycles per field of view and "
        f"sample {100 * min(share, 1):.0f} % of the disc's cells, nominal R = "
    )
    if header.trajectory != "radial":
        return said + f"{max(1 / share, 1):.2f}"
    # Nyquist: neighbouring spokes are one cycle per field of view apart where they end.
    whole = np.linalg.norm(points[[0, -1]], axis=-1).min() > reach / 2
    needed = int(np.ceil((1 if whole else 2) * np.pi * reach))
    return said + f"{max(needed / count, 1):.2f} (Nyquist: {needed} spokes)"


def _oversampling(header: Header) -> str:
    stored, wanted = header.matrix[0], header.unoversampled
    if header.format in ("cfl", "array"):
        return "not said by the file; k-space is taken as it is"
    return (
        "none"
        if stored == wanted
        else f"{stored / wanted:.3g}× along the readout, {stored} → {wanted} samples"
    )


def _image(header: Header) -> str:
    words = f"{_size(header.crop)} pixels"
    if header.pixel_mm:
        words += f" of {header.pixel_mm[0]:.3g}×{header.pixel_mm[1]:.3g} mm"
    return words + (f", {header.slice_mm:.3g} mm thick" if header.slice_mm else "")


def _sampling(acquired: np.ndarray, header: Header) -> str:
    """Say what was acquired inside the padding, and the fully sampled centre of it."""
    from mrunfold.masks import calibration_region

    if header.region is not None:
        return _points(acquired, header.region)
    left, right = header.padding or (0, header.matrix[1])
    inside = acquired[:, left:right]
    zeros = (
        ""
        if right - left == header.matrix[1]
        else f"; lines {left} to {right - 1} of {header.matrix[1]}, rest is zero filling"
    )
    if inside.all():
        return f"all samples{zeros}"
    if not inside.any():
        return "nothing"
    if (lines := _lines(inside)) is not None:
        return lines + zeros
    region = calibration_region(acquired)
    centre = f"fully sampled centre {_size(region)}" if min(region) else "no fully sampled centre"
    return f"1 of {inside.size / inside.sum():.3g} samples, {centre}{zeros}"


def _points(acquired: np.ndarray, region: np.ndarray) -> str:
    """Say what was acquired of two phase encodings, bool (phase, partition), of the region of a full scan."""
    from mrunfold.masks import calibration_region

    share = "" if region.all() else f", of which a full scan has {100 * region.mean():.0f} %"
    size = f"{_size(acquired.shape)} (phase × partition){share}"
    if acquired[region].all():
        return f"all samples of {size}"
    centre = calibration_region(acquired)
    words = f"fully sampled centre {_size(centre)}" if min(centre) else "no fully sampled centre"
    return f"1 of {region.sum() / max(1, acquired.sum()):.3g} samples of {size}, {words}"


def _lines(acquired: np.ndarray) -> str | None:
    """Return "R = 3 with 49 reference lines" for equally spaced lines and a full centre, None for others.

    acquired: bool (readout, phase); lines may be as short as partial echoes are, all alike.
    """
    import numpy as np

    any_of, rows = acquired.any(axis=0), acquired.any(axis=1)
    kept = np.flatnonzero(any_of)
    if kept.size < 4 or not acquired[np.ix_(rows, any_of)].all():
        return None
    gaps = np.diff(kept)
    step = int(np.bincount(gaps[gaps > 1]).argmax()) if (gaps > 1).any() else 1
    if step < 2 or np.count_nonzero(gaps == step) < 0.9 * np.count_nonzero(gaps > 1):
        return None
    # The longest run of neighbours: it need not lie evenly about the centre.
    reference = max(len(run) for run in np.split(kept, np.flatnonzero(gaps > 1) + 1))
    net = acquired.shape[1] / kept.size
    centre = f"{reference} reference lines" if reference > 1 else "no reference lines"
    return f"R = {step} with {centre}, {kept.size} of {acquired.shape[1]} lines (1 of {net:.3g})"


def _geometry(header: Header) -> str:
    if header.geometry is None:
        return "unknown: the file has no positions and directions of its slices"
    return "known: position and direction of every slice"


def _settings(header: Header) -> str:
    units = {
        "TR_ms": "TR {:g} ms",
        "TE_ms": "TE {:g} ms",
        "flip_deg": "flip angle {:g}°",
        "field_T": "{:.3g} T",
    }
    return ", ".join(units.get(key, "{}").format(value) for key, value in header.contrast.items())
