"""ESPIRiT in PyTorch: the coil covariance of every pixel from the autocorrelation of its k-space kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["covariance_kernels", "eigen_maps", "kernels_at"]

PIXELS_AT_ONCE = 1 << 14


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
    kernels: Tensor, shape: tuple[int, int], sets: int = 1, iterations: int = 16
) -> tuple[Tensor, Tensor]:
    """Return the leading orthonormal eigenvectors (set, coil, y, x) and eigenvalues (set, y, x) of pixels.

    kernels: W of `covariance_kernels`; shape: the image's (y, x); sets: how many, above 1 where the object is
    larger than the field of view; iterations: of the power method on a coarse grid.  The covariance of pixel
    r is G(r) = Σ_Δ W(Δ) exp(2πi Δ·r/N), r from the centre: a trigonometric polynomial of degree k − 1, so a
    coarse grid holds its eigenvectors well, and two steps at every pixel make them exact.  The phase of each
    set is that at which its component along the set's principal coil combination is real.
    """
    coils, sides = kernels.shape[0], kernels.shape[-2:]
    coarse = tuple(min(n, max(96, n // 3)) for n in shape)
    waves = [_waves(n, n, side, kernels) for n, side in zip(shape, sides, strict=True)]
    grid = [_waves(n, m, side, kernels) for n, m, side in zip(shape, coarse, sides, strict=True)]
    start = _coarse_vectors(_covariance(kernels, *grid), sets, iterations)  # (set, pixel, coil)
    start = start.transpose(1, 2).reshape(sets * coils, *coarse)
    both = torch.stack([start.real, start.imag])
    both = F.interpolate(both, size=shape, mode="bicubic", align_corners=True)
    v = torch.complex(both[0], both[1]).reshape(sets, coils, *shape)
    value = v.real.new_empty(sets, *shape)
    rows = max(1, PIXELS_AT_ONCE // shape[1])
    for top in range(0, shape[0], rows):
        part = slice(top, top + rows)
        G = _covariance(kernels, waves[0][part], waves[1])
        u = v[:, :, part].reshape(sets, coils, -1).permute(2, 1, 0)  # (pixel, coil, set)
        for _ in range(2):
            u, size = _orthonormal(G @ u)
        v[:, :, part] = u.permute(2, 1, 0).reshape(sets, coils, -1, shape[1])
        value[:, part] = size.T.reshape(sets, -1, shape[1])
    return v, value


def _coarse_vectors(G: Tensor, sets: int, iterations: int) -> Tensor:
    """Return eigenvectors of G (pixel, coil, coil), one set after another, with smooth phases."""
    found = []
    for _ in range(sets):
        v = _power(G, iterations)
        value = torch.einsum("pc,pcd,pd->p", v.conj(), G, v).real
        found.append(_aligned(v, _reference(v * value[:, None])))
        G = G - value[:, None, None] * v[:, :, None] * v[:, None].conj()
    return torch.stack(found)


def _orthonormal(u: Tensor) -> tuple[Tensor, Tensor]:
    """Return Gram and Schmidt's columns of u (pixel, coil, set), and the norms they had (pixel, set)."""
    columns: list[Tensor] = []
    norms = []
    for column in u.unbind(-1):
        for other in columns:
            column = column - other * (other.conj() * column).sum(1, keepdim=True)
        size = _size(column)
        columns.append(column / size.clamp_min(1e-30))
        norms.append(size[:, 0])
    return torch.stack(columns, dim=-1), torch.stack(norms, dim=-1)


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


def _power(G: Tensor, iterations: int) -> Tensor:
    """Return the principal eigenvectors (pixel, coil): squarings of G, then steps of the power method."""
    squared = G
    for _ in range(4):
        # By the largest element: what is left of a matrix of rank one is rounding errors of any sign.
        squared = squared / squared.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
        squared = squared @ squared
    # The column of the largest diagonal element cannot be orthogonal to the principal vector.
    best = squared.diagonal(dim1=1, dim2=2).real.argmax(1)
    v = squared[torch.arange(len(G), device=G.device), :, best][..., None]
    for step in range(iterations):
        v = squared @ v
        if step % 4 == 3 or step == iterations - 1:  # each step shrinks it to 1/coils² at worst
            v = v / _size(v).clamp_min(1e-30)
    return v[..., 0]


def _size(v: Tensor) -> Tensor:
    """Return the norms of v (pixel, coil, …) over coils, (pixel, 1, …); vector_norm is slow on short axes."""
    return torch.view_as_real(v).square().sum(-1).sum(1, keepdim=True).sqrt()


def _reference(v: Tensor) -> Tensor:
    """Return the coil combination (coil,) that most of v (pixel, coil) has."""
    return torch.linalg.eigh(torch.einsum("pc,pd->cd", v, v.conj()).to(torch.complex128))[1][:, -1].to(
        v.dtype
    )


def _aligned(v: Tensor, reference: Tensor) -> Tensor:
    seen = v @ reference.conj()
    return v * torch.where(seen.abs() > 0, seen.conj() / seen.abs().clamp_min(1e-30), 1)[:, None]
