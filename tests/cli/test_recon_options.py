"""Options of `recon`, before any file is read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mrunfold.cli.options import parse_coils, parse_parameters, parse_seed, recon_options
from mrunfold.errors import InputError
from mrunfold.pipeline import ReconSettings, parse_slices


def test_parameters_are_python_values_or_text():
    pairs = ["lamda=0.01", "max_iter=5", "wavelet=db4", "fast=true", "size=(3, 4)", "empty=", "none=None"]
    assert parse_parameters(pairs) == {
        "lamda": 0.01, "max_iter": 5, "wavelet": "db4", "fast": True,
        "size": (3, 4), "empty": "", "none": None,
    }  # fmt: skip
    for bad in ("lamda", "=3", "a b=3"):
        with pytest.raises(InputError, match="key=value"):
            parse_parameters([bad])


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
    assert parse_seed("7") == 7
    assert parse_seed("name") == "name"
    with pytest.raises(InputError, match="integer or `name`"):
        parse_seed("soon")
    named = ReconSettings(seed="name")
    assert named.mask_seed("file1.h5") == tuple(map(ord, "file1.h5"))  # what fastMRI does
    numbered = ReconSettings(seed=3)
    seeds = {s.slice_seed("a.h5", i) for s in (named, numbered, ReconSettings(seed=4)) for i in range(20)}
    assert len(seeds) == 60
    assert numbered.slice_seed("a.h5", 5) == numbered.slice_seed("b.h5", 5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accel": 4.0}, "`accel` needs a mask"),
        ({"mask": "poisson"}, "add `accel`"),
        ({"target": "rs"}, "did you mean rss"),
        ({"coils": 0}, "`coils`"),
        ({"threads": 0}, "`threads`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_settings_that_make_no_sense(options, says):
    with pytest.raises(InputError, match=says):
        ReconSettings(**options)


def test_coils_are_whole():
    assert parse_coils("8") == 8
    assert parse_coils("0.95") == 0.95
    assert (parse_coils("auto"), parse_coils("all")) == ("auto", "all")
    for text in ("8.5", "1.0", "-1", "few"):
        with pytest.raises(InputError, match="number of coils"):
            parse_coils(text)


def test_maps_that_cannot_be_are_refused():
    for wrong in ({"maps": "bart"}, {"map_sets": 0}, {"maps": "sigpy", "map_sets": 2}):
        with pytest.raises(InputError, match="maps"):
            ReconSettings(**wrong)


def test_only_what_was_given_becomes_a_setting():
    assert recon_options({"mask": None, "no_cache": False, "param": (), "out": "x", "quiet": True}) == {}
    assert recon_options(
        {"mask": "random", "accel": 4.0, "calibration": "24x32", "seed": "name", "coils": "8", "samples": 4,
         "param": ("lamda=0.1",), "no_cache": True}
    ) == {
        "mask": "random", "accel": 4.0, "calibration": (24, 32), "seed": "name", "coils": 8,
        "parameters": {"lamda": 0.1, "samples": 4}, "cache": False,
    }  # fmt: skip


def test_a_terminal_is_told_first_what_is_read_and_before_pytorch_is_there(tmp_path):
    """In a process of its own, with a terminal for stderr: an error later does not take the line away."""
    pty = pytest.importorskip("pty")
    (tmp_path / "scan.h5").write_bytes(b"x" * 1_500_000)
    code = (
        "import sys; from pathlib import Path; from mrunfold.cli.recon import begun; "
        f"begun(Path({str(tmp_path / 'scan.h5')!r}), 'unfold'); sys.exit('torch' in sys.modules)"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=300)
    os.close(theirs)
    assert os.read(ours, 4096).decode().strip() == "scan.h5, 1.5 MB, by unfold"
    os.close(ours)
    silent = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=300)
    assert silent.stderr == b""
