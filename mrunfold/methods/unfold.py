"""Diff-Unfolding as a method: the posterior mean, or posterior samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mrunfold.diffusion import Denoiser, draw_gaussian, karras, sample_heun, warm_start
from mrunfold.errors import InputError
from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number
from mrunfold.methods.sense import LeastSquares
from mrunfold.methods.width import held_out_width
from mrunfold.networks.posterior import Path, PosteriorDenoiser
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.sd_head import evidence
from mrunfold.networks.weights import load_sd_head, load_weights
from mrunfold.problem import Problem

__all__ = ["Unfold"]

TRIAL = 4  # draws of each problem with samples held out: two pairs
MOST = 1000  # samples, and steps of one: more is a slip of the pen


@dataclass(frozen=True)
class Unfold(Method):
    """E[x₀ | y] by one or a few network evaluations, or draws from p(x₀ | y).

    weights: a shipped network's name, a .safetensors file, None for the default; passes: network evaluations
    of the mean, None for as many as it takes (`PosteriorDenoiser.mean_and_evaluations`); samples:
    posterior draws, 0 for the mean alone; steps: None for draws around the mean (`draw_gaussian`), else noise
    levels of the reverse process, which starts at sigma_start from D(∞) + sigma_start·ε, ends at sigma_min
    and costs 2·steps − 1 evaluations a draw (Heun; Karras et al. (2022), Alg. 1).
    levels: network evaluations of a pair of draws around the mean; splits: how many times samples are held
    out to find how far they must lie from it (`held_out_width`, which the weights' own `spread` multiplies).
    The mean never comes from the draws; std and samples do.
    sd: where nothing is drawn, predict the standard deviation of the magnitude by the head of the weights
    (`SdHead`), if they have one; it costs about 7 % of the mean.
    precision: of the convolutions, one of networks.precision.PRECISIONS; "auto" is bfloat16 where the
    hardware multiplies it, which hardly changes an image (docs/scaling.md), else float32.
    """

    name: ClassVar[str] = "unfold"
    weights: str | None = None
    passes: int | None = None
    samples: int = 0
    steps: int | None = None
    sigma_start: float = 0.5
    sigma_min: float = 0.004
    levels: int = 2
    splits: int = 2
    sd: bool = True
    precision: str = "auto"

    def __post_init__(self) -> None:
        choose(self.precision, "cpu")  # refuses unknown names
        if self.passes is not None:
            check_number(self, "passes", low=1, integer=True)
        check_number(self, "levels", low=1, integer=True)
        check_number(self, "splits", low=0, integer=True)
        if not 0 <= self.samples <= MOST or self.samples == 1:
            raise InputError(
                f"unfold draws 2 to {MOST} `samples`, or 0 for the mean alone, got {self.samples}"
            )
        if self.steps is not None and not 2 <= self.steps <= MOST:
            raise InputError(
                f"the reverse process takes 2 to {MOST} `steps`, got {self.steps}; leave them out for draws "
                "around the mean"
            )
        if not 0 < self.sigma_min < self.sigma_start:
            raise InputError(
                f"unfold needs 0 < sigma_min < sigma_start, got {self.sigma_min} and {self.sigma_start}"
            )

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        network, metadata = load_weights(self.weights)
        network = network.to(problem.y.device)
        samples, std = None, None
        said: dict[str, Any] = {}
        predicted, said_sd = None, None
        dtype = choose(self.precision, problem.y.device)
        with convolutions_in(dtype, problem.y.device):
            mean, path = network.mean_and_path(problem.y, problem.A, problem.sigma_y, self.passes)
            evaluations = int(path.evaluations.max())
            if self.samples and self.steps is None:
                samples, more, said = self._around(network, problem, mean, seeds, progress)
                evaluations += more
            elif self.samples:
                samples, more = self._reverse(network, problem, mean, seeds, progress)
                evaluations += more
            elif self.sd and problem.A.domain.dtype.is_complex:
                predicted, said_sd = self.predicted(problem, path)
        if samples is not None:
            std = torch.sqrt((samples - samples.mean(dim=0)).abs().square().sum(dim=0) / (self.samples - 1))
        if not bool(torch.isfinite(mean).all()):
            raise InputError("unfold gave values that are not finite for this slice; try `method='sense'`")
        record: dict[str, Any] = {
            "weights": metadata["file"],
            "weights_sha256": metadata["sha256"],
            "network": network.describe(),
            "precision": str(dtype).removeprefix("torch."),
        }
        if bool((problem.sigma_y < network.sigma_y_min).any()):
            record["sigma_y_taken_as"] = network.sigma_y_min
        if said:
            record["draws"] = said
        if said_sd is not None:
            record["sd"] = said_sd
        return Result(mean, std, samples, evaluations, record=record, predicted_sd=predicted)

    @torch.no_grad()
    def predicted(self, problem: Problem, path: Path) -> tuple[Tensor | None, dict[str, str]]:
        """Return the standard deviation (*batch, y, x) of a mean's magnitude and what to record.

        path: how the mean was come to; None for the first without a head.
        """
        head, about = load_sd_head(self.weights)
        if head is None:
            return None, {"none": about["why"]}
        # Logarithms need more than the three digits of bfloat16.
        with torch.autocast(problem.y.device.type, enabled=False):
            found = head.to(problem.y.device)(evidence(path, problem.A, problem.sigma_y))
        return found, {"predicted": "in one evaluation", "weights_sha256": about["sha256"]}

    @torch.no_grad()
    def beside_sense(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the mean of one evaluation and SENSE's image, each (*batch, set, y, x), for a quick check.

        SENSE takes the steps of the mean's first solve and ends with them.
        """
        network = load_weights(self.weights)[0].to(problem.y.device)
        dtype = choose(self.precision, problem.y.device)
        with convolutions_in(dtype, problem.y.device):
            shift = LeastSquares().shift(problem.sigma_y)
            return network.beside_least_squares(problem.y, problem.A, problem.sigma_y, shift)

    def _around(
        self,
        network: PosteriorDenoiser,
        problem: Problem,
        mean: Tensor,
        seeds: Seeds,
        progress: Progress,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return `samples` draws (draw, *batch, set, y, x) around the mean, as wide as held-out samples say,
        the evaluations of an item, and what the run log says of the draws."""

        parts = self.splits + 2  # of about as much work

        def of(given: Problem, split: int) -> tuple[Tensor, Tensor, int]:
            m, taken = network.mean_and_evaluations(given.y, given.A, given.sigma_y, self.passes)
            one, start, generators = _one_by_one(network, given, m, seeds)
            draws, more = draw_gaussian(one, start, TRIAL, generators, levels=self.levels)
            progress((split + 1) / parts)
            return m, draws[:, 0], int(taken.max()) + more

        width, trials = 1.0, 0
        said: dict[str, Any] = {}
        if self.splits:
            width, trials, said = held_out_width(problem, of, self.splits, network.x0_has_noise)
        one, first, generators = _one_by_one(network, problem, mean, seeds)
        draws, evaluations = draw_gaussian(
            *(one, first, self.samples, generators),
            levels=self.levels,
            progress=lambda fraction: progress((self.splits + 2 * fraction) / parts),
        )
        draws = first + network.spread * width * (draws - first)
        said = {"kind": "around the mean", "spread": network.spread} | said
        return draws.reshape(self.samples, *mean.shape), evaluations + trials, said

    def _reverse(
        self,
        network: PosteriorDenoiser,
        problem: Problem,
        mean: Tensor,
        seeds: Seeds,
        progress: Progress,
    ) -> tuple[Tensor, int]:
        """Return `samples` draws (draw, *batch, set, y, x) by the reverse process, and the evaluations of an
        item."""
        assert self.steps is not None
        one, first, generators = _one_by_one(network, problem, mean, seeds)
        sigmas = karras(self.steps, self.sigma_min, self.sigma_start)
        draws = torch.empty((self.samples, *first.shape), dtype=first.dtype, device=first.device)
        for n in range(self.samples):
            start = warm_start(first, self.sigma_start, generators)
            draws[n] = sample_heun(one, start, sigmas, generators)
            progress((n + 1) / self.samples)
        return draws.reshape(self.samples, *mean.shape), self.samples * (2 * self.steps - 1)


def _one_by_one(
    network: PosteriorDenoiser, problem: Problem, mean: Tensor, seeds: Seeds
) -> tuple[Denoiser, Tensor, list[torch.Generator]]:
    """Return a problem's denoiser and its mean with a batch axis, which samplers want, and a generator an
    item: draw n of an item follows from its seed and n."""
    batched = mean.ndim > problem.A.domain.ndim
    first = mean if batched else mean[None]
    if len(seeds.items) != first.shape[0]:
        raise InputError(f"{first.shape[0]} items need as many seeds, got {len(seeds.items)}")
    denoiser = network.given(problem)

    def one(x_t: Tensor, sigma_t: Tensor) -> Tensor:
        return denoiser(x_t, sigma_t) if batched else denoiser(x_t[0], sigma_t[0])[None]

    return one, first, seeds.generators()
