"""The comparison of coil maps: a row for each program, and agreement that can fail."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.benchmarks.speed.maps import agreement, measure


def test_agreement_ignores_the_phase_of_a_pixel_and_sees_everything_else():
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((3, 6, 5)) + 1j * rng.standard_normal((3, 6, 5))
    inside = np.ones((6, 5), bool)
    assert agreement(maps * np.exp(1j * rng.uniform(0, 6, (6, 5))), maps, inside) == pytest.approx((1, 0))
    other = maps.copy()
    other[:, 2, 2] = [1, 0, 0]
    maps[:, 0, 0] = 0
    overlap, support = agreement(other, maps, inside)
    assert overlap < 0.99
    assert support == pytest.approx(1 / 30)


def test_every_program_has_a_row_and_the_maps_agree():
    rows = {row.name: row for row in measure(coils=3, size=48, calibration=16)}
    assert {"torch", "sigpy"} <= set(rows)
    assert all(row.seconds > 0 and row.memory_mib > 1 for row in rows.values())
    assert rows["torch"].overlap > 0.999
    assert rows["torch"].support < 0.01
