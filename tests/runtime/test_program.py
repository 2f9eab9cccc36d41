"""mrunfold_recon, built here with g++ and the LibTorch of the torch package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.runtime import SOURCE, build
from mrunfold.runtime.export import example, mean_in_python
from mrunfold.runtime.graph import no_deprecation
from mrunfold.runtime.program import read_image, run_program, write_inputs

pytestmark = [
    pytest.mark.slow,  # building takes a minute of processor time
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build the program with"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Built once; a folder in MRUNFOLD_BUILD_DIR is kept between runs."""
    kept = os.environ.get("MRUNFOLD_BUILD_DIR")
    return build(Path(kept) if kept else tmp_path_factory.mktemp("build"))


@pytest.fixture
def call(program, model_file, tmp_path):
    """Write the inputs, run the program with other options if given, return it as it ended."""

    def run(inputs=None, **changed):
        if inputs is not None:
            run.words = write_inputs(tmp_path, inputs)
        options = dict(zip(run.words[::2], run.words[1::2], strict=True))
        options |= {"--model": str(model_file), "--out": str(tmp_path / "image"), "--threads": "1"}
        options |= {f"--{name}": str(value) for name, value in changed.items()}
        return run_program(program, [word for pair in options.items() for word in pair])

    return run


def refused(done, *words):
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 4, 24, 20), (3, 1, 1, 21, 30), (3, 2, 5, 18, 25)])
def test_its_image_is_pythons(call, network, tmp_path, shape, lines):
    inputs = example(shape, lines, seed=5)
    done = call(inputs, batch=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    image, expected = read_image(tmp_path / "image.cfl"), mean_in_python(network, inputs)
    assert image.shape == expected.shape
    assert float((image - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_one_set_of_maps_and_one_mask_serve_all_slices(call, network, tmp_path):
    kspace, maps, mask, sigma = example((3, 1, 4, 24, 20))
    call((kspace, maps, mask, sigma))
    write_inputs(tmp_path, (kspace[:1], maps[:1], mask[:1, :1].expand(-1, 24, -1), sigma))
    write_cfl(tmp_path / "mask", mask[0, :1].numpy())  # (1, phase): the same for every readout sample
    write_cfl(tmp_path / "kspace", kspace.numpy().transpose(2, 3, 1, 0).reshape(24, 20, 1, 4, *[1] * 9, 3))
    assert call(batch=3).returncode == 0
    lines = mask[:1, :1].expand(3, 24, 20).contiguous()
    expected = mean_in_python(network, (kspace * lines[:, None], maps[:1].expand_as(maps), lines, sigma))
    image = read_image(tmp_path / "image")
    assert float((image - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_a_plane_of_two_phase_encodings(call, network, tmp_path):
    """As BART has a slice of a 3-D scan: dimensions 1 and 2."""
    inputs = example((1, 1, 4, 24, 20))
    call(inputs)
    plain = read_image(tmp_path / "image")
    for name in ("kspace", "maps", "mask"):
        array = read_cfl(tmp_path / name)
        array = array.reshape(24, 20, -1)
        write_cfl(tmp_path / name, array.reshape(1, 24, 20, array.shape[-1]))
    assert call().returncode == 0
    assert read_cfl(tmp_path / "image").shape == (1, 24, 20)
    assert np.array_equal(read_cfl(tmp_path / "image")[0], plain[0, 0].numpy())


def test_time_is_printed_when_asked(call):
    done = call(example((1, 1, 2, 16, 16)), repeat=3)
    assert done.stdout.startswith("seconds a slice, median of 3: ")


HEADERS = {
    "no dimensions": b"24 20 1 4\n",
    "empty": b"",
    "nothing after": b"# Dimensions\n\n",
    "zero": b"# Dimensions\n24 0 1 4\n",
    "negative": b"# Dimensions\n24 -20 1 4\n",
    "words": b"# Dimensions\nmany\n",
    "fraction": b"# Dimensions\n24 20.5 1 4\n",
    "overflow": b"# Dimensions\n" + b"999999999 " * 16 + b"\n",
    "ten digits": b"# Dimensions\n9999999999 1\n",
    "17 dimensions": b"# Dimensions\n" + b"1 " * 16 + b"2\n",
    "endless line": b"# Dimensions\n" + b"1 " * 400_000 + b"\n",
    "too long": b"#" * (1 << 20) + b"\n# Dimensions\n24 20 1 4\n",
    "binary": bytes(range(256)) * 40,
    "larger than the data": b"# Dimensions\n24 20 1 5\n",
    "smaller than the data": b"# Dimensions\n24 20 1 3\n",
    "other dimension": b"# Dimensions\n24 20 1 1 1 4\n",
    "three-dimensional": b"# Dimensions\n24 20 4 1\n",
    "above slices": b"# Dimensions\n24 20 1 1 1 1 1 1 1 1 1 1 1 1 4 1\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_does_not_hold_is_refused(program, model_file, tmp_path, name):
    options = write_inputs(tmp_path, example((1, 1, 4, 24, 20)))
    (tmp_path / "kspace.hdr").write_bytes(HEADERS[name])
    model_and_out = ["--model", str(model_file), "--out", str(tmp_path / "image")]
    refused(run_program(program, [*model_and_out, *options]), "kspace")
    assert not [p for p in tmp_path.iterdir() if "image" in p.name]


def test_files_that_do_not_fit_each_other(call, tmp_path):
    inputs = example((2, 1, 4, 24, 20))
    assert call(inputs).returncode == 0
    arrays = {name: read_cfl(tmp_path / name) for name in ("kspace", "maps", "mask")}

    def with_file(name, array):
        write_cfl(tmp_path / name, array)
        done = call()
        write_cfl(tmp_path / name, arrays[name])
        return done

    one = (Ellipsis, slice(0, 1))
    refused(with_file("maps", arrays["maps"][:, :, :, :3]), "maps", "dimension 3 is to be 4")
    refused(with_file("maps", np.concatenate([arrays["maps"], arrays["maps"][one]], -1)), "dimension 13")
    refused(with_file("maps", 2 * arrays["maps"]), "sum of squares", "divide them")
    refused(with_file("mask", arrays["mask"][:12]), "mask", "dimension 0 is to be 24")
    refused(with_file("mask", 0.5 * arrays["mask"]), "1 where sampled and 0 elsewhere")
    refused(with_file("mask", 1j * arrays["mask"]), "1 where sampled and 0 elsewhere")
    refused(with_file("mask", 0 * arrays["mask"]), "nothing is sampled")
    for name in ("kspace", "maps", "mask"):
        bad = arrays[name].copy()
        bad.flat[7] = np.nan
        refused(with_file(name, bad), name, "NaN or infinite")
    (tmp_path / "kspace.cfl").unlink()
    refused(call(), "kspace.cfl: cannot be read")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("noise", "0", "a standard deviation > 0"),
        ("noise", "nan", "a standard deviation > 0"),
        ("noise", "1x", "a standard deviation > 0"),
        ("noise", "", "needs a value"),
        ("batch", "0", "a whole number from 1 up"),
        ("batch", "2.5", "a whole number from 1 up"),
        ("threads", "-1", "a whole number from 0 up"),
        ("model", "nowhere.pt", "no such file"),
        ("out", "/nowhere/image", "cannot be written"),
        ("colour", "1", "unknown option"),
    ],
)
def test_options_that_do_not_hold_are_refused(call, option, value, words):
    refused(call(example((1, 1, 2, 16, 16)), **{option: value}), words)


def test_files_that_are_no_compiled_network(call, tmp_path):
    inputs = example((1, 1, 2, 16, 16))
    text = tmp_path / "text.pt"
    text.write_text("not a network")
    refused(call(inputs, model=text), "cannot read it as TorchScript")
    other = tmp_path / "other.pt"
    with no_deprecation():
        torch.jit.save(torch.jit.script(torch.nn.Identity()), str(other))
    refused(call(model=other), "its format is ''")


def test_missing_options_and_help(program):
    refused(run_program(program, []), "is missing; see --help")
    done = run_program(program, ["--help"])
    assert done.returncode == 0
    assert done.stdout.startswith("usage: mrunfold_recon")


def test_interrupted_it_leaves_no_file(program, model_file, tmp_path):
    options = ["--model", str(model_file), *write_inputs(tmp_path, example((1, 1, 2, 16, 16)))]
    words = [str(program), *options, "--out", str(tmp_path / "image"), "--repeat", "999999"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob(".part-*")):
            assert process.poll() is None, "it ended before it could be interrupted"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 130
    assert said == "interrupted: nothing was written\n"
    assert not [p for p in tmp_path.iterdir() if "image" in p.name]


def test_without_cmake_it_is_built_by_the_compiler(monkeypatch, tmp_path):
    """The commands alone: the build itself is that of the other tests, or takes another minute."""
    seen = []

    def run(command, **options):
        seen.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name, **options: "/g++" if name == "g++" else None)
    build(tmp_path)
    (command,) = seen
    assert command[0] == "g++"
    assert {p.name for p in SOURCE.glob("*.cpp")} <= {word.rpartition("/")[2] for word in command}
