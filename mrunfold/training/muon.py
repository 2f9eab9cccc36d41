"""The optimiser of the unrolled networks: Muon for convolutions, Adam for the little that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonal"]

# Quintic with the steepest start that stays bounded: singular values end between about 0.7 and 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
# What Adam's updates measure, so that one learning rate fits both.
ADAM_RMS = 0.2


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """Return U Vᵀ, nearly, of matrices g = U S Vᵀ (*batch, rows, columns); 0 for 0.

    Newton–Schulz iteration X ← aX + (bXXᵀ + c(XXᵀ)²)X from X = g/‖g‖ (Jordan et al., "Muon", 2024).
    """
    a, b, c = NEWTON_SCHULZ
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Gradient steps of which every matrix has its singular values made equal; Adam for vectors.

    A convolution (out, in, y, x) is the matrix (out, in·y·x).  Its update is the orthogonalised Nesterov
    momentum times 0.2·√max(rows, columns), which is as large as Adam's (Liu et al., arXiv:2502.16982 (2025),
    eq. 4), so `lr` means the same in both.  Parameters of the groups with `matrices` False, which are small,
    are left to Adam.  PyTorch's own Muon takes neither convolutions nor vectors.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float = 3e-4,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "matrices": True}
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["matrices"]:
                self._matrices(group, parameters)
            else:
                for p in parameters:
                    self._adam(group, p)
        return loss

    def _matrices(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            velocity = state["momentum"].mul_(group["momentum"]).add_(p.grad)
            turned = orthogonal((p.grad + group["momentum"] * velocity).flatten(start_dim=1))
            size = ADAM_RMS * max(turned.shape) ** 0.5
            p.add_(turned.reshape(p.shape), alpha=-group["lr"] * size)

    def _adam(self, group: dict[str, Any], p: Tensor) -> None:
        state = self.state[p]
        if "step" not in state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        first, second = group["betas"]
        state["step"] += 1
        n = float(state["step"])
        state["mean"].lerp_(p.grad, 1 - first)
        state["square"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        spread = (state["square"] / (1 - second**n)).sqrt_().add_(group["eps"])
        p.addcdiv_(state["mean"], spread, value=-group["lr"] / (1 - first**n))
