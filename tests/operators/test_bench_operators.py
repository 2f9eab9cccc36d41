"""The benchmark measures what it says; what it finds is for a person to read."""

from __future__ import annotations

import pytest

from mrunfold.benchmarks.speed.operators import run
from mrunfold.errors import InputError


def test_it_prints_the_ratio_that_it_returns(capsys):
    ratio = run(coils=3, size=24, repeats=3)
    out = capsys.readouterr().out
    assert ratio > 0
    assert f"ratio                {ratio:8.2f}" in out
    assert "3 coils, 24×24" in out
    assert all(f"\n  {name} " in out for name in ("A x", "Aᴴ y", "one FFT alone"))


@pytest.mark.parametrize("bad", [{"coils": 0}, {"size": 0}, {"repeats": 0}])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(InputError, match="≥ 1"):
        run(**bad)
