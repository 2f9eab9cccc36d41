"""`mrunfold mask`: draws a sampling mask and says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.masks import Mask

__all__ = ["mask"]

WRITTEN = (".npy", ".png")


def mask(
    kind: Annotated[
        str,
        typer.Argument(
            help="random, equispaced, equispaced_fraction, magic, gaussian1d (lines); "
            "poisson, gaussian, radial (points)."
        ),
    ] = "poisson",
    size: Annotated[str, typer.Option(help="Readout × phase, as 320x320.")] = "320x320",
    accel: Annotated[float, typer.Option(help="Acceleration.")] = 4,
    calibration: Annotated[
        str | None, typer.Option(help="Fully sampled centre: lines, or samples an axis, 24 or 24x32.")
    ] = None,
    center_fraction: Annotated[
        float | None, typer.Option(help="The same as a fraction of the width, for lines.")
    ] = None,
    seed: Annotated[str, typer.Option(help="An integer, or a file's name as fastMRI has it.")] = "0",
    out: Annotated[
        Path | None, typer.Option(help="Write it: .npy (bool, readout × phase) or .png, a sample a pixel.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Instead, draw every kind at that size side by side in this .png.")
    ] = None,
) -> None:
    """Draw a sampling mask, say what it delivers, and write it if asked.

    Example: mrunfold mask poisson --size 320x320 --accel 8 --out mask.png
    """
    shape = _size(size, "--size")
    numbers = _seed(seed)
    if gallery is not None:
        if out is not None or calibration is not None or center_fraction is not None:
            raise InputError("--gallery draws every kind with its own centre; leave out the other options")
        _write_gallery(gallery, shape, accel, numbers)
        return
    if out is not None and out.suffix.lower() not in WRITTEN:
        raise InputError(f"--out is a .npy or a .png file, got {out}")

    from mrunfold.cli.console import note, print_table
    from mrunfold.masks import draw

    centre: int | tuple[int, int] | None = None
    if calibration is not None:
        centre = _size(calibration, "--calibration") if "x" in calibration.lower() else _integer(calibration)
    drawn = draw(kind, shape, accel, seed=numbers, calibration=centre, center_fraction=center_fraction)
    print_table(_describe(drawn, seed), title=str(drawn))
    if out is not None:
        _write(drawn, out)
        note(f"written: {out}")


def _describe(drawn: Mask, seed: str) -> list[tuple[str, str]]:
    kept = int(drawn.array.sum())
    lines = drawn.array.all(axis=0).sum()
    rows = [
        ("kind", drawn.kind),
        ("size", f"{drawn.shape[0]} × {drawn.shape[1]} (readout × phase)"),
        ("acceleration", f"{drawn.asked:g} asked, {drawn.delivered:.3f} delivered"),
        ("samples", f"{kept} of {drawn.array.size} ({kept / drawn.array.size:.1%})"),
        ("centre", f"{drawn.calibration[0]} × {drawn.calibration[1]} fully sampled"),
        ("seed", seed),
    ]
    if lines * drawn.shape[0] == kept:
        rows.insert(4, ("lines", f"{lines} of {drawn.shape[1]}"))
    return rows


def _write(drawn: Mask, out: Path) -> None:
    import numpy as np

    from mrunfold.io.atomic import atomic_path
    from mrunfold.masks.picture import write_pixels

    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, drawn.array)
        else:
            write_pixels(drawn, temporary)


def _write_gallery(path: Path, shape: tuple[int, int], accel: float, seed: int | tuple[int, ...]) -> None:
    from mrunfold.cli.console import note
    from mrunfold.io.atomic import atomic_path
    from mrunfold.masks.picture import gallery, write_gallery

    if path.suffix.lower() != ".png":
        raise InputError(f"--gallery is a .png file, got {path}")
    masks = gallery(shape, accel, seed=seed)
    with atomic_path(path) as temporary:
        write_gallery(masks, temporary)
    for drawn in masks:
        note(str(drawn))
    note(f"written: {path}")


def _size(text: str, option: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{option} is readout x phase, as 320x320, got {text!r}")
    return int(parts[0]), int(parts[1])


def _integer(text: str) -> int:
    if not text.strip().isdecimal():
        raise InputError(f"--calibration is a number or readout x phase, as 24 or 24x32, got {text!r}")
    return int(text)


def _seed(text: str) -> int | tuple[int, ...]:
    """Return the integer, or the characters of the file's name."""
    from mrunfold.masks import seed_from_name

    try:
        return int(text)
    except ValueError:
        return seed_from_name(text)
