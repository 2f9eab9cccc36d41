"""How wide posterior draws must be: as wide as the mean misses samples that it was not given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.methods.held_out import hold_out
from mrunfold.problem import Problem

__all__ = ["EXPONENT", "held_out_width"]

# The ratio of a few held-out lines is uncertain. On subjects kept from training this power of it brought
# intervals nearest to 90 % (docs/lab-notes.md).
EXPONENT = 0.6
BOUNDS = (0.5, 2.5)

Drawn = Callable[[Problem, int], tuple[Tensor, Tensor, int]]


def held_out_width(
    problem: Problem, drawn: Drawn, splits: int, has_noise: bool
) -> tuple[float, int, dict[str, Any]]:
    """Return the factor of the draws' distance from their mean, network evaluations, and what to record.

    For each of `splits` choices of held-out samples the rest is reconstructed and drawn from: drawn(problem,
    number of the split) → mean m, draws in pairs m ± d, evaluations.  The factor is r^EXPONENT with
        r² = (Σ w |y − A m|² − noise) / Σ w |A d|²,
    sums over held-out samples and splits, w what each stands for (`HeldOut`), noise that part of Σ w |n|²
    that no image shows: all, or where images have noise (has_noise) all but the images' share of the coils.
    Where no samples can be held out the factor is 1 and the record says why.
    """
    missed = noise = spread = 0.0
    evaluations = 0
    images, coils = problem.A.domain.shape[0], problem.y.shape[0]
    unseen = 1 - images / coils if has_noise else 1.0
    try:
        held = [hold_out(problem, split) for split in range(splits)]
    except InputError as error:
        return 1.0, 0, {"not_widened": str(error)}
    for split, one in enumerate(held):
        mean, draws, taken = drawn(one.kept, split)
        found = one.predicted(mean)
        # Of a pair |y − A(m ± d)|² is |y − A m|² + |A d|² in the mean.
        off = sum(one.predicted(draw).missed for draw in draws) / len(draws)
        missed, noise, spread = missed + found.missed, noise + found.noise, spread + off - found.missed
        evaluations += taken
    if not (spread > 0 and math.isfinite(spread) and math.isfinite(missed)):
        return 1.0, evaluations, {"not_widened": "the draws do not differ where samples were held out"}
    ratio = max(missed - unseen * noise, 0.0) / spread
    width = min(max(math.sqrt(ratio) ** EXPONENT, BOUNDS[0]), BOUNDS[1])
    return width, evaluations, {"held_out_ratio": round(math.sqrt(ratio), 3), "widened": round(width, 3)}
