"""The truth of a fully sampled slice, and the scores of a reconstruction against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mrunfold.metrics import coverage, psnr, sample_interval, ssim
from mrunfold.operators import ifft2c
from mrunfold.problem import Problem

__all__ = ["Judge", "interval_coverage", "scores"]

OBJECT = 0.1  # of the brightest root sum of squares


@dataclass(frozen=True)
class Judge:
    """The full data of one slice as the truth of two scores.

    rss_full: root sum of squares of the full data's coil images (y, x), in the file's units; inside: bool
    (y, x), the object, where it exceeds a tenth of its maximum.
    """

    problem: Problem
    rss_full: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, kspace: np.ndarray, problem: Problem) -> Judge:
        """Return the judge of a problem of full k-space (coil, y, x) without readout oversampling."""
        images = ifft2c(torch.from_numpy(np.ascontiguousarray(kspace, np.complex64)))
        rss = torch.linalg.vector_norm(images, dim=0).numpy()
        return cls(problem, rss, rss > OBJECT * rss.max())

    def psnr(self, x: torch.Tensor) -> float:
        """Return PSNR in dB of |x| against the combined target, data range its maximum."""
        return scores(self.problem, x)["psnr"]

    def rss(self, x: torch.Tensor) -> float:
        """Return PSNR in dB of the coil images that x predicts, as root sum of squares over the object."""
        predicted = self.problem.coil_rss(x)[0].cpu().numpy()[self.inside]
        truth = self.rss_full[self.inside]
        return float(psnr(truth, predicted, data_range=float(self.rss_full.max())))


def combined_magnitude(x: torch.Tensor) -> torch.Tensor:
    """Return the magnitude (…, 1, y, x) of x (…, set, y, x): root sum of squares over sets of maps."""
    return torch.linalg.vector_norm(x, dim=-3, keepdim=True)


def scores(problem: Problem, x: torch.Tensor) -> dict[str, float]:
    """Return PSNR and SSIM of |x| against the problem's target, data range the target's maximum.

    |x| is taken as zero where no coil reaches, as `recon` writes it; the target is zero there.
    """
    assert problem.target is not None
    assert problem.coil_gain is not None
    truth = combined_magnitude(problem.target).cpu().numpy()
    estimate = (combined_magnitude(x) * (problem.coil_gain > 0)).cpu().numpy()
    peak = float(truth.max())
    return {
        "psnr": float(psnr(truth, estimate, data_range=peak)),
        "ssim": float(ssim(truth, estimate, data_range=peak)),
    }


def interval_coverage(problem: Problem, samples: torch.Tensor) -> float:
    """Return the share of pixels inside the object whose target lies between the 5 % and 95 % quantiles.

    samples: (draw, set, y, x).  Inside: where the target exceeds 10 % of its maximum.
    """
    assert problem.target is not None
    truth = combined_magnitude(problem.target).numpy()
    low, high = sample_interval(combined_magnitude(samples).numpy(), 0.9)
    return float(coverage(truth, low, high, truth > 0.1 * truth.max()))
