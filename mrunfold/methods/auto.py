"""Choose for each slice the method that predicts held-out samples best."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from mrunfold.errors import InputError
from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number
from mrunfold.methods.held_out import Look, best_of, hold_out, told
from mrunfold.problem import Problem

__all__ = ["Auto"]

GRID = (0.001, 0.002, 0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Auto(Method):
    """The candidate that predicts held-out samples best, run on all samples.

    candidates: names of methods; those with a weight `lamda` stand once for each of `lamdas`, so that nobody
    has to choose it, and unfold once for each of `passes`, None for as many as it takes; splits: how many
    times other samples are held out, of which the errors are added; weights: of the learned method.  The
    record says what each candidate missed, in dB above the best.
    Takes one Cartesian slice, see `hold_out`; where too few samples can be spared, or no candidate explains
    any of their energy, it is the first one, and the record says so.
    """

    candidates: tuple[str, ...] = ("unfold", "sense", "l1_wavelet", "tv")
    lamdas: tuple[float, ...] = GRID
    passes: tuple[int | None, ...] = (None, 1)
    splits: int = 2
    weights: str | None = None
    name: ClassVar[str] = "auto"

    def __post_init__(self) -> None:
        check_number(self, "splits", low=1, integer=True)
        if not self.candidates or not self.lamdas or not self.passes or self.name in self.candidates:
            raise InputError(
                "auto: candidates are names of other methods, with one or more lamdas and passes"
            )
        list(self._methods())  # refuses what cannot be

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        methods = self._different(list(self._methods()))
        missed, energy, why, checked = self._missed(methods, problem, seeds, progress)
        best = best_of(missed, energy)
        if missed[best] >= energy:
            why = "the first: none explains any of the held-out samples"
        result = methods[best](problem, seeds)
        least = max(missed[best], 1e-30)
        record = {
            "chosen": _label(methods[best]),
            "why": why,
            "check": checked[best],
            "missed_db": {
                _label(m): round(10 * math.log10(max(e, 1e-30) / least), 2)
                for m, e in zip(methods, missed, strict=True)
            },
            "of_the_chosen": result.record,
        }
        return replace(result, record=record)

    def _methods(self) -> Iterator[Method]:
        from mrunfold.methods.registry import get_method, method_class

        for name in self.candidates:
            known = getattr(method_class(name), "__dataclass_fields__", {})
            if name == "unfold":
                yield from (get_method(name, weights=self.weights, passes=n, sd=False) for n in self.passes)
            elif "lamda" in known and known["lamda"].default is not None:
                yield from (get_method(name, lamda=lamda) for lamda in self.lamdas)
            else:
                yield get_method(name)

    def _different(self, methods: list[Method]) -> list[Method]:
        """Return the methods without a second run of unfold where its weights take one evaluation anyway."""
        from mrunfold.networks.weights import load_weights

        learned = [method for method in methods if method.name == "unfold"]
        if len(learned) < 2 or load_weights(self.weights)[0].passes > 1:
            return methods
        return [method for method in methods if method not in learned or method is learned[0]]

    def _missed(
        self,
        methods: list[Method],
        problem: Problem,
        seeds: Seeds,
        progress: Progress,
    ) -> tuple[list[float], float, str, list[dict[str, Any]]]:
        """Return what each method missed over all splits, of how much, what that rests on, and each one's own
        check."""
        total, energy = [0.0] * len(methods), 0.0
        samples = 0
        looks: list[list[Look]] = [[] for _ in methods]
        for split in range(self.splits):
            try:
                held = hold_out(problem, seeds.items[0] + split)
            except InputError as error:
                alone = {"verdict": f"not checked: {error}"}
                guess = [0.0] + [1.0] * (len(methods) - 1)
                return guess, 1.0, f"the first: {error}", [alone] * len(methods)
            samples += int(held.there.sum())
            found = []
            for i, method in enumerate(methods):
                found.append(held.predicted(method(held.kept, seeds).mean))
                total[i] += found[-1].missed
                progress((split * len(methods) + i + 1) / (self.splits * len(methods) + 1))
            energy += found[0].energy
            names = [method.name for method in methods]
            sense = found[names.index("sense")] if "sense" in names else max(found, key=lambda p: p.missed)
            for own, one in zip(looks, found, strict=True):
                own.append(Look(held, one, sense))
        checked = [told(own, "in full") for own in looks]
        return total, energy, f"predicts {samples} held-out samples best", checked


def _label(method: Method) -> str:
    parameters: dict[str, Any] = asdict(method)
    if parameters.get("lamda"):
        return f"{method.name} {parameters['lamda']:g}"
    return f"{method.name} passes={parameters['passes']}" if parameters.get("passes") else method.name
