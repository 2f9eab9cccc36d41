"""What BART's sixteen dimensions are, and where an image lies among a file's bytes.

0 readout, 1 phase encoding, 2 second phase encoding, 3 coil, 5 echo, 10 and 11 time, 13 slice, 14 average
(`misc/mri.h`: TE_DIM, TIME_DIM, TIME2_DIM, SLICE_DIM, AVG_DIM).
"""

from __future__ import annotations

from collections.abc import Sequence

from mrunfold.io.frames import Frames

__all__ = ["AVERAGE", "COIL", "DIMENSIONS", "FRAMES", "READ", "SLICE", "averages_said", "frames_in", "run_of"]

COIL, SLICE, AVERAGE, DIMENSIONS = 3, 13, 14, 16
# Dimensions that are frames, and what each counts; slowest first, as bytes lie.
FRAMES = {11: "repetition", 10: "phase", 5: "contrast"}
READ = (0, 1, 2, COIL, SLICE, AVERAGE, *FRAMES)


def frames_in(dims: Sequence[int], each: int) -> tuple[int, Frames | None]:
    """Return how many frames there are, and what they are called; each: images of one of them."""
    varying = [axis for axis in FRAMES if dims[axis] > 1]
    labels: list[dict[str, float]] = [{}]
    for axis in varying:
        labels = [{**one, FRAMES[axis]: float(n)} for one in labels for n in range(dims[axis])]
    return len(labels), Frames.grid(labels, each) if varying else None


def averages_said(dims: Sequence[int]) -> tuple[str, ...]:
    """Return what a reader must know of averages."""
    if dims[AVERAGE] == 1:
        return ()
    return (f"{dims[AVERAGE]} averages are averaged, each where it has samples",)


def run_of(dims: Sequence[int], frame: int, place: int, average: int) -> int:
    """Return which of the file's runs of dimensions 0 to 3 an average of a slice of a frame is."""
    at = [0] * DIMENSIONS
    at[SLICE], at[AVERAGE] = place, average
    for axis in reversed(FRAMES):  # the last counts fastest
        frame, at[axis] = divmod(frame, dims[axis])
    run = 0
    for axis in range(DIMENSIONS - 1, COIL, -1):
        run = run * dims[axis] + at[axis]
    return run
