"""deepinv: our operators and networks for its algorithms, and its physics for our methods."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators import FourierMask
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.space import real_dtype

__all__ = ["FromDeepinv", "to_deepinv", "to_deepinv_denoiser"]

Denoiser = Callable[[Tensor, Tensor, Tensor, LinearOperator, Tensor], Tensor]
SIGMA_NOTHING = 1.0  # of a measurement without samples: any number does


def to_deepinv(A: LinearOperator, max_iter: int = 50, tol: float = 1e-4) -> Any:
    """Return A as a deepinv.physics.LinearPhysics; its images have one batch axis, as all of deepinv's.

    Complex spaces are deepinv's two channels, real and imaginary part: images of one set (batch, 2, y, x),
    k-space (batch, 2, coil, y, x), of one coil (batch, 2, y, x), as its MultiCoilMRI and MRI have them.  Real
    ones stay.  `prox_l2` is A's `solve`, argmin_x γ/2 ‖Ax − y‖² + ½ ‖x − z‖², to `tol` in `max_iter` steps.
    InputError for several sets of maps.
    """
    from deepinv.physics import LinearPhysics

    if A.domain.dtype.is_complex and A.domain.shape[0] != 1:
        raise InputError(f"deepinv's images have no sets of maps, got {A!r}; calibrate with one set")
    if len(A.batch) > 1:
        raise InputError(f"deepinv has one batch axis, got {A!r} of a batch {A.batch}; flatten it")

    class Physics(LinearPhysics):  # type: ignore[misc, unused-ignore]
        def A(self, x: Tensor, **_: Any) -> Tensor:
            return _theirs(A(_ours(x, A.domain)), A.range)

        def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
            return _theirs(A.adjoint(_ours(y, A.range)), A.domain)

        def A_adjoint_A(self, x: Tensor, **_: Any) -> Tensor:
            return _theirs(A.normal(_ours(x, A.domain)), A.domain)

        def prox_l2(
            self, z: Tensor | float | None, y: Tensor, gamma: float | Tensor, *_: Any, **__: Any
        ) -> Tensor:
            back = A.adjoint(_ours(y, A.range))
            near = torch.full_like(back, float(z or 0.0)) if not isinstance(z, Tensor) else _ours(z, A.domain)
            weight = torch.as_tensor(gamma, dtype=back.real.dtype, device=back.device).flatten()
            weight = weight.expand(len(back))
            right = weight[(...,) + (None,) * A.domain.ndim] * back + near
            return _theirs(
                A.solve(right, weight, 1.0, near, tolerance=tol, max_iterations=max_iter), A.domain
            )

    return Physics(max_iter=max_iter, tol=tol, img_size=_their_shape(A.domain))


def to_deepinv_denoiser(network: Denoiser) -> Any:
    """Return the denoiser E[x₀ | x₀ + σ ε] of a network without any measurement, as deepinv's Denoiser.

    network: D(x_t, σ_t, y, A, σ_y), as networks.posterior.PosteriorDenoiser of complex images; images are of
    height about 1.  x: (batch, 2, y, x), σ the noise of either part: σ_t = √2 σ, since σ_t² = E|n|².
    """
    from deepinv.models.base import Denoiser as Base

    @functools.lru_cache(maxsize=8)
    def nothing(shape: tuple[int, int], device: torch.device) -> LinearOperator:
        return FourierMask(torch.zeros(shape, device=device))

    class Ours(Base):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
            if x.ndim != 4 or x.shape[1] != 2 or x.is_complex():
                raise InputError(
                    f"this denoiser takes (batch, 2, y, x), real and imaginary, got {tuple(x.shape)}"
                )
            A = nothing((x.shape[-2], x.shape[-1]), x.device)
            image = _ours(x, A.domain)
            level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).flatten().expand(len(x)) * 2**0.5
            level_y = torch.full_like(level, SIGMA_NOTHING)
            return _theirs(self.network(image, level, torch.zeros_like(image), A, level_y), A.domain)

    return Ours()


@dataclass(frozen=True, eq=False, repr=False)
class FromDeepinv(LinearOperator):
    """A deepinv LinearPhysics as an operator: x (*batch, *shape) → y, without its noise model.

    shape: of one image of ours: (1, y, x) where dtype is complex, deepinv's two channels; (channel, y, x)
    where it is real.  Its parameters (mask, coil maps) must be of one item.  Its range is found by a trial.
    """

    physics: Any
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.complex64

    def __post_init__(self) -> None:
        if self.dtype.is_complex and self.shape[0] != 1:
            raise InputError(f"a complex image of deepinv is (1, y, x) here, got {self.shape}")

    @property
    def domain(self) -> Space:
        return Space(tuple(self.shape), self.dtype)

    @functools.cached_property
    def _measured(self) -> tuple[int, ...]:
        nothing = torch.zeros(1, *_their_shape(self.domain), dtype=real_dtype(self.dtype))
        return tuple(self.physics.A(nothing).shape[1:])

    @property
    def range(self) -> Space:
        shape = self._measured
        if not self.dtype.is_complex:
            return Space(shape, self.dtype)
        return Space(shape[1:] if len(shape) > 3 else (1, *shape[1:]), self.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        found = self.physics.A(_theirs(x.reshape(-1, *self.shape), self.domain))
        return _ours(found, self.range).reshape(*self.domain.batch_of(x), *self.range.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        given = _theirs(y.reshape(-1, *self.range.shape), self.range).reshape(-1, *self._measured)
        return _ours(self.physics.A_adjoint(given), self.domain).reshape(*self.range.batch_of(y), *self.shape)


def _their_shape(space: Space) -> tuple[int, ...]:
    """Return the shape of one item in deepinv: (2, y, x), (2, coil, y, x), or a real one as it is."""
    if not space.dtype.is_complex:
        return tuple(space.shape)
    return (2, *(space.shape[1:] if space.shape[0] == 1 and space.ndim == 3 else space.shape))


def _theirs(x: Tensor, space: Space) -> Tensor:
    """Return (batch, *space) as deepinv has it."""
    if not space.dtype.is_complex:
        return x
    return torch.view_as_real(x).movedim(-1, 1).reshape(len(x), *_their_shape(space))


def _ours(x: Tensor, space: Space) -> Tensor:
    """Return what deepinv has as (batch, *space)."""
    if not space.dtype.is_complex:
        return x
    parts = x.reshape(len(x), 2, *space.shape)
    return torch.complex(parts[:, 0].contiguous(), parts[:, 1].contiguous())
