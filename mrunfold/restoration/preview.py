"""The preview of a restored photograph: what it was made from, what came out, how sure that is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrunfold.figures import new_figure
from mrunfold.text import printable

if TYPE_CHECKING:
    from mrunfold.restoration.outcome import Outcome

__all__ = ["panels", "write_preview"]

GAIN = 5
SIDE_INCHES = 3.2
DPI = 110


def panels(outcome: Outcome) -> list[tuple[str, np.ndarray]]:
    """Return the images (channel, y, x) by the names they are shown under, in order."""
    score = "" if outcome.scores is None else f", {outcome.scores['psnr']:.2f} dB"
    shown = [("degraded", outcome.degraded), (f"restored{score}", outcome.restored)]
    if outcome.samples is not None:
        shown.append(("one sample", outcome.samples[0]))
    if outcome.std is not None:
        shown.append((f"standard deviation ×{GAIN}", GAIN * outcome.std.mean(axis=0, keepdims=True)))
    if outcome.truth is not None:
        error = GAIN * np.abs(outcome.restored - outcome.truth).mean(axis=0, keepdims=True)
        shown += [("truth", outcome.truth), (f"error ×{GAIN}", error)]
    return shown


def write_preview(path: Path, outcome: Outcome, heading: str) -> None:
    """Write a PNG of the panels in a row; the same outcome gives the same bytes."""
    shown = panels(outcome)
    height, width = outcome.restored.shape[1:]
    tall = SIDE_INCHES * min(max(height / width, 0.3), 2.5)
    figure = new_figure(figsize=(SIDE_INCHES * len(shown), tall + 0.7), dpi=DPI, facecolor="white")
    # parse_math=False: a name may hold dollars.
    figure.suptitle(printable(heading), fontsize=10, x=0.01, ha="left", y=0.98, va="top", parse_math=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.6 / (tall + 0.7), wspace=0.04)
    for ax, (name, image) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        clipped = np.clip(np.moveaxis(image, 0, -1), 0, 1)
        ax.imshow(clipped if clipped.shape[-1] == 3 else clipped[..., 0], cmap="gray", vmin=0, vmax=1)
        ax.set_title(name, fontsize=9, pad=3)
        ax.set_axis_off()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font has not
        figure.savefig(path, format="png", metadata={"Software": None})
