"""`mrunfold bench restore`: photographs under many operators, one network against classical methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.photographs.deepinv_tv import INSTALL, DeepinvTotalVariation, installed
from mrunfold.benchmarks.photographs.rows import RestoreRow
from mrunfold.benchmarks.quality.scans import method_words
from mrunfold.io.images import Photo, read_photo, write_photo
from mrunfold.methods import Result, Seeds, get_method
from mrunfold.metrics import psnr, ssim
from mrunfold.metrics.lpips import Lpips
from mrunfold.problem import Problem
from mrunfold.restoration.run import photo_problem
from mrunfold.restoration.settings import PHOTOGRAPHS, RestoreSettings

__all__ = [
    "GRIDS",
    "SEEN",
    "UNSEEN",
    "cut_middle",
    "measure",
    "read_images",
    "rivals_here",
    "run_method",
    "tasks",
    "tuned",
    "write_shake",
]

SEEN = ("gaussian", "motion", "x2", "x4", "box", "random", "denoise")
# A task that no network was trained on, and the trained ones that are most like it.
UNSEEN: dict[str, tuple[str, ...]] = {
    "disc": ("gaussian", "motion"),
    "x3": ("x2", "x4"),
    "shake": ("motion",),
}
SAMPLED = ("x4", "box", "random")
# What each rival is tried with; the best over the tuning images is then kept for a task.
TV_GRID = tuple({"lamda": v} for v in (0.0005, 0.001, 0.002, 0.004, 0.01, 0.02, 0.05, 0.1))
GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "tikhonov": tuple({"lamda": v} for v in (4.0, 16.0, 64.0, 256.0)),
    "tv_isotropic": TV_GRID,
    "deepinv_tv": TV_GRID,
    "plug_and_play": (
        {"max_iter": 8, "sigma_start": 0.2},
        {"max_iter": 24, "sigma_start": 0.2},
        {"max_iter": 24, "sigma_start": 0.2, "lamda": 0.1},
        {"max_iter": 48, "sigma_start": 1.0},
    ),
}


def rivals_here(report: Callable[[str], None]) -> tuple[str, ...]:
    """Return the methods of GRIDS that can run here; `report` gets a line about one that cannot."""
    if installed():
        return tuple(GRIDS)
    report(f"deepinv is not installed: the row deepinv_tv is left out; {INSTALL} adds it")
    return tuple(name for name in GRIDS if name != DeepinvTotalVariation.name)


def write_shake(path: Path) -> None:
    """Write the picture of a kernel as of a shaken hand, 19×19: a curve that is neither straight nor even."""
    t = torch.linspace(0, 1, 400, dtype=torch.float64)
    x = 9 + 6.5 * torch.sin(2.1 * torch.pi * t) * (0.4 + 0.6 * t)
    y = 9 + 7.0 * torch.cos(1.3 * torch.pi * t + 0.4) * (1 - 0.3 * t)
    picture = torch.zeros(19, 19, dtype=torch.float64)
    speed = 0.3 + torch.sin(torch.pi * t) ** 2
    grid = torch.arange(19, dtype=torch.float64)
    for px, py, weight in zip(x, y, speed, strict=True):
        picture += weight * torch.exp(-((grid[:, None] - py) ** 2 + (grid - px) ** 2) / 0.5)
    write_photo(path, (picture / picture.max()).numpy()[None])


def tasks(shake: Path, sigma_y: float = 0.02) -> dict[str, RestoreSettings]:
    """Return the tasks by name, all simulated with wrapped borders; shake: the kernel's picture."""

    def make(task: str, **options: Any) -> RestoreSettings:
        common: dict[str, Any] = {"noise": sigma_y, "border": "circular", "simulate": True}
        return RestoreSettings(task, **(common | options))

    return {
        "gaussian": make("deblur", kernel="gaussian:1.6:9"),
        "motion": make("deblur", kernel="motion:15:30"),
        "x2": make("upscale", factor=2),
        "x4": make("upscale", factor=4),
        "box": make("inpaint", mask="box:32"),
        "random": make("inpaint", mask="random:0.7"),
        "denoise": make("denoise", noise=0.1),
        "disc": make("deblur", kernel="disc:3"),
        "x3": make("upscale", factor=3),
        "shake": make("deblur", kernel=str(shake)),
    }


def read_images(folder: Path, count: int | None = None, crop: int | None = None) -> list[tuple[str, Photo]]:
    """Return (name, photo) of a folder's images, `count` of them spread over it, cut to a middle `crop`²."""
    from mrunfold.io.images import photos_in

    files = photos_in(folder)
    if count is not None and count < len(files):
        files = [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]
    return [(file.name, cut_middle(read_photo(file), crop)) for file in files]


def cut_middle(photo: Photo, crop: int | None) -> Photo:
    """Return the middle crop × crop of a photo without its alpha; as much as there is, all for None."""
    if crop is None:
        return photo
    height, width = photo.pixels.shape[1:]
    side = (min(crop, height), min(crop, width))
    top, left = (height - side[0]) // 2, (width - side[1]) // 2
    return Photo(np.ascontiguousarray(photo.pixels[:, top : top + side[0], left : left + side[1]]), None, 8)


def _size(photo: Photo) -> str:
    height, width = photo.pixels.shape[1:]
    return f"{height}x{width}"


