"""One photograph: read, degraded first if asked, restored, written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.io.images import Photo, photo_size, read_photo, write_photo
from mrunfold.io.memory import require_memory
from mrunfold.methods import Result, Seeds, get_method
from mrunfold.metrics import psnr, ssim
from mrunfold.operators import LinearOperator
from mrunfold.operators.imaging.colour import LUMA
from mrunfold.problem import Problem
from mrunfold.restoration.noise import estimate_noise
from mrunfold.restoration.outcome import Outcome
from mrunfold.restoration.settings import RestoreSettings, restoration_operator

__all__ = ["photo_problem", "restore", "restore_file"]
LEAST_NOISE = 0.002  # of 8 bits, and the least that the network was trained on
MOST_PIXELS = 40_000_000
# Of the restored image, measured with `unfold` on 2.4 million pixels: alone, and more for each sample.
BYTES_A_PIXEL, BYTES_A_SAMPLE = 300, 50


def photo_problem(
    photo: Photo, settings: RestoreSettings
) -> tuple[Problem, np.ndarray, np.ndarray | None, bool]:
    """Return the problem of a photograph, what is shown as degraded, the truth of a simulation, grey or not.

    A grey image is restored as a colour image of three equal channels: its one measurement is parted into
    three of variance 3σ², whose mean it is, by noise that sums to zero: nothing is lost and nothing added.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    pixels = torch.from_numpy(photo.pixels)
    is_grey = pixels.shape[0] == 1 and settings.task != "colourise"
    if settings.simulate:
        truth = pixels if settings.task != "upscale" else _cropped(pixels, settings.factor)
        x = truth.expand(3, -1, -1)
        A = restoration_operator(settings, (x.shape[1], x.shape[2]), generator)
        sigma = torch.tensor(max(settings.noise or 0.0, 0.0))
        y = A(x)[:1] if is_grey else A(x)
        y = y + sigma * torch.randn(y.shape, generator=generator)
    else:
        truth, y = None, pixels
        if settings.task == "colourise" and len(y) == 3:
            y = torch.einsum("c,cyx->yx", torch.tensor(LUMA), y)[None]
        up = settings.factor if settings.task == "upscale" else 1
        A = restoration_operator(settings, (up * y.shape[1], up * y.shape[2]), generator)
        sigma = torch.tensor(_noise(y, A, settings))
    sigma = sigma.clamp_min(LEAST_NOISE)
    seen = A.observed()
    degraded = (A.adjoint(y) if settings.task == "sensing" and not is_grey else y * seen[: len(y)]).numpy()
    if is_grey:
        parts = torch.randn(3, *y.shape[1:], generator=generator)
        y = y + 3**0.5 * sigma * (parts - parts.mean(dim=0))
        sigma = 3**0.5 * sigma
    y = torch.where(seen, y, 0.0)
    problem = Problem(y.contiguous(), A, sigma, torch.tensor(1.0))
    return problem, degraded, None if truth is None else truth.numpy(), is_grey


def _noise(y: Tensor, A: LinearOperator, settings: RestoreSettings) -> float:
    if settings.noise is not None:
        return settings.noise
    return estimate_noise(y.numpy(), A.observed()[0].numpy() if settings.task == "inpaint" else None)


def _cropped(pixels: Tensor, factor: int) -> Tensor:
    height, width = (n - n % factor for n in pixels.shape[1:])
    return pixels[:, :height, :width]


def restore(
    photo: Photo, settings: RestoreSettings, progress: Callable[[float], None] | None = None
) -> Outcome:
    """Restore a photograph; InputError for an image that is too large and what the operators refuse."""
    up = settings.factor if settings.task == "upscale" and not settings.simulate else 1
    if photo.pixels[0].size * up**2 > MOST_PIXELS:
        raise InputError(f"restored, the image has more than {MOST_PIXELS // 10**6} million pixels; cut it")
    problem, degraded, truth, is_grey = photo_problem(photo, settings)
    method = get_method(settings.method, **settings.method_parameters)
    result: Result = method(problem, Seeds((settings.seed,)), progress)
    restored, samples = result.mean, result.samples
    if is_grey:
        restored = restored.mean(dim=-3, keepdim=True)
        samples = None if samples is None else samples.mean(dim=-3, keepdim=True)
    restored = restored.clamp(0, 1)
    image = restored.cpu().numpy()
    scores = None
    if truth is not None:
        scores = {
            "psnr": float(psnr(truth, image, data_range=1.0)),
            "ssim": float(ssim(truth, image, data_range=1.0)),
        }
    sigma = float(problem.sigma_y) / (3**0.5 if is_grey else 1)
    return Outcome(
        degraded,
        image,
        sigma,
        settings.noise is None,
        None if samples is None else samples.std(dim=0).cpu().numpy(),
        None if samples is None else samples.clamp(0, 1).cpu().numpy(),
        truth,
        scores,
        record={
            "settings": _plain(settings),
            "sigma_y": sigma,
            "noise": "estimated" if settings.noise is None else "given",
            "simulated": settings.simulate,
            "grey": is_grey,
            "scores": scores,
            "evaluations": result.evaluations,
            "seconds": round(result.seconds, 3),
            "method": result.record,
        },
    )


