"""A check without a reference image: hold acquired samples out, and see how well they are predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region
from mrunfold.methods.base import Method, Seeds
from mrunfold.operators import Sense
from mrunfold.problem import Problem

__all__ = [
    "HeldOut", "Look", "Prediction", "best_of", "check", "checked_slices", "hold_out", "looks", "pooled",
    "summarised", "told", "verdict",
]  # fmt: skip

SHARE = 0.08  # of the acquired samples outside the calibration region
FEWEST = 2  # lines, or points
SHELLS = 8  # of distance from the centre, with as many held-out samples each
WORSE = 1.05  # times the error of SENSE: less of a difference is chance
NOISE = 1.5  # times the noise's energy: with less held out, noise is nearly all that is predicted
NOISY = "cannot be judged: the samples that were held out are mostly noise"
RIVAL, RIVAL_STEPS = "sense", 30
VIRTUAL = 8  # coils of a quick look
# A quick look says "agrees" where it misses less than CLEAR times what SENSE misses and explains more than
# LEAST: near 1, coils and steps that it spares moved the ratio by a sixth at most (docs/lab-notes.md).
CLEAR, LEAST = 0.8, 0.05
NOTHING = "do not believe: explains none of what was held out"
# A split holds few lines out, and one of them may be what nothing can predict: if nothing of the first split
# is explained, so many more are looked at, and all of them judge together (docs/lab-notes.md).
FURTHER = 2
WORST_FIRST = ("do not believe", "cannot be judged", "not checked", "agrees")


@dataclass(frozen=True)
class HeldOut:
    """A problem without its held-out samples, and where these samples are.

    whole: the full problem; kept: the problem without the held-out samples, with the same maps, σ_y and
    scale; there: bool (y, x), where samples are held out; weight: real (y, x), the number of samples never
    acquired per held-out sample, at the same distance from the centre.
    """

    whole: Problem
    kept: Problem
    there: Tensor
    weight: Tensor

    def energies(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ w |y − A x|² and Σ w |y|² over the held-out samples, of an image x (set, y, x)."""
        weight = self.weight[self.there]
        return (weight * self._missed(x)).sum(), (weight * self._samples.abs().square()).sum()

    def predicted(self, x: Tensor) -> Prediction:
        """Return how well the image x (set, y, x), made of the kept samples, predicts the others."""
        weight, missed, y = self.weight[self.there], self._missed(x), self._samples
        noise = float(self.whole.sigma_y) ** 2 * len(y) * float(weight.sum())
        plain = float(missed.mean().sqrt() / self.whole.sigma_y)
        energy = (weight * y.abs().square()).sum()
        return Prediction(float((weight * missed).sum()), float(energy), noise, plain)

    def mostly_noise(self, y: Tensor) -> bool:
        """Return whether the held-out samples of y (coil, y, x) hold hardly more than noise."""
        weight = self.weight[self.there]
        energy = (weight * y[..., self.there].abs().square()).sum()
        return bool(energy < NOISE * self.whole.sigma_y**2 * len(y) * weight.sum())

    @property
    def _samples(self) -> Tensor:
        return self.whole.y[..., self.there]

    def _missed(self, x: Tensor) -> Tensor:
        return (self._samples - self.whole.A(x)[..., self.there]).abs().square()


@dataclass(frozen=True)
class Prediction:
    """Weighted energies of the held-out samples: of the prediction error, of the samples, of their noise.

    residual: root mean square of what was missed, in units of σ_y, without weights: 1 at best.
    """

    missed: float
    energy: float
    noise: float
    residual: float

    @property
    def explained(self) -> float:
        """Predicted share of the samples' energy, 1 − missed/energy; below 0, a zero image is better."""
        return 1.0 - self.missed / self.energy if self.energy > 0 else 0.0


def pooled(found: Sequence[Prediction]) -> Prediction:
    """Pool the predictions of several splits: add energies, take the root mean square of residuals."""
    residual = float(np.sqrt(np.mean([one.residual**2 for one in found])))
    return Prediction(
        sum(one.missed for one in found),
        sum(one.energy for one in found),
        sum(one.noise for one in found),
        residual,
    )


@dataclass(frozen=True)
class Look:
    """One split of a scan, and how well a method and SENSE predict its held-out samples."""

    held: HeldOut
    ours: Prediction
    sense: Prediction


