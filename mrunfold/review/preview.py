"""preview.png: one slice, what it was made from, and how far it is from the truth where that is known."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrunfold.export.geometry import View
from mrunfold.figures import new_figure
from mrunfold.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ERROR_GAIN", "Preview", "draw_preview", "write_preview"]

ERROR_GAIN = 5
WINDOW = 99.5  # percentile of the brightest image that is shown as white; one window for all images
PANEL_INCHES = 3.0
DPI = 110


@dataclass(frozen=True)
class Preview:
    """What a preview shows, all of one slice.

    mask: bool k-space (readout, phase); zero_filled, recon, reference: magnitudes (readout, phase) in one
    scale, the last None where there is none; uncertainty: std and quantiles in that scale, by name; view,
    pixel_mm: how the images are turned and stretched; heading, captions: lines above and below; labels: what
    stands under a panel, by its name; warnings: set off in red.
    """

    mask: np.ndarray
    zero_filled: np.ndarray
    recon: np.ndarray
    heading: str
    reference: np.ndarray | None = None
    uncertainty: Mapping[str, np.ndarray] = field(default_factory=dict)
    view: View = field(default_factory=View)
    pixel_mm: tuple[float, float] | None = None
    captions: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def panels(self) -> list[tuple[str, np.ndarray]]:
        """Return the images by the names they are shown under, in order."""
        shown = [("zero-filled", self.zero_filled), ("reconstruction", self.recon)]
        if self.reference is not None:
            error = ERROR_GAIN * np.abs(self.recon - self.reference)
            shown += [("reference", self.reference), (f"error ×{ERROR_GAIN}", error)]
        for name, image in self.uncertainty.items():
            if name == "std":
                shown.append((f"standard deviation ×{ERROR_GAIN}", ERROR_GAIN * image))
            else:
                shown.append((f"{name.removeprefix('quantile_')} % quantile", image))
        return shown


def draw_preview(preview: Preview) -> Figure:
    """Return the figure: mask, zero-filled, reconstruction and, where known, reference, error ×5, std ×5."""
    panels = preview.panels()
    below = [*preview.warnings, *preview.captions]
    height = PANEL_INCHES + 0.9 + 0.22 * len(below)
    figure = new_figure(figsize=(PANEL_INCHES * (len(panels) + 1), height), dpi=DPI, facecolor="white")
    # parse_math=False: a name may hold dollars.
    heading = printable(preview.heading)
    figure.suptitle(heading, fontsize=10, x=0.01, ha="left", y=1 - 0.12 / height, va="top", parse_math=False)
    axes = figure.subplots(1, len(panels) + 1, squeeze=False)[0]
    bottom = (0.22 * len(below) + 0.4) / height
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.6 / height, bottom=bottom, wspace=0.04)
    labels = dict(preview.labels)
    _show(axes[0], "k-space mask", preview.mask.astype(float), 1.0, 1.0, labels)
    brightest = preview.recon if preview.reference is None else preview.reference
    white = float(np.percentile(brightest, WINDOW)) or 1.0
    for ax, (name, image) in zip(axes[1:], panels, strict=True):
        _show(ax, name, preview.view(image), white, _aspect(preview), labels)
    if preview.view.edges is not None:
        _name_edges(axes[2], preview.view.edges)
    for line, text in enumerate(below):
        color = "firebrick" if line < len(preview.warnings) else "0.25"
        y = (0.22 * (len(below) - line) - 0.05) / height
        figure.text(0.01, y, printable(text), fontsize=8, color=color, va="top", parse_math=False)
    return figure


def write_preview(path: Path, preview: Preview) -> None:
    """Write the figure of `draw_preview` as a PNG."""
    # No software or date in the file: the same run gives the same bytes.  Level 1 halves its time.
    figure = draw_preview(preview)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font has not
        figure.savefig(path, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 1})


def _aspect(preview: Preview) -> float:
    """Height over width of a pixel as shown."""
    if preview.pixel_mm is None:
        return 1.0
    read, phase = preview.pixel_mm
    return phase / read if preview.view.transpose else read / phase


def _show(
    ax: Axes, name: str, image: np.ndarray, white: float, aspect: float, labels: dict[str, str]
) -> None:
    ax.imshow(image, cmap="gray", vmin=0.0, vmax=white, origin="upper", interpolation="auto", aspect=aspect)
    ax.set_title(name, fontsize=9, pad=3)
    ax.set_xlabel(labels.get(name, ""), fontsize=8, labelpad=3)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():  # a mask that keeps everything is white on white
        spine.set_color("0.6")


def _name_edges(ax: Axes, edges: tuple[str, str, str, str]) -> None:
    places = [(0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom")]
    places += [(0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center")]
    for letter, (x, y, ha, va) in zip(edges, places, strict=True):
        ax.text(x, y, letter, transform=ax.transAxes, color="gold", fontsize=9, ha=ha, va=va)
