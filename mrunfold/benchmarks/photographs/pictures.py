"""Pictures of `bench restore`: a row for each task, a column for each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mrunfold.benchmarks.photographs.restore import GRIDS, cut_middle, run_method, tasks, tuned
from mrunfold.errors import InputError
from mrunfold.figures import drawn_pixels, new_figure
from mrunfold.io.images import Photo, read_photo
from mrunfold.methods import Seeds, get_method
from mrunfold.metrics import psnr
from mrunfold.restoration.run import photo_problem
from mrunfold.restoration.settings import PHOTOGRAPHS, RestoreSettings

__all__ = ["PICTURED", "draw_row", "write_pictures"]

# The tasks that are drawn, by what they are called beside their row.
PICTURED = {
    "motion": "motion blur",
    "x4": "×4",
    "box": "box missing",
    "random": "70 % missing",
}
GAIN = 5
GAP, HEADING, LEFT, DPI = 4, 16, 20, 100  # pixels, and pixels an inch


def draw_row(
    photo: Photo,
    setting: RestoreSettings,
    *,
    weights: str = "natural-compact",
    prior: str | None = None,
    samples: int = 8,
    steps: int = 8,
) -> list[tuple[str, np.ndarray]]:
    """Return the panels (channel, y, x) of a task by their headings, in order.

    TV and plug-and-play (left out without a prior) have, of GRIDS, what suits this very image most; ours has
    nothing to choose.
    """
    problem, degraded, truth, grey = photo_problem(photo, setting)
    assert truth is not None
    found = [("degraded", _enlarged(degraded, truth.shape[1]))]
    rivals = {"TV": ("tv_isotropic", {}), "plug-and-play": ("plug_and_play", {"prior": prior})}
    for name, (method, fixed) in rivals.items():
        if method == "plug_and_play" and prior is None:
            continue
        best = tuned(method, fixed, GRIDS[method], setting, [("", photo)])
        found.append((name, run_method(method, fixed | best, problem, grey)[1]))
    drawn = PHOTOGRAPHS | {"weights": weights, "samples": samples, "steps": steps}
    ours = get_method("unfold", **drawn)(problem, Seeds())
    assert ours.samples is not None

    def shown(x: Tensor) -> np.ndarray:
        return (x.mean(dim=0, keepdim=True) if grey else x).clamp(0, 1).numpy()

    found += [("ours (mean)", shown(ours.mean)), ("ours (one sample)", shown(ours.samples[0]))]
    headed = [found[0]] + [(f"{n}, {psnr(truth, x, data_range=1.0):.1f} dB", x) for n, x in found[1:]]
    draws = ours.samples.mean(dim=1, keepdim=True) if grey else ours.samples
    std = draws.std(dim=0).mean(dim=0, keepdim=True).numpy()
    return [*headed, (f"std. deviation ×{GAIN}", np.clip(GAIN * std, 0, 1)), ("truth", truth)]


def write_pictures(
    path: Path,
    images: Sequence[Path],
    *,
    weights: str = "natural-compact",
    prior: str | None = None,
    crop: int = 144,
    samples: int = 8,
    steps: int = 8,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a PNG with a row for each task of PICTURED, of one image each, in order, cut to a middle crop².

    InputError for another number of images, and for images smaller than the crop.
    """
    if len(images) != len(PICTURED):
        names = ", ".join(PICTURED.values())
        raise InputError(f"{len(PICTURED)} images are drawn ({names}), got {len(images)}; name one for each")
    photos = [read_photo(file) for file in images]
    for file, photo in zip(images, photos, strict=True):
        if min(photo.pixels.shape[1:]) < crop:
            raise InputError(f"{file.name} is smaller than {crop}×{crop}; give a larger image or --crop")
    settings = tasks(Path("shake.png"))  # not read: no task with a kernel from a picture is drawn
    rows = []
    for (task, label), photo in zip(PICTURED.items(), photos, strict=True):
        row = draw_row(
            cut_middle(photo, crop), settings[task],
            weights=weights, prior=prior, samples=samples, steps=steps,
        )  # fmt: skip
        report(f"{label}: " + "; ".join(heading for heading, _ in row[1:-2]))
        rows.append((label, row))
    _write(path, rows)


def _enlarged(image: np.ndarray, height: int) -> np.ndarray:
    """Return an image whose pixels are squares, as high as the others."""
    factor = height // image.shape[1]
    return np.kron(image, np.ones((1, factor, factor), image.dtype))


def _write(path: Path, rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> None:
    """Write panels pixel by pixel: none is smoothed or resized."""
    from PIL import Image

    from mrunfold.io.atomic import atomic_path

    side = max(image.shape[1] for _, row in rows for _, image in row)
    columns = max(len(row) for _, row in rows)
    width = LEFT + columns * (side + GAP)
    height = len(rows) * (side + HEADING + GAP)
    figure = new_figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for i, (label, row) in enumerate(rows):
        top = i * (side + HEADING + GAP) + HEADING
        middle = 1 - (top + side / 2) / height
        figure.text(LEFT / 2 / width, middle, label, rotation=90, ha="center", va="center", fontsize=8)
        for j, (heading, image) in enumerate(row):
            tall, wide = image.shape[1:]
            left = LEFT + j * (side + GAP)
            place = (left / width, 1 - (top + tall) / height, wide / width, tall / height)
            ax = figure.add_axes(place)
            pixels = np.moveaxis(image, 0, -1)
            shown = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
            ax.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_axis_off()
            figure.text(left / width, 1 - (top - 4) / height, heading, ha="left", va="bottom", fontsize=7)
    with atomic_path(path) as part:  # without alpha, which is an eighth of the file
        Image.fromarray(drawn_pixels(figure)[..., :3]).save(part, format="PNG", optimize=True)
