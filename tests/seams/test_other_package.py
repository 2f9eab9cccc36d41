"""A package of somebody else's, installed by pip: `mrunfold` finds its parts by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from own_parts import write_package
from rawfiles import coil_kspace, letter_f


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Environment of a process that sees the package, installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("otherlab")
    source, site = write_package(folder), folder / "site"
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
        "--target", str(site), str(source),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(site)}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    np.savez(path, kspace=coil_kspace(letter_f((64, 48))[None], 4).astype(np.complex64))
    return path


def run(environment, *arguments, cwd):
    code = "import sys; from mrunfold.cli.main import run; sys.argv[0] = 'mrunfold'; run()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)


def record(folder):
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


def test_mask_reader_and_method_are_used_by_name(installed, scan, tmp_path):
    out = tmp_path / "out"
    done = run(
        installed, "recon", scan, "--mask", "checkers", "--accel", 2, "--method", "landweber",
        "--param", "steps=20", "--out", out, "--no-cache", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = record(out)
    assert found["input"]["format"] == "npz"
    assert found["mask"]["kind"] == "checkers"
    assert found["mask"]["asked"] == 2
    assert found["slices"][0]["method"]["method"] == "landweber"
    assert found["slices"][0]["method"]["parameters"] == {"steps": 20}
    assert found["metrics"]["psnr"] > 20
    done = run(installed, "export", out, "--as", "npy", "--out", tmp_path / "exported", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "exported" / "npy" / "slice0.npy").shape == (64, 48)


def test_the_prior_is_used_by_name(installed, scan, tmp_path):
    out = tmp_path / "out"
    done = run(
        installed, "recon", scan, "--method", "plug_and_play", "--param", "prior=smooth", "--param",
        "max_iter=3", "--reader", "npz", "--out", out, "--no-cache", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert record(out)["slices"][0]["method"]["parameters"]["prior"] == "smooth"


def test_without_the_package_each_name_is_refused_in_one_line(scan, tmp_path):
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for options, message in (
        (["--method", "landweber", "--reader", "cfl"], "there is no method 'landweber'"),
        (["--reader", "npz"], "there is no reader 'npz'"),
    ):
        done = run(plain, "recon", scan, *options, "--out", tmp_path / "out", cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_doctor_lists_what_other_packages_bring(installed, tmp_path):
    code = "from mrunfold.cli.doctor import plug_ins; print(plug_ins())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=installed, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for name in ("checkers", "npz", "landweber", "smooth", "npy"):
        assert name in done.stdout
