"""Options of `recon`, before any file is read."""

from __future__ import annotations

import pytest

from mrunfold.cli.recon import _parameters, _seed, _whole
from mrunfold.errors import InputError
from mrunfold.pipeline import ReconSettings, parse_slices


def test_parameters_are_python_values_or_text():
    pairs = ["lamda=0.01", "max_iter=5", "wavelet=db4", "fast=true", "size=(3, 4)", "empty=", "none=None"]
    assert _parameters(pairs) == {
        "lamda": 0.01, "max_iter": 5, "wavelet": "db4", "fast": True,
        "size": (3, 4), "empty": "", "none": None,
    }  # fmt: skip
    for bad in ("lamda", "=3", "a b=3"):
        with pytest.raises(InputError, match="key=value"):
            _parameters([bad])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("0:3", [0, 1, 2]),
        ("::2", [0, 2, 4]),
        ("3", [3]),
        ("0,4", [0, 4]),
        ("-1", [4]),
    ],
)
def test_slices(text, expected):
    assert parse_slices(text, 5) == expected


@pytest.mark.parametrize("text", ["5", "a", "3:3", "7:9", "", "1,1", "0:1:2:3", "::0", "-6"])
def test_slices_that_are_not_there(text):
    with pytest.raises(InputError, match="5 slices"):
        parse_slices(text, 5)


def test_seeds():
    assert _seed("7") == 7
    assert _seed("name") == "name"
    with pytest.raises(InputError, match="integer or `name`"):
        _seed("soon")
    named = ReconSettings(seed="name")
    assert named.mask_seed("file1.h5") == tuple(map(ord, "file1.h5"))  # what fastMRI does
    numbered = ReconSettings(seed=3)
    seeds = {s.slice_seed("a.h5", i) for s in (named, numbered, ReconSettings(seed=4)) for i in range(20)}
    assert len(seeds) == 60
    assert numbered.slice_seed("a.h5", 5) == numbered.slice_seed("b.h5", 5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accel": 4.0}, "--accel needs a mask"),
        ({"mask": "poisson"}, "add --accel"),
        ({"target": "rs"}, "did you mean rss"),
        ({"coils": 0}, "--coils"),
        ({"threads": 0}, "--threads"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_settings_that_make_no_sense(options, says):
    with pytest.raises(InputError, match=says):
        ReconSettings(**options)


def test_coils_are_whole():
    assert _whole(8.0) == 8
    with pytest.raises(InputError, match="whole number"):
        _whole(8.5)
