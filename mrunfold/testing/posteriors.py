"""Posteriors whose denoiser, mean and covariance are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GaussianPosterior", "MixturePosterior"]


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """x₀ | y ~ N(mean, covariance), real or complex (circular), on the last axis.

    mean: (d,); covariance: E[(x − m)(x − m)ᴴ] (d, d), Hermitian, positive definite.
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def from_measurement(
        cls, matrix: Tensor, y: Tensor, sigma_y: float, mu: Tensor, spread: float
    ) -> GaussianPosterior:
        """Return the posterior of y = A x₀ + n, n ~ CN(0, σ_y² I), under the prior CN(μ, spread² I).

        matrix: A (m, d); y: (m,); mu: (d,).  Real tensors: N for CN.  Precision AᴴA/σ_y² + I/spread².
        """
        eye = torch.eye(matrix.shape[1], dtype=matrix.dtype)
        covariance = torch.linalg.inv(matrix.mH @ matrix / sigma_y**2 + eye / spread**2)
        return cls(covariance @ (matrix.mH @ y / sigma_y**2 + mu / spread**2), covariance)

    def denoiser(self, x_t: Tensor, sigma_t: Tensor) -> Tensor:
        """Return E[x₀ | x_t, y] = m + C (C + σ_t² I)⁻¹ (x_t − m).

        x_t: (batch, …, d); sigma_t: (batch,), ∞ allowed.
        """
        variances, axes = torch.linalg.eigh(self.covariance)
        sigma = sigma_t.reshape(-1, *(1,) * (x_t.ndim - 1))
        gain = variances / (variances + sigma**2)
        coordinates = (x_t - self.mean) @ axes.conj()  # rows: axesᴴ (x − m)
        return self.mean + (gain * coordinates) @ axes.mT


@dataclass(frozen=True, eq=False)
class MixturePosterior:
    """x₀ | y ~ Σ_k w_k N(μ_k, spread² I), real or complex (circular), on the last axis.

    weights: w (k,), summing to 1; means: μ (k, d); spread: standard deviation of each peak.
    """

    weights: Tensor
    means: Tensor
    spread: float

    def responsibilities(self, x_t: Tensor, sigma_t: Tensor) -> Tensor:
        """Return P(k | x_t), (batch, …, k), of x_t (batch, …, d) at noise sigma_t (batch,)."""
        sigma = sigma_t.reshape(-1, *(1,) * (x_t.ndim - 1))
        difference = x_t[..., None, :] - self.means
        distance = (difference * difference.conj()).real.sum(dim=-1)  # (batch, …, k)
        half = 1.0 if x_t.is_complex() else 0.5
        return torch.softmax(self.weights.log() - half * distance / (self.spread**2 + sigma**2), dim=-1)

    def denoiser(self, x_t: Tensor, sigma_t: Tensor) -> Tensor:
        """Return E[x₀ | x_t]: x_t (batch, …, d), sigma_t (batch,), ∞ allowed."""
        sigma = sigma_t.reshape(-1, *(1,) * (x_t.ndim - 1))
        gain = self.spread**2 / (self.spread**2 + sigma**2)
        centre = self.responsibilities(x_t, sigma_t).to(x_t.dtype) @ self.means
        return centre + gain * (x_t - centre)