def hold_out(problem: Problem, seed: int = 0, share: float = SHARE) -> HeldOut:
    """Return `problem` (one slice) without `share` of its samples outside the calibration region.

    Holds out whole lines if the mask has whole lines, interleaves along a trajectory, else points, drawn from
    `seed`.  Raises InputError for an operator that is not of k-space (`Facts.without`), and if fewer than
    `FEWEST` of them can be held out.
    """
    A: Any = problem.A
    refused = InputError(f"samples can be held out of one slice of k-space, got {A!r}; leave the check out")
    if problem.y.ndim != 3 or A.batch:
        raise refused
    mask = A.observed().any(dim=0).cpu().numpy()
    sampled = _with_spikes(mask, problem.record)
    there = _interleaves(mask, seed, share) if A.interleaved else _chosen(sampled, seed, share) & mask
    keep = torch.from_numpy(~there).to(problem.y.device)
    left = A.without(~keep)
    if left is None:
        raise refused
    kept = replace(problem, y=problem.y * keep, A=left, target=None)
    if A.interleaved:  # an interleaf has all distances from the centre, so its samples need no weight
        ones = torch.ones(mask.shape, dtype=problem.y.real.dtype, device=problem.y.device)
        return HeldOut(problem, kept, ~keep, ones)
    weight = torch.from_numpy(_weights(sampled, there)).to(problem.y.device)
    return HeldOut(problem, kept, ~keep, weight)


def check(
    method: Method,
    problem: Problem,
    seeds: Seeds = Seeds(),  # noqa: B008 (frozen)
    rival: Method | None = None,
) -> dict[str, Any]:
    """Return the check of `method` on a slice, as a record with a verdict in words.

    Both the method and SENSE (`rival`) reconstruct the slice without `SHARE` of the acquired samples, and
    predict these.  If the method has a cheap form (`beside_sense`), that is checked first, in at most
    `VIRTUAL` coils.  If its result is not clear (`CLEAR`), the method reconstructs in full; if the verdict is
    then "do not believe", `FURTHER` more splits follow.
    In the record, explained and sense: the share of the energy that each predicts; residual: the method's
    error, root mean square in units of σ_y; held_out: number of samples of each coil, in all `splits`; coils:
    number of coils; by: "one evaluation" (the cheap form) or "in full".
    """
    quick: Any = getattr(method, "beside_sense", None) if rival is None else None
    seed = seeds.items[0]
    try:
        held = hold_out(problem if quick is None else in_virtual_coils(problem, VIRTUAL), seed)
    except InputError as error:
        return {"verdict": f"not checked: {error}"}
    if quick is not None:
        ours, theirs = (held.predicted(x) for x in quick(held.kept))
        found = told([Look(held, ours, theirs)], "one evaluation")
        if held.mostly_noise(problem.y):
            return found | {"verdict": NOISY}
        if ours.explained > LEAST and ours.missed < CLEAR * theirs.missed:
            return found
    from mrunfold.methods.registry import get_method

    other, mean_only = rival or get_method(RIVAL, max_iter=RIVAL_STEPS), _mean_only(method)

    def look(split: int) -> Look:
        held = hold_out(problem, seed + split)
        ours = held.predicted(mean_only(held.kept, seeds=seeds).mean)
        return Look(held, ours, held.predicted(other(held.kept).mean))

    return told(looks(look), "in full")


def looks(look: Callable[[int], Look]) -> list[Look]:
    """Return the first look, and `FURTHER` more if it explains nothing; look: gives one for each of 0, 1, …

    "Explains less than SENSE" stands at once: further splits would excuse images that are wrong (lab notes).
    """
    first = look(0)
    further = FURTHER if verdict(first.ours, first.sense) == NOTHING else 0
    return [first, *(look(split) for split in range(1, 1 + further))]


def told(found: Sequence[Look], by: str) -> dict[str, Any]:
    """Return the record of one slice, as `check` does, from all its looks together."""
    ours, sense = pooled([look.ours for look in found]), pooled([look.sense for look in found])
    return {
        "verdict": verdict(ours, sense),
        "explained": round(ours.explained, 4),
        "sense": round(sense.explained, 4),
        "residual": round(ours.residual, 3),
        "held_out": sum(int(look.held.there.sum()) for look in found),
        "splits": len(found),
        "coils": found[0].held.whole.y.shape[0],
        "by": by,
    }


def in_virtual_coils(problem: Problem, most: int) -> Problem:
    """Return a problem of one slice in the `most` virtual coils with most of the energy of y.

    The noise stays white; `coil_gain`, `unwhitening` and `rss_noise` become None.  The problem is returned
    unchanged if it has no more coils, or if its operator is not `Sense`.
    """
    A = problem.A
    if not isinstance(A, Sense) or len(problem.y) <= most:
        return problem
    samples = problem.y[:, A.mask.expand(problem.y.shape[1:]) != 0].to(torch.complex128)
    mixing = torch.linalg.eigh(samples @ samples.mH)[1][:, -most:].mH.to(problem.y)
    y = (mixing @ problem.y.flatten(start_dim=1)).reshape(-1, *problem.y.shape[1:])
    return replace(problem, y=y, A=A.in_virtual(mixing), coil_gain=None, unwhitening=None, rss_noise=None)


