"""Fine-tuning on undersampled scans alone: acquired samples that are kept out are what is learned from."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.methods.held_out import NOISE, HeldOut, Prediction, hold_out
from mrunfold.networks.posterior import SIGMA_OF_MEAN, PosteriorDenoiser
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.problem import Problem

__all__ = ["AdaptSettings", "AdaptState", "Adaptation", "Report", "keep_out"]

PARTS = ("all", "levels")
VALIDATION_SEED = 1 << 20  # no step has it
WAYS = (0.25, 0.5, 0.75)  # from the first weights to the best ones, beside all of it
MOST = 0.8  # of the largest gain of the kept-out part is enough
FED_BACK = (0, 0, 1, 2)  # evaluations before the one that is trained, each as often
# What a torn or foreign file makes of unpickling and of what is looked for in it.
UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)
Report = Callable[["AdaptState"], None]


@dataclass(frozen=True)
class AdaptSettings:
    """How a network is fine-tuned.

    steps: of one slice each; part: "all" weights, or the "levels" only (what each block is told of noise
    and trust, under 1 % of the weights); learning_rate, levels_rate: of Adam, for the priors and the levels;
    kept_out: share of the acquired samples outside the calibration region that no step sees, for stopping;
    shares: of the others, how many a step learns from, one of these; every: steps between looks at the
    kept-out part; patience: looks without a better one, after which it ends; slower: after a look that is no
    better the run goes back to the best weights, with its rates times this; average: decay of the weights'
    running mean, which is what is judged and written; seed: of all draws.
    """

    steps: int = 120
    part: Literal["all", "levels"] = "all"
    learning_rate: float = 1e-4
    levels_rate: float = 5e-4
    kept_out: float = 0.2
    shares: tuple[float, ...] = (0.1, 0.2, 0.3)
    every: int = 10
    patience: int = 3
    slower: float = 0.3
    warmup: int = 8
    average: float = 0.9
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise InputError(f"`part` is one of {', '.join(PARTS)}, got {self.part!r}")
        if not 0 < self.kept_out < 0.5 or not all(0 < share < 0.5 for share in self.shares):
            raise InputError("`kept_out` and `shares` are shares of samples between 0 and 0.5")
        if min(self.steps, self.every, self.patience) < 1 or not self.shares:
            raise InputError("`steps`, `every` and `patience` are at least 1, and `shares` has one or more")


@dataclass(frozen=True)
class AdaptState:
    """Where a run stands; errors: of the kept-out part at each look, from the weights it began with on;
    rate: what learning rates are multiplied by.

    An error is the mean over slices of missed over all energy of the kept-out samples, `Prediction`.
    way: how far the weights that are kept lie from the first ones to the best ones, found at the end, and
    way_error: their error; 1 and None before.
    """

    step: int = 0
    errors: tuple[float, ...] = ()
    rate: float = 1.0
    finished: bool = False
    way: float = 1.0
    way_error: float | None = None

    @property
    def before(self) -> float:
        """The error of the weights it began with."""
        return self.errors[0]

    @property
    def best(self) -> float:
        """The error of the weights that are kept: the lowest so far, at the end that of `way`."""
        return min(self.errors) if self.way_error is None else self.way_error


def keep_out(problems: Sequence[Problem], settings: AdaptSettings) -> tuple[list[HeldOut], list[str]]:
    """Return the slices that can be learned from, with their kept-out part, and why others cannot be.

    A slice is left out where too few samples can be spared, or where what was kept out is mostly noise.
    InputError where none is left.
    """
    found, refused = [], []
    for number, problem in enumerate(problems):
        try:
            held = hold_out(replace(problem, target=None), VALIDATION_SEED + number, settings.kept_out)
            hold_out(held.kept, 0, max(settings.shares))
        except InputError as error:
            refused.append(str(error))
            continue
        nothing = held.predicted(torch.zeros_like(problem.A.adjoint(problem.y)))
        if nothing.energy < NOISE * nothing.noise:
            refused.append("the samples that were kept out are mostly noise")
            continue
        found.append(held)
    if not found:
        raise InputError(
            f"nothing can be learned from these scans: {refused[0] if refused else 'they have no slices'}"
        )
    return found, refused


@dataclass
class Adaptation:
    """Self-supervised fine-tuning of a PosteriorDenoiser, as SSDU splits k-space.

    The acquired samples Ω of a slice are split three ways: V, kept out for stopping, and at each step anew
    Θ, given to the network, and Λ, predicted by it; whole lines where the mask is of lines, never of the
    calibration region.  The loss of a step is

        L = Σ_Λ w |y − A D(y_Θ)|² / Σ_V w |y − A D₀(y_Ω∖V)|²,

    with D₀ the network before.  Noise of y_Λ adds a constant to L, and a slice counts by the share of what
    was missed that is no noise.  w: how many samples that were never acquired each one stands for, by its
    distance from the centre (`hold_out`); else the dense centre would outweigh what is to be filled in.
    Yaman et al., MRM 84 (2020) (SSDU); the part kept out for stopping: Yaman et al., ICLR (2022); weights by
    density, here of shells: Millard and Chiew, IEEE TCI 9 (2023).
    """

    network: PosteriorDenoiser
    slices: Sequence[HeldOut]
    settings: AdaptSettings
    state: AdaptState = field(default_factory=AdaptState)

    def __post_init__(self) -> None:
        self.first = self.network
        self.network = copy.deepcopy(self.first).train()
        self.averaged = copy.deepcopy(self.first).eval()
        self.best = copy.deepcopy(self.first).eval()
        self._usual = [1.0] * len(self.slices)
        levels = list(self.network.levels.parameters())
        priors = list(self.network.priors.parameters()) if self.settings.part == "all" else []
        self.network.requires_grad_(False)
        for parameter in (*levels, *priors):
            parameter.requires_grad_(True)
        groups = [{"params": levels, "rate": self.settings.levels_rate}]
        groups += [{"params": priors, "rate": self.settings.learning_rate}] if priors else []
        self.optimiser = torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99))

    def run(self, report: Report = lambda state: None, kept: Callable[[], None] = lambda: None) -> None:
        """Go on to the end; report: called after each step and look, kept: after each look, to save it."""
        if not self.state.errors:
            self._look()
            kept()
            report(self.state)
        while not self.state.finished:
            self._step(self.state.step)
            self.state = replace(self.state, step=self.state.step + 1)
            if self.state.step % self.settings.every == 0 or self.state.step == self.settings.steps:
                self._look()
                kept()
            report(self.state)
        self._hold_back()

    def predictions(self, network: PosteriorDenoiser) -> list[Prediction]:
        """Return what the network, given all but the kept-out samples, predicts of them, slice by slice."""
        with torch.no_grad():
            return [held.predicted(self._mean(network, held.kept)) for held in self.slices]

    def _look(self) -> None:
        """Judge the averaged weights as they would be written, and keep them where they are the best."""
        candidate = _as_written(self.averaged)
        found = self.predictions(candidate)
        if not self.state.errors:
            self._usual = [p.missed for p in found]
        error = self._error(found)
        rate = self.state.rate
        if not self.state.errors or error < self.state.best:
            self.best = candidate
        else:
            rate *= self.settings.slower
            self._back()
        errors = (*self.state.errors, error)
        since = len(errors) - 1 - errors.index(min(errors))
        ends = self.state.step >= self.settings.steps or since >= self.settings.patience
        self.state = AdaptState(self.state.step, errors, rate, ends)

    def _hold_back(self) -> None:
        """Keep weights on the line from the first to the best ones: the nearest with most of the gain.

        Few samples are kept out, and the best weights predict them better than what was never acquired; on
        the way there most is gained early.  θ = θ₀ + α (θ* − θ₀): Wortsman et al., CVPR 2022, eq. 1.
        """
        best, errors = self.best, {1.0: min(self.state.errors)}
        candidates = {1.0: best}
        if errors[1.0] >= self.state.before:
            return
        for way in WAYS:
            candidates[way] = _as_written(_between(self.first, best, way))
            errors[way] = self._error(self.predictions(candidates[way]))
        least = min(errors.values())
        enough = self.state.before - MOST * (self.state.before - least)
        way = min(way for way, error in errors.items() if error <= enough)
        self.best = candidates[way]
        self.state = replace(self.state, way=way, way_error=errors[way])

    @staticmethod
    def _error(found: Sequence[Prediction]) -> float:
        return sum(p.missed / p.energy for p in found) / len(found)

    def _back(self) -> None:
        """Return to the best weights: a rate that was too high for these scans has led astray."""
        best = self.best.state_dict()
        self.network.load_state_dict(best)
        self.averaged.load_state_dict(best)
        self.optimiser.state.clear()

    def _step(self, step: int) -> None:
        s = self.settings
        # Of the step's number alone: a run that is resumed draws what it would have drawn.
        rng = random.Random(s.seed * (1 << 32) + step)
        place = rng.randrange(len(self.slices)) if step >= len(self.slices) else step
        draw, share = rng.randrange(VALIDATION_SEED), rng.choice(s.shares)
        held = hold_out(self.slices[place].kept, draw, share)
        x = self._estimate(held.kept, rng.choice(FED_BACK))
        missed, _ = held.energies(x)
        loss = missed / self._usual[place]
        if not bool(torch.isfinite(loss)):
            raise InputError(f"step {step} gave a loss that is not finite; give a lower `learning_rate`")
        self.optimiser.zero_grad()
        loss.backward()
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * self.state.rate * min(1.0, (step + 1) / s.warmup)
        self.optimiser.step()
        decay = min(s.average, (1 + step) / (10 + step))  # short runs would hardly leave where they began
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def _estimate(self, problem: Problem, before: int) -> Tensor:
        """Return the mean by one evaluation with gradients, after `before` without, as in training."""
        network, sigma_y = self.network, problem.sigma_y
        x_t, sigma_t = None, torch.full_like(sigma_y, torch.inf)
        with convolutions_in(choose(self.settings.precision, problem.y.device), problem.y.device):
            if before:
                with torch.no_grad():
                    x_t = network.state_of_mean(problem.y, problem.A, sigma_y, before)
                sigma_t = torch.full_like(sigma_y, SIGMA_OF_MEAN)
            return network(x_t, sigma_t, problem.y, problem.A, sigma_y)

    def _mean(self, network: PosteriorDenoiser, problem: Problem) -> Tensor:
        with convolutions_in(choose(self.settings.precision, problem.y.device), problem.y.device):
            return network.mean(problem)

    def save(self, path: Path, of: dict[str, Any]) -> None:
        """Write all that `load` needs; of: what the run depends on, as JSON has it."""
        content = {
            "of": json.dumps(of, sort_keys=True),
            "settings": json.dumps(_lasting(self.settings)),
            "state": asdict(self.state) | {"errors": list(self.state.errors)},
            "usual": list(self._usual),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_path(path) as part, part.open("wb") as file:
            torch.save(content, file)

    def load(self, path: Path, of: dict[str, Any]) -> None:
        """Go on from what `save` wrote; InputError where that is of other scans, weights or settings."""
        advice = f"remove {path.name} to begin again, or choose another `out`"
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
            same = held["of"] == json.dumps(of, sort_keys=True)
            if not same or held["settings"] != json.dumps(_lasting(self.settings)):
                raise InputError(f"{path} is of a run on other scans, weights or settings; {advice}")
            for name in ("network", "averaged", "best"):
                getattr(self, name).load_state_dict(held[name])
            self.optimiser.load_state_dict(held["optimiser"])
            state = held["state"]
            self._usual = [float(value) for value in held["usual"]]
        except InputError:
            raise
        except UNREADABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise InputError(f"{path} is not a run of adapt that can go on ({reason}); {advice}") from None
        errors = tuple(float(value) for value in state["errors"])
        ends = int(state["step"]) >= self.settings.steps or bool(state["finished"])
        self.state = AdaptState(int(state["step"]), errors, float(state["rate"]), ends)


def _lasting(settings: AdaptSettings) -> dict[str, Any]:
    """Return the settings that a run may not change on its way: all but how long it goes."""
    return {key: value for key, value in asdict(settings).items() if key not in ("steps", "patience")}


def _as_written(network: PosteriorDenoiser) -> PosteriorDenoiser:
    """Return the network with its weights rounded as `save_weights` does."""
    rounded = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parameter in rounded.priors.parameters():
            parameter.copy_(parameter.half().float())
    return _frozen(rounded)


def _between(first: PosteriorDenoiser, best: PosteriorDenoiser, way: float) -> PosteriorDenoiser:
    """Return the network that lies `way` of the way from the first to the best one."""
    found = copy.deepcopy(first)
    with torch.no_grad():
        for mine, other in zip(found.parameters(), best.parameters(), strict=True):
            mine.lerp_(other, way)
    return found


def _frozen(network: PosteriorDenoiser) -> PosteriorDenoiser:
    nn.Module.requires_grad_(network, False)
    return network
