"""Held-out samples: which they are, what they say of good and bad images, and the method chosen by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region, draw
from mrunfold.methods import Method, get_method
from mrunfold.methods.held_out import best_of, check, hold_out, in_virtual_coils
from mrunfold.operators import Sense
from mrunfold.problem import Problem

Simulate = Callable[..., Problem]


def undersampled(problem: Problem, kind: str, accel: float, sigma: float = 0.005) -> Problem:
    """Return the problem measured anew under a mask of `kind`."""
    assert problem.target is not None
    shape = problem.y.shape[-2:]
    mask = torch.from_numpy(draw(kind, shape, accel, seed=0).array.astype(np.float32))
    A = Sense(problem.A.maps, mask)
    noise = torch.randn(problem.y.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    return replace(problem, A=A, y=A(problem.target) + sigma * noise * mask, sigma_y=torch.tensor(sigma))


@dataclass(frozen=True, eq=False)
class Says(Method):
    """A method that gives one image, whatever it is given."""

    image: torch.Tensor
    name: ClassVar[str] = "says"

    def reconstruct(self, problem, seeds, progress) -> torch.Tensor:
        return self.image


@dataclass(frozen=True, eq=False)
class Quick(Says):
    """A method whose cheap form gives images of its own: its, and SENSE's."""

    at_once: torch.Tensor | None = None
    coils: list[int] = field(default_factory=list)

    def beside_sense(self, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
        self.coils.append(len(problem.y))
        return self.at_once, get_method("sense")(problem).mean


@pytest.mark.parametrize(("kind", "accel"), [("random", 3), ("equispaced", 2), ("poisson", 4), ("radial", 3)])
def test_held_out_samples_are_acquired_and_not_of_the_centre(kind: str, accel: float, simulate: Simulate):
    problem = undersampled(simulate((64, 60)), kind, accel)
    mask = problem.A.mask.numpy() > 0
    held = hold_out(problem)
    there = held.there.numpy()
    assert there.any()
    assert not (there & ~mask).any()
    rows, columns = calibration_region(mask)
    middle = there[32 - rows // 2 : 32 - rows // 2 + rows, 30 - columns // 2 : 30 - columns // 2 + columns]
    assert not middle.any()
    assert not held.kept.y[:, held.there].any()
    torch.testing.assert_close(held.kept.y[:, ~held.there], problem.y[:, ~held.there])
    assert calibration_region(held.kept.A.mask.numpy() > 0) == (rows, columns)


def test_whole_lines_are_held_out_of_a_mask_of_lines(simulate: Simulate):
    there = hold_out(undersampled(simulate((64, 60)), "random", 3)).there.numpy()
    assert (there.all(axis=0) | ~there.any(axis=0)).all()


def test_the_weights_say_how_many_samples_are_missing(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "poisson", 6)
    held = hold_out(problem, share=0.2)
    missing = float((problem.A.mask == 0).sum())
    assert float(held.weight[held.there].sum()) == pytest.approx(missing, rel=0.02)


def test_another_seed_holds_out_others_and_the_same_the_same(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "poisson", 4)
    assert torch.equal(hold_out(problem, 3).there, hold_out(problem, 3).there)
    assert not torch.equal(hold_out(problem, 3).there, hold_out(problem, 4).there)


def test_the_truth_misses_the_noise_alone(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "poisson", 4)
    predicted = hold_out(problem).predicted(problem.target)
    assert predicted.residual == pytest.approx(1, rel=0.1)
    assert predicted.missed == pytest.approx(predicted.noise, rel=0.2)
    assert predicted.explained > 0.9


@pytest.mark.parametrize(("kind", "accel"), [("random", 3), ("poisson", 5)])
def test_the_verdict(kind: str, accel: float, simulate: Simulate):
    problem = undersampled(simulate((64, 60)), kind, accel)
    good = check(Says(problem.target), problem)
    assert good["verdict"] == "agrees with what was measured"
    assert good["explained"] > good["sense"]
    turned = check(Says(problem.target.flip(-1)), problem)
    assert (turned["verdict"], turned["splits"]) == ("do not believe: explains less than SENSE", 1)
    assert turned["residual"] > 2
    moved = check(Says(problem.target.roll(9, -1)), problem)
    assert moved["verdict"].startswith("do not believe")
    assert moved["residual"] > 2
    assert check(get_method("zero_filled"), problem)["verdict"].startswith("do not believe")


@dataclass(frozen=True, eq=False)
class InTurn(Method):
    """Gives one image after another, the last one again and again."""

    images: list[torch.Tensor]
    calls: list[int] = field(default_factory=list)
    name: ClassVar[str] = "in turn"

    def reconstruct(self, problem, seeds, progress) -> torch.Tensor:
        self.calls.append(1)
        return self.images[min(len(self.calls), len(self.images)) - 1]


def test_a_doubt_is_looked_at_in_further_splits(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "random", 3)
    truth, wrong = problem.target, problem.target.roll(9, -1)
    empty = Says(torch.zeros_like(truth))
    sure = check(InTurn([truth]), problem, rival=empty)
    assert (sure["verdict"], sure["splits"]) == ("agrees with what was measured", 1)
    unlucky = InTurn([wrong, truth])
    found = check(unlucky, problem, rival=empty)
    assert (found["verdict"], found["splits"], len(unlucky.calls)) == ("agrees with what was measured", 3, 3)
    assert found["held_out"] > sure["held_out"]
    assert found["residual"] > sure["residual"]
    found = check(InTurn([wrong]), problem)
    assert (found["verdict"][:14], found["splits"]) == ("do not believe", 3)


def test_noise_alone_cannot_be_judged(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "poisson", 4, sigma=2.0)
    assert check(Says(problem.target), problem)["verdict"].startswith("cannot be judged")


def test_a_cheap_form_is_believed_where_it_is_clear(simulate: Simulate):
    problem = undersampled(simulate((64, 60), coils=12), "poisson", 5)
    wrong = problem.target.flip(-1)
    method = Quick(wrong, problem.target)
    found = check(method, problem)
    assert method.coils == [8]
    assert (found["by"], found["coils"]) == ("one evaluation", 8)
    assert found["verdict"] == "agrees with what was measured"
    # Where it leaves doubt the method itself speaks, in all coils.
    found = check(Quick(problem.target, wrong), problem)
    assert (found["by"], found["coils"]) == ("in full", 12)
    assert found == check(Says(problem.target), problem)
    assert check(Quick(wrong, wrong), problem)["verdict"].startswith("do not believe")


def test_noise_of_all_coils_counts_for_a_cheap_form_too(simulate: Simulate):
    # In the 8 coils that hold most there is more of the signal than in all.
    problem = undersampled(simulate((64, 60), coils=24), "poisson", 4, sigma=0.015)
    assert check(Says(problem.target), problem)["verdict"].startswith("cannot be judged")
    few = in_virtual_coils(problem, 8)
    assert not check(Says(problem.target), few)["verdict"].startswith("cannot be judged")
    assert check(Quick(problem.target, problem.target), problem)["verdict"].startswith("cannot be judged")


def test_virtual_coils_measure_the_same_with_white_noise(simulate: Simulate):
    problem = undersampled(simulate((64, 60), coils=12), "random", 3, sigma=0.1)
    few = in_virtual_coils(problem, 5)
    assert few.y.shape[0] == few.A.range.shape[0] == 5
    noise = few.y - few.A(problem.target)
    covariance = noise.flatten(start_dim=1) @ noise.flatten(start_dim=1).mH / float(problem.A.mask.sum())
    torch.testing.assert_close(covariance, 0.1**2 * torch.eye(5, dtype=covariance.dtype), rtol=0, atol=1e-3)
    assert float(few.y.norm()) > 0.9 * float(problem.y.norm())
    assert in_virtual_coils(problem, 12) is problem


def test_a_scan_that_can_spare_nothing_says_so(simulate: Simulate):
    problem = simulate((32, 28))
    full = replace(problem, A=Sense(problem.A.maps, torch.ones(32, 28)))
    assert check(Says(problem.target), full)["verdict"].startswith("not checked: only 0")
    with pytest.raises(InputError, match="too few"):
        hold_out(full)


def test_auto_takes_what_predicts_best(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "poisson", 5)
    auto = get_method("auto", candidates=("zero_filled", "sense", "tv"), lamdas=(1e-4, 0.002, 3.0))
    result = auto(problem)
    missed = result.record["missed_db"]
    assert missed[result.record["chosen"]] == 0
    assert missed["tv 3"] > 1
    assert missed["zero_filled"] > 1

    def error(name: str, **parameters: float) -> float:
        return float((get_method(name, **parameters)(problem).mean - problem.target).norm())

    best = min(error("sense"), error("tv", lamda=0.002), error("tv", lamda=1e-4))
    assert float((result.mean - problem.target).norm()) <= 1.1 * best


def test_auto_takes_the_first_where_none_explains_anything(simulate: Simulate):
    assert best_of([3.0, 2.0, 4.0], 5.0) == 1
    assert best_of([7.0, 6.0, 8.0], 5.0) == 0
    problem = undersampled(simulate((64, 60)), "poisson", 4, sigma=2.0)  # noise, which nothing predicts
    result = get_method("auto", candidates=("sense", "tv", "zero_filled"), lamdas=(1e-4,))(problem)
    assert result.record["chosen"] == "sense"
    assert "none explains" in result.record["why"]
    assert result.record["check"]["splits"] == 2


def test_auto_says_when_it_cannot_choose(simulate: Simulate):
    problem = simulate((32, 28))
    full = replace(problem, A=Sense(problem.A.maps, torch.ones(32, 28)))
    result = get_method("auto", candidates=("sense", "tv"))(full)
    assert result.record["chosen"] == "sense"
    assert "too few" in result.record["why"]


def test_auto_refuses_itself_and_nothing():
    for candidates in ((), ("auto",)):
        with pytest.raises(InputError, match="candidates"):
            get_method("auto", candidates=candidates)