def checked_slices(indices: Sequence[int], count: int) -> frozenset[int]:
    """Return at most `count` slices for the check, spread evenly over the volume."""
    if count < 1 or not indices:
        return frozenset()
    places = np.linspace(0, len(indices) - 1, min(count, len(indices)) + 2)[1:-1]
    return frozenset(indices[round(float(place))] for place in places)


def summarised(checks: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the record of a volume: the worst verdict of its slices, and the check of each slice."""
    if not checks:
        return {"verdict": "not checked: it was not asked for", "slices": {}}
    worst = min((str(c["verdict"]) for c in checks.values()), key=_rank)
    return {"verdict": worst, "slices": {str(index): dict(c) for index, c in checks.items()}}


def _rank(text: str) -> int:
    return next(i for i, start in enumerate(WORST_FIRST) if text.startswith(start))


def _mean_only(method: Method) -> Method:
    """Return the method without posterior draws and SD maps: the check does not need them."""
    drawn: Any = method
    unused = {name: value for name, value in (("samples", 0), ("sd", False)) if getattr(method, name, 0)}
    return replace(drawn, **unused) if unused else method


def best_of(missed: Sequence[float], energy: float) -> int:
    """Return which method predicts best, from each method's prediction error on the held-out samples.

    The first where none explains anything: then the samples are what nothing can predict, and rank nothing.
    """
    best = min(range(len(missed)), key=missed.__getitem__)
    return best if missed[best] < energy else 0


def verdict(ours: Prediction, sense: Prediction) -> str:
    """Return the verdict in words, from the predictions of the method and of SENSE."""
    if ours.energy < NOISE * ours.noise:
        return NOISY
    if ours.explained <= 0:
        return NOTHING
    if ours.missed > WORSE * sense.missed:
        return "do not believe: explains less than SENSE"
    return "agrees with what was measured"


def _with_spikes(mask: np.ndarray, record: Mapping[str, Any]) -> np.ndarray:
    """Return the mask as it was before spikes were taken out: they leave lines, and the centre, whole."""
    places = record.get("spikes", {}).get("left_out", ())
    whole = mask.copy()
    for y, x in places:
        whole[y, x] = True
    return whole


def _chosen(mask: np.ndarray, seed: int, share: float) -> np.ndarray:
    """Return which samples of a mask (y, x) are held out, bool (y, x)."""
    rng = np.random.default_rng(seed)
    height, width = (
        slice(n // 2 - m // 2, n // 2 - m // 2 + m)
        for n, m in zip(mask.shape, calibration_region(mask), strict=True)
    )
    outside = mask.copy()
    outside[height, width] = False
    there = np.zeros_like(mask)
    for axis in (0, 1):
        lines = mask.any(axis=axis)
        if (mask == np.expand_dims(lines, axis)).all() and not lines.all():
            spare = np.flatnonzero(outside.any(axis=axis))
            picked = _some(spare, max(FEWEST, round(share * len(spare))), rng, "lines")
            there[(slice(None), picked) if axis == 0 else (picked, slice(None))] = True
            return there & mask
    spare = np.flatnonzero(outside)
    there.ravel()[_some(spare, max(FEWEST, round(share * len(spare))), rng, "samples")] = True
    return there


def _interleaves(mask: np.ndarray, seed: int, share: float) -> np.ndarray:
    """Return which samples of a mask (readout, interleaf) are held out: whole interleaves."""
    spare = np.flatnonzero(mask.any(axis=0))
    rng = np.random.default_rng(seed)
    there = np.zeros_like(mask)
    there[:, _some(spare, max(FEWEST, round(share * len(spare))), rng, "interleaves")] = True
    return there & mask


def _some(spare: np.ndarray, count: int, rng: np.random.Generator, what: str) -> np.ndarray:
    if len(spare) < 2 * count:
        raise InputError(f"only {len(spare)} {what} outside the calibration region, too few to hold some out")
    return rng.choice(spare, count, replace=False)


def _weights(mask: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the samples never acquired for each one held out, by shells of distance, float32 (y, x)."""
    height, width = mask.shape
    y = (np.arange(height) - height // 2)[:, None] / height
    x = (np.arange(width) - width // 2)[None] / width
    lines = [(mask == np.expand_dims(mask.any(axis=axis), axis)).all() for axis in (0, 1)]
    distance = np.abs(x) + 0 * y if lines[0] else np.abs(y) + 0 * x if lines[1] else np.hypot(y, x)
    edges = np.unique(np.quantile(distance[there], np.linspace(0, 1, SHELLS + 1)[1:-1]))
    shell = np.digitize(distance, edges)
    count = len(edges) + 1
    held = np.bincount(shell[there], minlength=count)
    missing = np.bincount(shell[~mask], minlength=count)
    # A fully sampled shell stands for itself.
    each = np.maximum(missing, 1) / np.maximum(held, 1)
    return each[shell].astype(np.float32)