def _plain(settings: RestoreSettings) -> dict[str, Any]:
    """Return the settings without folders."""
    record = asdict(settings)
    for name in ("kernel", "mask"):
        record[name] = None if record[name] is None else Path(record[name]).name
    record["parameters"] = {
        k: Path(v).name if isinstance(v, str) else v for k, v in settings.parameters.items()
    }
    return record


def restore_file(
    file: Path, folder: Path, settings: RestoreSettings, progress: Callable[[float], None] | None = None
) -> Outcome:
    """Restore an image file into `folder`: NAME_restored.png, its preview and record, std and samples if any.

    Alpha and the number of bits are kept, for any format PNG is written.
    """
    from mrunfold.export.record import write_json
    from mrunfold.io.atomic import atomic_path
    from mrunfold.restoration.preview import write_preview

    _check_memory(file, settings)
    photo = read_photo(file)
    outcome = restore(photo, settings, progress)
    folder.mkdir(parents=True, exist_ok=True)
    size = outcome.restored.shape[1:]
    alpha = None if photo.alpha is None else _fitted(photo.alpha, (size[0], size[1]), settings.simulate)
    files = [folder / f"{file.stem}_restored.png"]
    write_photo(files[0], outcome.restored, alpha, photo.bits)
    for n, sample in enumerate(outcome.samples if outcome.samples is not None else ()):
        files.append(folder / f"{file.stem}_sample{n + 1}.png")
        write_photo(files[-1], sample, alpha, photo.bits)
    if outcome.std is not None:
        files.append(folder / f"{file.stem}_std.png")
        write_photo(files[-1], outcome.std, None, 16)
    if settings.simulate:
        files.append(folder / f"{file.stem}_degraded.png")
        write_photo(files[-1], outcome.degraded, None, photo.bits)
    files += [folder / f"{file.stem}_preview.png", folder / f"{file.stem}_restored.json"]
    with atomic_path(files[-2]) as temporary:
        write_preview(temporary, outcome, _heading(file, outcome, settings))
    with atomic_path(files[-1]) as temporary:
        write_json(temporary, {"file": file.name, **(outcome.record or {})})
    return replace(outcome, files=tuple(files))


def _check_memory(file: Path, settings: RestoreSettings) -> None:
    """Raise InputError where the image is estimated, by its header, to take more memory than there is."""
    height, width = photo_size(file)
    up = settings.factor if settings.task == "upscale" and not settings.simulate else 1
    samples = settings.method_parameters.get("samples", 0)
    samples = samples if isinstance(samples, int) else 0
    needed = (BYTES_A_PIXEL + BYTES_A_SAMPLE * samples) * height * width * up**2
    remedy = "cut it into parts" + (" or take fewer --samples" if samples else "")
    require_memory(needed, f"to restore {file.name}", remedy)


def _fitted(alpha: np.ndarray, size: tuple[int, int], cropped: bool) -> np.ndarray:
    """Return alpha in the size of the restored image."""
    if cropped or alpha.shape == size:
        return alpha[: size[0], : size[1]]
    return F.interpolate(torch.from_numpy(alpha)[None, None], size, mode="bicubic")[0, 0].clamp(0, 1).numpy()


def _heading(file: Path, outcome: Outcome, settings: RestoreSettings) -> str:
    noise = f"σ {outcome.sigma_y:.4f} {'estimated' if outcome.estimated else 'given'}"
    simulated = "  ·  simulated" if settings.simulate else ""
    return f"{file.name}  ·  {settings.task}  ·  {noise}  ·  {settings.method}{simulated}"
