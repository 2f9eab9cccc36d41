"""ESPIRiT in PyTorch: the coil covariance of every pixel from the autocorrelation of its k-space kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["covariance_kernels", "eigen_maps", "kernels_at"]

PLACES_PER_TAP = 8  # with 4 the least overlap with the exact maps of an object was 0.997
TILE = 8


def covariance_kernels(window: Tensor, kernel_width: int | Sequence[int], threshold: float) -> Tensor:
    """Return the autocorrelation of the calibration kernels, (coil, coil, 2k−1, 2k−1), complex.

    window: calibration k-space (coil, h, w), with any zeros that are to count, or (frame, coil, h, w), whose
    patches are rows of one matrix; kernel_width: k, at most h and w, or that of each axis: three of them for
    (coil, d, h, w) of a 3-D scan, with an axis more in the result; threshold: singular values of the
    calibration matrix below this share of the largest are noise.

    With P = V Vᴴ the projection on the row space of the calibration matrix, whose rows are the k×k patches of
    all coils: W_cd(Δ) = Σ_{q − q' = Δ} P_{(c,q),(d,q')} / k².
    Uecker et al., Magn. Reson. Med. 71 (2014) 990–1001, eq. 13 to 17.
    """
    widths = (kernel_width,) * 2 if isinstance(kernel_width, int) else tuple(kernel_width)
    axes, taps = len(widths), math.prod(widths)
    coils = window.shape[-axes - 1]
    patches = window
    for k in widths:
        patches = patches.unfold(-axes, k, 1)  # (…, coil, places of each axis, k of each axis)
    matrix = patches.movedim(-2 * axes - 1, -axes - 1).reshape(-1, coils * taps)
    projection = _row_space(matrix, threshold).reshape(coils, taps, coils, taps)
    pairs = projection.permute(0, 2, 1, 3).reshape(coils, coils, -1)  # (coil, coil, q·q')
    sides = [2 * k - 1 for k in widths]
    index = torch.zeros((1,) * 2 * axes, dtype=torch.long, device=window.device)
    for axis, k in enumerate(widths):
        at = torch.arange(k, device=window.device)
        shape = [1] * 2 * axes
        shape[axis] = shape[axes + axis] = k
        shift = (at[:, None] - at + k - 1).reshape(shape)  # index of Δ along one axis
        index = index * sides[axis] + shift
    sums = torch.zeros(coils, coils, math.prod(sides), dtype=pairs.dtype, device=pairs.device)
    return sums.index_add_(2, index.reshape(-1), pairs).reshape(coils, coils, *sides) / taps


def kernels_at(kernels: Tensor, place: int, size: int) -> Tensor:
    """Return the kernels of the slice at `place` of `size` along their first axis: (coil, coil, Δy, Δx).

    kernels: of a 3-D scan (coil, coil, Δ, Δy, Δx).  G(r) is a sum over all three, see `eigen_maps`: what is
    summed along one axis for a place along it is that sum for two.
    """
    wave = _waves(size, size, kernels.shape[2], kernels)[place]
    return torch.einsum("cdzyx,z->cdyx", kernels, wave)


def _row_space(matrix: Tensor, threshold: float) -> Tensor:
    """Return the projection V Vᴴ, transposed to kernels, on the rows above the threshold."""
    tall = matrix.shape[0] > matrix.shape[1]
    gram = matrix.mH @ matrix if tall else matrix @ matrix.mH
    power, vectors = torch.linalg.eigh(gram)
    keep = power > threshold**2 * power[-1]
    rows = vectors[:, keep] if tall else matrix.mH @ (vectors[:, keep] / power[keep].sqrt())
    # SigPy takes the rows of Vᴴ as kernels, without conjugation.
    return (rows @ rows.mH).conj()


def eigen_maps(
    kernels: Tensor, shape: tuple[int, int], sets: int = 1, power: int = 8
) -> tuple[Tensor, Tensor]:
    """Return the leading orthonormal eigenvectors (set, coil, y, x) and eigenvalues (set, y, x) of pixels.

    kernels: W of `covariance_kernels`; shape: the image's (y, x); sets: how many, above 1 where the object is
    larger than the field of view; power: vectors are a column of G to the power 2^power.  The covariance of
    pixel r is G(r) = Σ_Δ W(Δ) exp(2πi Δ·r/N), r from the centre: a trigonometric polynomial of degree k − 1.
    On a grid of `PLACES_PER_TAP` places for each of its 2k − 1 terms, cubic splines hold its eigenvectors:
    they are 0.9999 or more of those found in each pixel, and supports are the same.  The phase of each set is
    that at which its component along the set's principal coil combination is real.
    """
    coils, sides = kernels.shape[0], kernels.shape[-2:]
    coarse = tuple(min(n, PLACES_PER_TAP * (side + 1)) for n, side in zip(shape, sides, strict=True))
    grid = [_waves(n, m, side, kernels) for n, m, side in zip(shape, coarse, sides, strict=True)]
    spare = -coils % TILE  # products of matrices with such a side are twice as fast
    padded = F.pad(torch.view_as_real(kernels), (0, 0, 0, 0, 0, 0, 0, spare, 0, spare))
    vectors, values = _coarse_vectors(_covariance(torch.view_as_complex(padded), *grid), sets, power)
    images = vectors[..., :coils].transpose(1, 2).reshape(sets * coils, *coarse)
    planes = torch.cat([images.real, images.imag, values.reshape(sets, *coarse)])
    for axis, (n, m) in enumerate(zip(shape, coarse, strict=True)):
        if n > m:
            spline = torch.from_numpy(_spline(n, m)).to(planes)
            planes = spline @ planes if axis == 0 else planes @ spline.T
    real, imaginary, value = planes.split([sets * coils, sets * coils, sets])
    return _orthonormal(torch.complex(real, imaginary).reshape(sets, coils, *shape)), value


def _coarse_vectors(G: Tensor, sets: int, power: int) -> tuple[Tensor, Tensor]:
    """Return eigenvectors (set, pixel, coil) of G (pixel, coil, coil), smooth in phase, and eigenvalues."""
    vectors: list[Tensor] = []
    values: list[Tensor] = []
    for number in range(sets):
        if number > 0:
            v = vectors[-1]
            G = G - values[-1][:, None, None] * v[:, :, None] * v[:, None].conj()
        v = _power(G, power)
        values.append((v.conj() * (G @ v[..., None])[..., 0]).sum(1).real)
        vectors.append(_aligned(v, _reference(v * values[-1][:, None])))
    return torch.stack(vectors), torch.stack(values)


def _orthonormal(v: Tensor) -> Tensor:
    """Return Gram and Schmidt's vectors of v (set, coil, y, x) in each pixel."""
    found: list[Tensor] = []
    for one in v:
        for other in found:
            one = one - other * (other.conj() * one).sum(0)
        found.append(one / _size(one, 0).clamp_min(1e-30))
    return torch.stack(found)


