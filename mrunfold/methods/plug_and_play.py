"""Plug-and-play: data consistency and a denoiser in turn, nothing trained for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number, mean_image
from mrunfold.methods.prior_denoiser import load_prior
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.problem import Problem

__all__ = ["PlugAndPlay"]


@dataclass(frozen=True)
class PlugAndPlay(Method):
    """x_k = argmin_x ‖y − Ax‖²/σ_y² + lamda ‖x − z_k‖²/σ_k², z_{k+1} = R(x_k, σ_k), σ_k falling to σ_y.

    prior: weights of stage one: the name of those that ship, or a file (`train` writes prior.safetensors);
    or a prior of another package by its name, or package.module:Class, made without arguments;
    max_iter: steps, one evaluation each; sigma_start: where less than all pixels are seen, about the error of
    the first guess; lamda: weight of the prior.  Half-quadratic splitting of DPIR: Zhang et al., IEEE TPAMI
    44 (2022), Alg. 1, with R in place of its denoiser.  Takes any operator.
    """

    prior: str = "natural-prior"
    max_iter: int = 24
    sigma_start: float = 0.2
    lamda: float = 0.23
    name: ClassVar[str] = "plug_and_play"

    def __post_init__(self) -> None:
        check_number(self, "max_iter", low=1, integer=True)
        check_number(self, "sigma_start", low=1e-3)
        check_number(self, "lamda", low=1e-6)

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        denoise = load_prior(self.prior).to(problem.y.device)
        A, y = problem.A, problem.y
        dtype = choose("auto", y.device)
        back, sigma_y = A.adjoint(y), problem.sigma_y.to(y.real.dtype)
        end = sigma_y.clamp(0.003, self.sigma_start)
        z = mean_image(A, y)
        for k in range(self.max_iter):
            share = k / max(1, self.max_iter - 1)
            sigma = self.sigma_start ** (1 - share) * end**share
            shift = self.lamda * sigma_y**2 / sigma**2
            x = A.solve(back + shift[..., None, None, None] * z, 1.0, shift, z, tolerance=1e-4)
            with convolutions_in(dtype, y.device):
                z = denoise(x, sigma)
            progress((k + 1) / self.max_iter)
        record = {"precision": str(dtype).removeprefix("torch.")}
        # As in DPIR the last word is the denoiser's.
        return Result(z, evaluations=self.max_iter, record=record)
