"""What is restored in `bench peers`: a slice under a mask, or a photograph in a task, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.photographs.restore import read_images, tasks, write_shake
from mrunfold.benchmarks.quality.adapted import cut
from mrunfold.benchmarks.quality.judge import OBJECT, combined_magnitude, scores
from mrunfold.coils import EspiritSettings
from mrunfold.errors import InputError, did_you_mean
from mrunfold.io.images import Photo
from mrunfold.masks import draw
from mrunfold.metrics import psnr, ssim
from mrunfold.metrics.lpips import Lpips
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem
from mrunfold.restoration.run import photo_problem
from mrunfold.restoration.settings import RestoreSettings

__all__ = ["TASKS", "Case", "photographs", "scans"]

TASKS = ("gaussian", "motion", "x2", "x4", "box", "random")
Scores = tuple[float, float, float | None]


@dataclass(frozen=True)
class Case:
    """One problem with its truth: `score` gives PSNR, SSIM and LPIPS (or None) of an image x (set, y, x).

    shown: what of x is compared, real; truth, inside: the same of the target, and the object; peak: the data
    range.
    """

    data: str
    image: str
    task: str
    size: str
    problem: Problem
    score: Callable[[Tensor], Scores]
    shown: Callable[[Tensor], np.ndarray]
    truth: np.ndarray
    inside: np.ndarray
    peak: float


def scans(
    slices: Sequence[FullSlice],
    kinds: Sequence[tuple[str, float]],
    crop: int | None,
    lpips: Lpips | None = None,
) -> Iterator[Callable[[], Case]]:
    """Yield what makes the case of each slice and mask, seed 0; crop: the middle of the field of view."""
    for full in slices:
        for kind, accel in kinds:
            yield partial(_scan, full, kind, accel, crop, lpips)


def _scan(full: FullSlice, kind: str, accel: float, crop: int | None, lpips: Lpips | None) -> Case:
    full = full if crop is None else cut(full, crop)
    size = (full.kspace.shape[-2], full.kspace.shape[-1])
    mask = draw(kind, size, accel, seed=0)
    everything = np.ones(size, bool)
    # One set of maps: a second one is nearly all undetermined, which only ours was trained for.
    settings = ProblemSettings(espirit=EspiritSettings(sets=1))
    problem = build_problem(
        full.kspace, full.header, mask, acquired=everything, settings=settings, target="combined"
    )
    assert problem.target is not None
    assert problem.coil_gain is not None
    truth = combined_magnitude(problem.target).numpy()
    peak, support = float(truth.max()), problem.coil_gain > 0

    def shown(x: Tensor) -> np.ndarray:
        return (combined_magnitude(x) * support).numpy()

    def score(x: Tensor) -> Scores:
        found = scores(problem, x)
        far = None if lpips is None else _distance(lpips, truth / peak, (shown(x) / peak).clip(0, 1))
        return found["psnr"], found["ssim"], far

    data, _, image = full.name.partition("/")
    return Case(
        data, image or "0", f"{kind} {accel:g}", f"{size[0]}x{size[1]}", problem, score,
        shown, truth, truth > OBJECT * peak, peak,
    )  # fmt: skip


def _distance(lpips: Lpips, a: np.ndarray, b: np.ndarray) -> float:
    return float(lpips(torch.from_numpy(a)[None], torch.from_numpy(b)[None]))


def photographs(
    folder: Path, names: Sequence[str], images: int | None, crop: int | None, lpips: Lpips | None, shake: Path
) -> Iterator[Callable[[], Case]]:
    """Yield what makes the case of each image of a folder and task; images, crop: as `read_images`."""
    write_shake(shake)
    settings = tasks(shake)
    for name in names:
        if name not in settings:
            raise InputError(f"there is no task {name!r}{did_you_mean(name, settings)}")
    for file, photo in read_images(folder, images, crop):
        for name in names:
            yield partial(_photograph, folder.name, file, name, photo, settings[name], lpips)


def _photograph(
    data: str, image: str, task: str, photo: Photo, setting: RestoreSettings, lpips: Lpips | None
) -> Case:
    problem, _, truth, grey = photo_problem(photo, setting)
    assert truth is not None

    def shown(x: Tensor) -> np.ndarray:
        x = x.mean(dim=-3, keepdim=True) if grey else x
        return x.clamp(0, 1).numpy()

    def score(x: Tensor) -> Scores:
        found = shown(x)
        far = None if lpips is None else _distance(lpips, truth, found)
        return float(psnr(truth, found, data_range=1.0)), float(ssim(truth, found, data_range=1.0)), far

    size = f"{truth.shape[1]}x{truth.shape[2]}"
    return Case(data, image, task, size, problem, score, shown, truth, np.ones(truth.shape, bool), 1.0)
