"""preview.png: one slice, what it was made from, and how far it is from the truth where that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrunfold.export.geometry import View
from mrunfold.text import printable

if TYPE_CHECKING:
    from PIL import Image, ImageFont

__all__ = ["ERROR_GAIN", "STD_PANEL", "Drawn", "Panel", "Preview", "draw_preview", "write_preview"]

ERROR_GAIN = 5
STD_PANEL = f"standard deviation ×{ERROR_GAIN}"
WINDOW = 99.5  # percentile of the brightest image that is shown as white; one window for all images
# Pixels: a panel's side and the gap beside it; from the top to the panels, under them for labels, a line.
SIDE, GAP, MARGIN, TOP, UNDER, LINE = 320, 12, 12, 66, 40, 24
HEADING, TITLE, SMALL = 15, 14, 12  # sizes of letters


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
                shown.append((STD_PANEL, ERROR_GAIN * image))
            else:
                shown.append((f"{name.removeprefix('quantile_')} % quantile", image))
        return shown


@dataclass(frozen=True)
class Panel:
    """An image of a drawn preview: its pixels as turned, the value that is white, and where it lies.

    box: (left, top, right, bottom) in pixels of the picture.
    """

    image: np.ndarray
    white: float
    box: tuple[int, int, int, int]


@dataclass
class Drawn:
    """A picture, its panels by name, and the texts in it, each with its colour."""

    picture: Image.Image
    panels: dict[str, Panel] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def write(
        self, place: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la"
    ) -> None:
        """Write a text of `size` pixels; anchor: which of its points lies at `place`, as Pillow has it."""
        from PIL import ImageDraw

        ImageDraw.Draw(self.picture).text(place, text, colour, font(size), anchor)
        self.texts.append((text, colour))

    def show(self, name: str, image: np.ndarray, white: float, aspect: float, left: int, label: str) -> None:
        """Draw a panel whose cell begins at `left`; aspect: height over width of a pixel."""
        from PIL import ImageDraw

        rows, columns = image.shape
        scale = SIDE / max(rows * aspect, columns)
        width, height = max(round(columns * scale), 1), max(round(rows * aspect * scale), 1)
        x, y = left + (SIDE - width) // 2, TOP + (SIDE - height) // 2
        box = x, y, x + width, y + height
        self.picture.paste(resized(image / white, width, height), box)
        # A mask that keeps everything is white on white.
        ImageDraw.Draw(self.picture).rectangle((x - 1, y - 1, x + width, y + height), outline="#999999")
        self.write((x + width / 2, y - 5), name, TITLE, "black", "ms")
        self.write((x + width / 2, y + height + 5), label, SMALL, "black", "ma")
        self.panels[name] = Panel(image, white, box)


def draw_preview(preview: Preview) -> Drawn:
    """Draw the mask, zero-filled, reconstruction and, where known, reference, error ×5 and std ×5."""
    from PIL import Image

    panels = preview.panels()
    below = [*preview.warnings, *preview.captions]
    size = MARGIN + (SIDE + GAP) * (len(panels) + 1), TOP + SIDE + UNDER + LINE * len(below)
    drawn = Drawn(Image.new("RGB", size, "white"))
    drawn.write((MARGIN, 13), printable(preview.heading), HEADING, "black")
    labels = dict(preview.labels)
    drawn.show("k-space mask", preview.mask.astype(np.float32), 1.0, 1.0, MARGIN, "")
    brightest = preview.recon if preview.reference is None else preview.reference
    white = float(np.percentile(brightest, WINDOW)) or 1.0
    for place, (name, image) in enumerate(panels, start=1):
        left = MARGIN + place * (SIDE + GAP)
        drawn.show(name, preview.view(image), white, _aspect(preview), left, labels.get(name, ""))
    if preview.view.edges is not None:
        _name_edges(drawn, drawn.panels["reconstruction"].box, preview.view.edges)
    for line, text in enumerate(below):
        colour = "firebrick" if line < len(preview.warnings) else "#404040"
        drawn.write((MARGIN, TOP + SIDE + UNDER + LINE * line), printable(text), SMALL, colour)
    return drawn


def write_preview(path: Path, preview: Preview) -> None:
    """Write the picture of `draw_preview` as a PNG; the same preview gives the same bytes."""
    draw_preview(preview).picture.save(path, format="PNG", compress_level=1)


def resized(image: np.ndarray, width: int, height: int) -> Image.Image:
    """Return an image from 0 to 1 as grey levels of another size: pixels stay pixels where they are large."""
    from PIL import Image

    clipped = np.ascontiguousarray(np.clip(np.nan_to_num(image), 0, 1), np.float32)
    exact = (width % image.shape[1], height % image.shape[0]) == (0, 0) or width > 3 * image.shape[1]
    how = Image.Resampling.NEAREST if exact else Image.Resampling.HAMMING
    grey = np.asarray(Image.fromarray(clipped).resize((width, height), how))
    return Image.fromarray(np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8))


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans of so many pixels, which matplotlib carries; matplotlib itself is not imported."""
    from PIL import ImageFont

    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _aspect(preview: Preview) -> float:
    """Height over width of a pixel as shown."""
    if preview.pixel_mm is None:
        return 1.0
    read, phase = preview.pixel_mm
    return phase / read if preview.view.transpose else read / phase


def _name_edges(drawn: Drawn, box: tuple[int, int, int, int], edges: tuple[str, str, str, str]) -> None:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    places = [((x, top + 4), "ma"), ((x, bottom - 4), "md"), ((left + 5, y), "lm"), ((right - 5, y), "rm")]
    for letter, (place, anchor) in zip(edges, places, strict=True):
        drawn.write(place, letter, TITLE, "gold", anchor)
