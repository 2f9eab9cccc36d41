"""Masks as pictures: one sample a pixel, or several side by side with what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mrunfold.errors import InputError
from mrunfold.figures import new_figure
from mrunfold.masks.base import Mask
from mrunfold.masks.draw import KINDS, draw

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["gallery", "write_gallery", "write_pixels"]

PANEL_INCHES = 2.4
COLUMNS = 4


def gallery(
    shape: Sequence[int] = (160, 160), accel: float = 8, *, seed: int | Sequence[int] = 0
) -> list[Mask]:
    """Return one mask of each of KINDS."""
    return [draw(kind, shape, accel, seed=seed) for kind in KINDS]


def write_pixels(mask: Mask, path: Path) -> None:
    """Write a PNG of the mask's own size, white where a sample is kept; the readout runs down."""
    from matplotlib.image import imsave

    imsave(path, mask.array, cmap="gray", vmin=0, vmax=1)


def write_gallery(masks: Sequence[Mask], path: Path) -> None:
    """Write a PNG of the masks side by side, each with its name and its acceleration, asked and actual."""
    if not masks:
        raise InputError("a gallery needs at least one mask, got none")
    columns = min(COLUMNS, len(masks))
    rows = -(-len(masks) // columns)
    figure = new_figure(figsize=(PANEL_INCHES * columns, (PANEL_INCHES + 0.45) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, mask in zip(panels, masks, strict=False):
        asked = "" if mask.asked is None else f"R={mask.asked:g} asked, "
        panel.imshow(mask.array, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_title(f"{mask.kind}\n{asked}{mask.delivered:.2f} delivered", fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Software": None})