def measure(
    data: str,
    images: Sequence[tuple[str, Photo]],
    settings: Mapping[str, RestoreSettings],
    *,
    weights: str | None = None,
    prior: str | None = None,
    rivals: Sequence[str] = tuple(GRIDS),
    steps: int = 8,
    parameters: dict[str, Any] | None = None,
    tuning: int = 3,
    lpips: Lpips | None = None,
    report: Callable[[RestoreRow], None] = lambda row: None,
    done: Sequence[RestoreRow] = (),
) -> list[RestoreRow]:
    """Return a row for each task, method and image of the data set `data`.

    prior: weights of plug_and_play, which is left out without; rivals get, of GRIDS, what suits the first
    `tuning` images of a task most; ours has nothing to choose, and on x4 and inpainting also gives one sample
    of `steps` noise levels ("unfold sample"); parameters: further ones of unfold, for trials.  Rows of an
    earlier run in `done` are taken as they are.
    """
    known = {row.key: row for row in done}
    rows: list[RestoreRow] = []
    for task, setting in settings.items():
        for method in (*rivals, "unfold", "unfold sample"):
            fixed = _fixed(method, weights, prior, steps, parameters or {})
            if fixed is None or (method == "unfold sample" and task not in SAMPLED):
                continue
            grid = GRIDS.get(method, ({},))
            # By content, not by path: files move, and what was measured then still holds.
            made_by = method_words("unfold", fixed) if "unfold" in method else _rival_made_by(fixed, grid)
            keys = [(data, name, task, method, made_by, _size(photo)) for name, photo in images]
            if all(key in known for key in keys):
                found: Iterable[RestoreRow] = (known[key] for key in keys)
            else:
                best = tuned(method, fixed, grid, setting, images[:tuning])
                found = _rows(data, images, task, setting, method, fixed, best, made_by, lpips, known)
            for row in found:
                report(row)
                rows.append(row)
    return rows


def _fixed(
    method: str, weights: str | None, prior: str | None, steps: int, parameters: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the parameters that a method is given in every task, None if it cannot run."""
    if method == "plug_and_play":
        return None if prior is None else {"prior": prior}
    if method == "unfold":
        return {"weights": weights or PHOTOGRAPHS["weights"], **parameters}
    if method == "unfold sample":
        held = {"weights": weights} if weights else {}
        return PHOTOGRAPHS | {"samples": 2, "steps": steps} | held | parameters
    return {}


def _rival_made_by(fixed: dict[str, Any], grid: Sequence[dict[str, Any]]) -> str:
    from mrunfold.networks.weights import weights_digest, weights_file

    held = {k: weights_digest(weights_file(v))[:12] for k, v in fixed.items() if k == "prior"}
    return json.dumps({**held, "grid": grid})


def _method(name: str, parameters: dict[str, Any]) -> Callable[..., Result]:
    """Return the method; deepinv's is no method of ours, so only comparisons know it."""
    if name == DeepinvTotalVariation.name:
        return DeepinvTotalVariation(**parameters)
    return get_method(name, **parameters)


def run_method(
    method: str, parameters: dict[str, Any], problem: Problem, grey: bool
) -> tuple[Result, np.ndarray]:
    """Return the result and its image, from 0 to 1, one channel if the photograph is grey."""
    result = _method(method.split()[0], parameters)(problem, Seeds())
    x = result.samples[0] if method.endswith("sample") and result.samples is not None else result.mean
    x = x.mean(dim=0, keepdim=True) if grey else x
    return result, x.clamp(0, 1).numpy()


def tuned(
    method: str,
    fixed: dict[str, Any],
    grid: Sequence[dict[str, Any]],
    setting: RestoreSettings,
    images: Sequence[tuple[str, Photo]],
) -> dict[str, Any]:
    """Return the parameters of the grid with the highest mean PSNR over the images."""
    if len(grid) == 1:
        return dict(grid[0])
    problems = [photo_problem(photo, setting) for _, photo in images]

    qualities = []
    for parameters in grid:
        scores = []
        for problem, _, truth, grey in problems:
            assert truth is not None
            scores.append(
                psnr(truth, run_method(method, fixed | parameters, problem, grey)[1], data_range=1.0)
            )
        qualities.append(np.mean(scores))
    return dict(grid[int(np.argmax(qualities))])


def _rows(
    data: str,
    images: Sequence[tuple[str, Photo]],
    task: str,
    setting: RestoreSettings,
    method: str,
    fixed: dict[str, Any],
    best: dict[str, Any],
    made_by: str,
    lpips: Lpips | None,
    known: Mapping[tuple[Any, ...], RestoreRow],
) -> Iterable[RestoreRow]:
    for name, photo in images:
        key = (data, name, task, method, made_by, _size(photo))
        if key in known:
            yield known[key]
            continue
        problem, _, truth, grey = photo_problem(photo, setting)
        assert truth is not None
        result, image = run_method(method, fixed | best, problem, grey)
        distance = None
        if lpips is not None:
            distance = float(lpips(torch.from_numpy(truth)[None], torch.from_numpy(image)[None]))
        sampled = method.endswith("sample")
        yield RestoreRow(
            data, name, task, float(setting.noise or 0.0), method, best,
            psnr=float(psnr(truth, image, data_range=1.0)), ssim=float(ssim(truth, image, data_range=1.0)),
            lpips=distance,
            # Two samples are drawn, since that is the least; one is looked at.
            evaluations=1 + (result.evaluations - 1) // 2 if sampled else result.evaluations,
            seconds=result.seconds / 2 if sampled else result.seconds, made_by=made_by,
            size=_size(photo),
        )  # fmt: skip
