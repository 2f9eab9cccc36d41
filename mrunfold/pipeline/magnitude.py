"""Turn a complex image into the magnitude that is written: combined, or root sum of squares with noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils.rss import expected_rss
from mrunfold.problem import Problem, TargetKind

__all__ = ["complex_image", "floor_record", "magnitude", "magnitude_sd", "noise_share", "target_magnitude"]


def magnitude(x: Tensor, problem: Problem, kind: TargetKind, share: float = 1.0) -> np.ndarray:
    """Return the magnitude float32 (y, x) that is written of x (set, y, x), in the file's scale.

    `rss`: what to expect of the fully sampled root sum of squares, E √Σ_c|m_c + n_c|², m the coil images of x
    (`Problem.coil_rss`) and n their noise, of which `share` (`noise_share`) is not in m already.
    `combined`: |x|, over sets their root sum of squares, times the root mean square of the coils' gain over
    all sets, one number, which undoes the scale of whitening, whatever number of sets a slice has; zero where
    no coil reaches, for x is there whatever the method left.
    A slice without signal has no scale, and what a prior puts there would be grey values of nothing: zeros.
    """
    gain = problem.A.coil_gain() if problem.coil_gain is None else problem.coil_gain
    if not problem.signal:
        return np.zeros(x.shape[-2:], np.float32)
    if kind == "rss":
        rms, coils, _ = _rss_noise(problem)
        return expected_rss(_image(problem.coil_rss(x)[0]), share * rms**2, coils)
    gain = _mean_gain(gain, problem) * (gain[0] > 0)
    return _image(torch.linalg.vector_norm(x, dim=-3) * gain * problem.scale)


def magnitude_sd(x: Tensor, sd: Tensor, problem: Problem, kind: TargetKind, share: float = 1.0) -> np.ndarray:
    """Return the standard deviation float32 (y, x) of the magnitude that is written of x (set, y, x).

    sd: of x's own magnitude, sets together, real (y, x), in the problem's units.  Exact for `combined`; for
    `rss`, to first order, how much more is expected where the coil images of x are longer by its sd.
    """
    size = torch.linalg.vector_norm(x, dim=-3)
    direction = x / size.clamp_min(torch.finfo(size.dtype).tiny)
    direction[0] = torch.where(size > 0, direction[0], 1.0)
    if kind != "rss" or not problem.signal:
        return magnitude(sd * direction, problem, kind, share)
    rms, coils, _ = _rss_noise(problem)
    # Measured samples stay as they are (`Problem.coil_rss`): here they are those of the direction itself.
    longer = replace(problem, y=problem.A(direction)).coil_rss(direction)[0] * sd
    found = problem.coil_rss(x)[0]
    written = [expected_rss(_image(m), share * rms**2, coils) for m in (found + longer, found)]
    return np.maximum(written[0] - written[1], 0)


def complex_image(x: Tensor, problem: Problem) -> np.ndarray:
    """Return x (set, y, x) as one complex64 image (y, x) of the `combined` magnitude, in the file's scale.

    Its phase is that of x; of several sets, at each pixel that of the set which is the brightest there.
    """
    on_cpu = x.detach().cpu()
    brightest = on_cpu.gather(0, on_cpu.abs().argmax(dim=0, keepdim=True))[0]
    phase = torch.polar(torch.ones_like(brightest.real), brightest.angle())
    return (magnitude(x, problem, "combined") * phase.numpy()).astype(np.complex64)


def target_magnitude(problem: Problem, kind: TargetKind) -> np.ndarray | None:
    """Return the magnitude (y, x) of the problem's target as it is: a root sum of squares has its noise."""
    if problem.target is None:
        return None
    if kind == "combined":
        return magnitude(problem.target, problem, kind)
    return _image(problem.target[0].abs() * problem.scale)


def noise_share(x: Tensor, problem: Problem) -> float:
    """Return the share of the coil images' noise that is not in x (set, y, x), from 0 to 1.

    Noise of samples that were not measured is in no image.  On a grid the measured ones are in the coil
    images as they are, with their noise.  Along a trajectory it is in the residual y − A x unless x copied
    it; a residual above the noise is error of x, and counts as noise in full.
    """
    if not problem.signal or problem.rss_noise is None or problem.unwhitening is None:
        return 1.0
    _, _, sampled = _rss_noise(problem)
    stored, coils = problem.unwhitening.shape
    measured = float(problem.A.measured_fraction())
    # Virtual coils that compression dropped are in no image.
    held = coils / stored * min(1.0, measured / sampled)
    if problem.keeps_samples:
        return 1 - held
    noise = float(problem.sigma_y) ** 2 * measured * problem.y.numel()
    left = float((problem.y - problem.A(x)).abs().square().sum())
    return 1 - held * (1 - min(1.0, left / noise))


def floor_record(problem: Problem, kind: TargetKind, share: float) -> dict[str, Any] | None:
    """Return the record of the noise in a root sum of squares, None for other kinds of magnitude.

    level: what is written where there is no signal, in the file's units; share: of the noise, `noise_share`.
    """
    if kind != "rss":
        return None
    rms, coils, _ = _rss_noise(problem)
    level = float(expected_rss(np.zeros(1), rms**2, coils)[0])
    known = problem.rss_noise is not None
    source = problem.record.get("noise", {}).get("source", "given") if known else "unknown: none is added"
    return {"level": float(f"{level:.4g}"), "share": round(share, 4), "noise": source}


def _rss_noise(problem: Problem) -> tuple[float, float, float]:
    if problem.rss_noise is None:
        return 0.0, 1.0, 1.0  # nothing is known of the noise, so none is added, which the record says
    rms, coils, sampled = problem.rss_noise.tolist()
    return rms, coils, sampled


def _mean_gain(gain: Tensor, problem: Problem) -> Tensor:
    """Root mean square over the coils' support in every set, 1 where they have none."""
    inside = gain > 0
    maps = problem.A.coil_maps()
    # The gain is that of all sets together, and |x| lies in one of them or is shared out.
    places = inside.sum() if maps is None else maps.any(dim=-3).sum()
    return (gain.square().sum() / places).sqrt() if inside.any() else torch.ones((), device=gain.device)


def _image(x: Tensor) -> np.ndarray:
    return x.float().cpu().numpy()
