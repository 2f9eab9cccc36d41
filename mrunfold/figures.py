"""Figures of matplotlib that draw into memory, whatever backend the process or its environment names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawn_pixels", "new_figure"]


def new_figure(*args: Any, **options: Any) -> Figure:
    """Return a Figure(…) with an Agg canvas of its own.

    matplotlib is not imported where $MPLBACKEND, which Jupyter sets for its children, names a backend that is
    not installed; so the variable is set aside meanwhile.
    """
    named = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    figure = Figure(*args, **options)
    FigureCanvasAgg(figure)
    return figure


def drawn_pixels(figure: Figure) -> Any:
    """Return the pixels of a figure of `new_figure`, uint8 (height, width, RGBA)."""
    import numpy as np

    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
