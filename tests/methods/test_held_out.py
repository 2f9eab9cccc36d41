"""Held-out samples: which they are, what they say of good and bad images, and the method chosen by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region, draw
from mrunfold.methods import Method, get_method
from mrunfold.methods.held_out import check, hold_out
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
    assert turned["verdict"].startswith("do not believe")
    assert turned["residual"] > 2
    assert check(get_method("zero_filled"), problem)["verdict"].startswith("do not believe")


def test_noise_alone_cannot_be_judged(simulate: Simulate):
    problem = undersampled(simulate((64, 60)), "poisson", 4, sigma=2.0)
    assert check(Says(problem.target), problem)["verdict"].startswith("cannot be judged")


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
