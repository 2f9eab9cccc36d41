"""The learning rate, alone and when a run is given more steps."""

from __future__ import annotations

import itertools

import pytest
import tiny

from mrunfold.protocols import Stage
from mrunfold.training.stages import PriorStage

BANK = tiny.bank(1)


def stage(steps=1000, **changes):
    options = {"batch": 1, "sizes": (32, 32), "learning_rate": 1e-3, "warmup": 50} | changes
    return PriorStage(tiny.protocol(prior_stage=Stage(steps=steps, **options)), BANK)


def test_climbs_stays_and_falls():
    module = stage(cooldown=0.4, final_fraction=0.1)
    rates = [module.rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 50)
    assert rates[49:601] == [1.0] * 552
    assert rates[800] == pytest.approx(0.55)
    assert rates[1000] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[600:]))


def test_before_the_cooldown_it_does_not_depend_on_the_number_of_steps():
    short, long = stage(1000), stage(5000)
    assert [short.rate(s) for s in range(500)] == [long.rate(s) for s in range(500)]


def resumed(module, step, rate):
    module.on_load_checkpoint(
        {
            "plan": (0, 0.0, 1000),
            "global_step": step,
            "lr_schedulers": [{"_last_lr": [rate * 1e-3], "base_lrs": [1e-3]}],
        }
    )
    return module


def test_more_steps_after_the_cooldown_climb_back_without_a_jump():
    before = stage(1000).rate(900)
    module = resumed(stage(5000), 900, before)
    assert abs(module.rate(900) - before) < 0.03
    assert module.rate(949) == 1
    steps = [module.rate(s) for s in range(900, 5001)]
    assert max(abs(a - b) for a, b in itertools.pairwise(steps)) < 0.03


def test_more_steps_before_the_cooldown_are_the_longer_plan():
    module = resumed(stage(5000), 300, 1.0)
    planned = stage(5000)
    for step in range(300, 5000):
        assert module.rate(step) == pytest.approx(planned.rate(step), rel=1e-12)


def test_the_same_steps_keep_the_plan():
    module = resumed(stage(1000), 900, 0.2)
    assert module.plan == (0, 0.0, 1000)
