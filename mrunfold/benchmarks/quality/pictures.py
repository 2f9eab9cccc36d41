"""Pictures of a comparison: zero-filled, L1-wavelet, ours, their errors and ours' standard deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.quality.sweep import best_of_sweep
from mrunfold.diffusion import karras, sample_ancestral, start
from mrunfold.figures import new_figure
from mrunfold.masks import draw
from mrunfold.methods import Seeds, get_method
from mrunfold.metrics import psnr
from mrunfold.networks.weights import load_weights
from mrunfold.operators import Sense
from mrunfold.prepare import build_problem

__all__ = ["draw_prior", "write_comparison", "write_prior"]

GAIN = 5


def write_comparison(
    path: Path,
    full: FullSlice,
    wanted: tuple[str, float],
    grid: tuple[float, ...],
    *,
    weights: str | None = None,
    samples: int = 8,
    steps: int | None = None,
    seed: int = 0,
) -> None:
    """Write a PNG of one slice under one mask: images above, errors ×5 and standard deviation ×5 below.

    L1-wavelet has the lamda of `grid` that suits the reference most; images are zero where no coil reaches.
    """
    header = full.header
    mask = draw(wanted[0], (header.unoversampled, header.matrix[1]), wanted[1], seed=seed)
    # Fully sampled by what it is: an exact zero among the samples of a scan is a sample too.
    everything = np.ones(full.kspace.shape[-2:], bool)
    problem = build_problem(full.kspace, header, mask, acquired=everything, target="combined")
    assert problem.target is not None
    assert problem.coil_gain is not None
    support = problem.coil_gain > 0
    ours = get_method("unfold", weights=weights, samples=samples, steps=steps)(problem, Seeds((seed,)))
    classical, _ = best_of_sweep("l1_wavelet", problem, problem.target, grid)
    assert ours.samples is not None

    def shown(x: Tensor) -> np.ndarray:
        return (x.abs() * support).numpy()[0]

    truth = shown(problem.target)
    images = {
        "zero-filled": shown(problem.A.adjoint(problem.y)),
        "L1-wavelet": shown(classical.mean),
        "unfold": shown(ours.mean),
    }
    std = ours.samples.abs().std(dim=0).numpy()[0] * support.numpy()[0]
    peak = float(truth.max())
    above = [("reference", truth)]
    below = [(f"standard deviation ×{GAIN}", GAIN * std)]
    for name, image in images.items():
        decibels = psnr(truth[None], image[None], data_range=peak)
        above.append((f"{name}, {decibels:.1f} dB", image))
        below.append((f"error ×{GAIN}", GAIN * np.abs(image - truth)))
    _write(path, above, below, white=float(np.percentile(truth, 99.5)))


@torch.inference_mode()
def draw_prior(
    weights: str | None = None, count: int = 6, size: int = 96, steps: int = 64, seed: int = 0
) -> Tensor:
    """Return images (count, y, x) from the network without a measurement: A = 0, so p(x | y) is the prior.

    Ancestral sampling from pure noise of σ = `size` down, one evaluation a step.  In an orthonormal basis the
    longest wave of an image of height 1 and n pixels is up to √n high: noise far below that is no start, it
    is an image with nothing in it.
    """
    network = load_weights(weights)[0]
    maps = torch.ones(1, 1, size, size, dtype=torch.complex64)
    A = Sense(maps, torch.zeros(size, size))
    y = torch.zeros(count, *A.range.shape, dtype=torch.complex64)
    sigma_y = torch.full((count,), 0.01)
    generators = [torch.Generator().manual_seed((seed << 16) + i) for i in range(count)]
    sigmas = karras(steps, 0.005, float(size))
    nothing = torch.zeros(count, *A.domain.shape, dtype=torch.complex64)
    return sample_ancestral(
        lambda x_t, sigma_t: network(x_t, sigma_t, y, A, sigma_y),
        start(nothing, float(size), generators),
        sigmas,
        generators,
    )[:, 0]


def write_prior(path: Path, weights: str | None = None, count: int = 6, size: int = 96) -> None:
    """Write a PNG of draws from the prior, their magnitudes above and phases below."""
    draws = draw_prior(weights, count, size)
    white = float(np.percentile(draws.abs().numpy(), 99.5))
    above = [(f"draw {i + 1}", x.abs().numpy()) for i, x in enumerate(draws)]
    below = [("phase", (x.angle().numpy() / (2 * np.pi) + 0.5) * white) for x in draws]
    _write(path, above, below, white=white)


def _write(
    path: Path, above: list[tuple[str, np.ndarray]], below: list[tuple[str, np.ndarray]], white: float
) -> None:
    from mrunfold.io.atomic import atomic_path

    height, width = above[0][1].shape
    figure = new_figure(figsize=(2.6 * len(above), 2 * (2.6 * height / width + 0.3)), dpi=90, layout="tight")
    for ax, (name, image) in zip(figure.subplots(2, len(above)).ravel(), above + below, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=white)
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    with atomic_path(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
