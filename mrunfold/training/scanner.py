"""What scanners do to k-space beyond sampling it: noise of coupled coils, windows, motion, spikes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrunfold.diffusion import complex_noise_like
from mrunfold.protocols import Scanner
from mrunfold.training.chance import chance, log_uniform, uniform

__all__ = ["displaced_lines", "half_left_out", "noise_and_whitening", "random_window", "with_spikes"]

WINDOWS = ("hann", "tukey", "fermi", "elliptical")


def noise_and_whitening(
    k: Tensor, sigma: float, scanner: Scanner, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return noise like k-space (coil, y, x), and the whitening (coil, coil) where it is correlated, or None.

    Whitened by W, the noise W n is about independent over coils and of standard deviation σ, as far as a
    covariance estimated from few samples, some with signal, can make it.
    """
    white = sigma * complex_noise_like(k[None], [generator])[0]
    coils = len(k)
    if coils == 1 or not chance(scanner.correlated, generator):
        return white, None
    mixing = _mixing(coils, generator)
    noise = torch.einsum("cd,dyx->cyx", mixing, white)
    count = round(log_uniform((4.0 * coils, 400.0 * coils), generator))
    samples = torch.randn(coils, count, dtype=torch.complex64, generator=generator)
    covariance = mixing @ (samples @ samples.mH / count) @ mixing.mH
    if chance(0.5, generator):
        # The edge of k-space holds signal too, and the estimate takes it for noise of one coil combination.
        edge = k[:, :2].reshape(coils, -1)
        signal = edge @ edge.mH / max(edge.shape[1], 1)
        size = signal.diagonal().real.sum() / covariance.diagonal().real.sum()
        covariance = covariance + signal / size.clamp_min(1e-12) * log_uniform((0.02, 1.0), generator)
    return noise, torch.linalg.inv(torch.linalg.cholesky(covariance.to(torch.complex128))).to(k.dtype)


def _mixing(coils: int, generator: torch.Generator) -> Tensor:
    """Return L, complex (coil, coil), of noise L n: of unequal gain, coupled with their neighbours."""
    gain = torch.exp(0.3 * torch.randn(coils, generator=generator))
    apart = (torch.arange(coils)[:, None] - torch.arange(coils)).abs()
    apart = torch.minimum(apart, coils - apart)
    coupling = uniform(0, 0.35, generator) ** apart.clamp_min(1)
    turn = torch.randn(coils, coils, generator=generator) * 0.5
    mixing = torch.polar(torch.where(apart == 0, torch.ones(()), coupling), turn.where(apart > 0, 0 * turn))
    return gain[:, None] * mixing


def random_window(shape: tuple[int, int], scanner: Scanner, generator: torch.Generator) -> Tensor | None:
    """Return a window of k-space, real (y, x) from 0 to 1, or None where nothing is windowed."""
    filtered, padded = chance(scanner.filtered, generator), chance(scanner.zero_padded, generator)
    if not (filtered or padded):
        return None
    part = [1.0, 1.0]
    if padded:
        both = chance(0.5, generator)
        axis = int(torch.randint(2, (1,), generator=generator))
        part = [uniform(0.6, 0.95, generator) if both or a == axis else 1.0 for a in range(2)]
    v, u = (
        ((torch.arange(n) - n // 2) / (n / 2 * p))[(...,) + (None,) * (1 - a)]
        for a, (n, p) in enumerate(zip(shape, part, strict=True))
    )
    box = ((v.abs() <= 1) & (u.abs() <= 1)).float()
    if not filtered:
        return box
    kind = WINDOWS[int(torch.randint(len(WINDOWS), (1,), generator=generator))]
    radius = (v**2 + u**2).sqrt()
    if kind == "elliptical":
        return box * (radius <= 1).float()
    if kind == "fermi":
        edge, width = uniform(0.7, 1.0, generator), uniform(0.03, 0.12, generator)
        return box * torch.sigmoid((edge - radius) / width)
    flat = 0.0 if kind == "hann" else uniform(0.2, 0.8, generator)
    along = [0.5 + 0.5 * torch.cos(math.pi * ((a.abs() - flat) / (1 - flat)).clamp(0, 1)) for a in (v, u)]
    return box * along[0] * along[1]


def half_left_out(shape: tuple[int, int], scanner: Scanner, generator: torch.Generator) -> Tensor | None:
    """Return 1 where partial Fourier, or an asymmetric echo, acquires (y, x), or None where all is."""
    if not chance(scanner.partial_fourier, generator):
        return None
    kept = torch.ones(shape)
    axis = int(torch.randint(2, (1,), generator=generator))
    n = shape[axis]
    left_out = n - round(uniform(0.56, 0.9, generator) * n)
    start = 0 if chance(0.5, generator) else n - left_out
    kept.narrow(axis, start, left_out).zero_()
    return kept


def displaced_lines(k: Tensor, scanner: Scanner, generator: torch.Generator) -> Tensor:
    """Return k-space (coil, y, x) of an object that moved a little, at rest in the middle line."""
    if not chance(scanner.motion, generator):
        return k
    height, width = k.shape[-2:]
    time = torch.linspace(0, 1, width)
    path = torch.zeros(2, width)
    for axis in range(2):
        amplitude = uniform(-1, 1, generator)  # pixels
        if chance(0.5, generator):  # a move
            path[axis] = amplitude * torch.sigmoid((time - uniform(0, 1, generator)) / 0.01)
        else:  # breathing
            cycles, start = uniform(1, 12, generator), uniform(0, 1, generator)
            path[axis] = amplitude * torch.sin(2 * math.pi * (cycles * time + start))
    path = path - path[:, width // 2, None]
    v = (torch.arange(height) - height // 2)[:, None] / height
    u = (torch.arange(width) - width // 2) / width
    angle = -2 * math.pi * (v * path[0] + u * path[1])
    return k * torch.polar(torch.ones_like(angle), angle)


def with_spikes(k: Tensor, mask: Tensor, scanner: Scanner, generator: torch.Generator) -> Tensor:
    """Return k-space (coil, y, x) with 1 to 4 samples of the mask far too large."""
    places = mask.flatten().nonzero()[:, 0]
    if not chance(scanner.spikes, generator) or not len(places):
        return k
    flat = k.reshape(len(k), -1).clone()
    top = float(flat.abs().max())
    for _ in range(1 + int(torch.randint(4, (1,), generator=generator))):
        place = int(places[int(torch.randint(len(places), (1,), generator=generator))])
        height = uniform(0.01, 0.2, generator) * top
        flat[:, place] += height * torch.randn(len(k), dtype=k.dtype, generator=generator)
    return flat.reshape(k.shape)
