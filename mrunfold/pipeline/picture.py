"""An image as notebooks show it."""

from __future__ import annotations

import base64
import html

import numpy as np

from mrunfold.io.images import png_bytes

__all__ = ["image_html"]

WHITE = 99.5  # percentile of the image that is shown as white


def image_html(image: np.ndarray, spread: np.ndarray | None, words: str) -> str:
    """Return HTML of a magnitude (y, x) and, if known, its standard deviation ×5, side by side."""
    white = float(np.percentile(image, WHITE)) or 1.0
    panels = [image] if spread is None else [image, 5 * spread]
    row = np.clip(np.concatenate(panels, axis=1) / white, 0, 1)
    data = base64.b64encode(png_bytes(row)).decode("ascii")
    height, width = row.shape
    label = words if spread is None else f"{words}; standard deviation ×5"
    return (
        f'<figure style="margin:0"><img alt="{html.escape(label)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}"><figcaption>{html.escape(label)}</figcaption></figure>'
    )