@lru_cache(maxsize=16)
def _spline(n: int, samples: int) -> np.ndarray:
    """Return the cubic spline at n pixels of each of `samples` places from first to last, (n, samples)."""
    from scipy.interpolate import make_interp_spline

    spline = make_interp_spline(np.linspace(0, n - 1, samples), np.eye(samples), k=3)
    return spline(np.arange(n)).astype(np.float32)


def _waves(n: int, samples: int, side: int, like: Tensor) -> Tensor:
    """Return exp(2πi Δ r / n), (samples, Δ), r at `samples` places from the first pixel to the last."""
    r = torch.linspace(0, n - 1, samples, dtype=torch.float64, device=like.device) - n // 2
    delta = torch.arange(side, dtype=torch.float64, device=like.device) - side // 2
    angle = 2 * math.pi / n * r[:, None] * delta
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype)


def _covariance(kernels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return G of every pixel, (pixel, coil, coil)."""
    coils = kernels.shape[0]
    flat = kernels.permute(2, 3, 0, 1).reshape(rows.shape[1], -1)  # (Δy, Δx·coil·coil)
    along = (rows @ flat).reshape(rows.shape[0], columns.shape[1], coils * coils)
    return (columns @ along).reshape(-1, coils, coils)


def _power(G: Tensor, power: int) -> Tensor:
    """Return the principal eigenvectors (pixel, coil): a column of G to the power 2^power."""
    for step in range(power):
        # By its norm, not its trace: what is left of a matrix of rank one is rounding errors of any sign.
        # Four squarings shrink it to 1/coils⁸ at worst.
        if step % 4 == 0:
            parts = torch.view_as_real(G)
            G = torch.view_as_complex(parts / _size(G.flatten(1), 1)[..., None, None].clamp_min(1e-30))
        G = G @ G
    # The column of the largest diagonal element cannot be orthogonal to the principal vector.
    best = G.diagonal(dim1=1, dim2=2).real.argmax(1)
    v = G[torch.arange(len(G), device=G.device), :, best]
    return v / _size(v, 1).clamp_min(1e-30)


def _size(v: Tensor, axis: int) -> Tensor:
    """Return the norm of complex v over an axis, which is kept: of the last one quickly."""
    if axis == v.ndim - 1:
        return torch.linalg.vector_norm(torch.view_as_real(v).flatten(-2), dim=-1, keepdim=True)
    # Squares of both parts first: a sum over (part,), an axis of two, takes three times as long.
    return (v.real.square() + v.imag.square()).sum(axis, keepdim=True).sqrt()


def _reference(v: Tensor) -> Tensor:
    """Return the coil combination (coil,) that most of v (pixel, coil) has."""
    return torch.linalg.eigh(torch.einsum("pc,pd->cd", v, v.conj()).to(torch.complex128))[1][:, -1].to(
        v.dtype
    )


def _aligned(v: Tensor, reference: Tensor) -> Tensor:
    seen = v @ reference.conj()
    return v * torch.where(seen.abs() > 0, seen.conj() / seen.abs().clamp_min(1e-30), 1)[:, None]
