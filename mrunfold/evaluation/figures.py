"""Figures of a report, as text that a page holds: SVG of distributions, PNG of volumes."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mrunfold.evaluation.run import Run
from mrunfold.evaluation.volumes import METRICS, Pair
from mrunfold.figures import new_figure
from mrunfold.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ERROR_GAIN", "distributions_svg", "volume_png"]

ERROR_GAIN = 5
WINDOW = 99.5  # percentile of the target that is shown as white
LABELS = {"nmse": "NMSE", "psnr": "PSNR / dB", "ssim": "SSIM"}


def distributions_svg(runs: Sequence[Run]) -> str:
    """Return an <svg> element: a dot a volume and quartiles, by metric, acquisition and run."""
    import matplotlib

    figure = _figure(10.5, 3.6)
    groups = sorted({v.acquisition for run in runs for v in run.scored})
    for ax, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        for r, run in enumerate(runs):
            for g, group in enumerate(groups):
                values = np.array([getattr(v, metric) for v in run.scored if v.acquisition == group])
                values = values[np.isfinite(values)]  # a perfect volume has no place on the axis
                if not values.size:
                    continue
                centre = g + 0.3 * (r - (len(runs) - 1) / 2)
                # Spread by rank, so that the same run gives the same picture.
                spread = 0.16 * (np.arange(values.size) * 0.618034 % 1 - 0.5)
                label = f"{printable(run.name)}" if g == 0 else None
                ax.plot(centre + spread, values, "o", ms=3.5, alpha=0.6, mew=0, color=f"C{r}", label=label)
                low, middle, high = np.percentile(values, [25, 50, 75])
                ax.plot([centre + 0.11] * 2, [low, high], color="0.2", lw=1.2)
                ax.plot([centre + 0.11], [middle], "_", color="0.2", ms=8)
        ax.set_title(LABELS[metric], fontsize=10)
        slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(groups) > 3 else {}
        ax.set_xticks(range(len(groups)), groups, fontsize=8, **slanted)
        ax.set_xlim(-0.6, len(groups) - 0.4)
        ax.grid(axis="y", color="0.9")
    if len(runs) > 1:
        for entry in figure.axes[0].legend(fontsize=8).get_texts():
            entry.set_parse_math(False)  # a folder's name may hold dollars
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mrunfold"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font has not
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def volume_png(pair: Pair) -> tuple[str, int]:
    """Return (data URI, slice) of the middle slice: target, reconstruction, error ×5, std ×5 if known."""
    index = pair.target.shape[0] // 2
    target = pair.target[index].astype(np.float64)
    recon = pair.recon[index].astype(np.float64)
    panels = [("target", target), ("reconstruction", recon)]
    panels.append((f"error ×{ERROR_GAIN}", ERROR_GAIN * np.abs(recon - target)))
    if "std" in pair.uncertainty:
        panels.append(
            (f"standard deviation ×{ERROR_GAIN}", ERROR_GAIN * pair.uncertainty["std"][index].astype(float))
        )
    white = float(np.percentile(target, WINDOW)) or 1.0
    height, width = target.shape
    figure = _figure(2.6 * len(panels), 2.6 * height / width + 0.3)
    for ax, (name, image) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=white, interpolation="auto")
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii"), index


def _figure(width: float, height: float) -> Figure:
    return new_figure(figsize=(width, height), dpi=100, layout="tight", facecolor="white")
