"""Methods by name, and what is said of names and parameters that do not exist."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mrunfold.errors import InputError
from mrunfold.methods import METHODS, Method, Result, Seeds, get_method, names
from mrunfold.methods.registry import method_class

CLASSICAL = ("zero_filled", "sense", "l1_wavelet", "tv")


def test_every_method_goes_by_its_own_name() -> None:
    assert names() == list(METHODS)
    assert set(CLASSICAL) <= set(names())
    for name in CLASSICAL:
        assert method_class(name).name == get_method(name).name == name


def test_parameters_become_fields_of_a_frozen_dataclass() -> None:
    method: Any = get_method("tv", lamda=0.02, max_iter=7)
    assert (method.lamda, method.max_iter) == (0.02, 7)
    with pytest.raises(FrozenInstanceError):
        method.lamda = 1.0


def test_unknown_method() -> None:
    with pytest.raises(InputError, match=r"no method 'l1wavelet' \(did you mean l1_wavelet\?\)"):
        get_method("l1wavelet")
    with pytest.raises(InputError, match=r"\(known: .*tv.*\)"):
        get_method("qqq")


def test_unknown_parameter() -> None:
    with pytest.raises(InputError, match=r"tv has no parameter 'lambda' \(did you mean lamda\?\)"):
        get_method("tv", **{"lambda": 0.1})
    with pytest.raises(InputError, match="it has none"):
        get_method("zero_filled", lamda=0.1)
    with pytest.raises(InputError, match="has no parameter 'name'"):
        get_method("tv", name="x")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("sense", "lamda", -1.0), ("sense", "lamda", float("nan")), ("sense", "lamda", float("inf")),
        ("sense", "lamda", "1"), ("sense", "lamda", True), ("sense", "tolerance", -1e-3),
        ("sense", "max_iter", 0),
        ("l1_wavelet", "lamda", -0.1), ("l1_wavelet", "max_iter", 2.5), ("l1_wavelet", "wavelet", "db"),
        ("l1_wavelet", "wavelet", "bior2.2"), ("tv", "lamda", None), ("tv", "max_iter", -1),
    ],
)  # fmt: skip
def test_bad_values(name: str, field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field):
        get_method(name, **{field: value})


def test_names_do_not_wait_for_torch() -> None:
    code = (
        "import sys, mrunfold.methods as m; m.names(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_hands_out_what_methods_are_made_of() -> None:
    import mrunfold.methods

    assert (Method.__name__, Result.__name__, Seeds().items) == ("Method", "Result", (0,))
    with pytest.raises(AttributeError, match="no attribute 'Resul'"):
        _ = mrunfold.methods.Resul
