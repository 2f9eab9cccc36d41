"""Numbers, names and specifications that nobody means: one line, nothing allocated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from rawfiles import coil_kspace, letter_f, write_fastmri
from safetensors.torch import save_file
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io.images import read_photo
from mrunfold.io.memory import available_memory, require_memory
from mrunfold.io.tables import safe_cell
from mrunfold.methods import get_method
from mrunfold.networks.weights import load_weights
from mrunfold.protocols import load_protocol
from mrunfold.protocols.reconstruction import load_recon_protocol
from mrunfold.restoration.settings import blur_kernel, drawn_mask
from mrunfold.text import printable, utf8_json


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(letter_f((32, 24))[None], coils=3)


@pytest.fixture
def scan(tmp_path, kspace) -> Path:
    return write_fastmri(tmp_path / "scan.h5", kspace)


def run(*arguments: object, code: int = 2):
    result = CliRunner().invoke(main.app, list(map(str, arguments)))
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


@pytest.mark.parametrize(
    "arguments",
    [
        ["--map-sets", "1000000"],
        ["--threads", "100000"],
        ["--threads", "0"],
        ["--seed", "1e23"],
        ["--seed", "1" + "0" * 23],
        ["--seed", "-1"],
        ["--coils", "1" + "0" * 400],
        ["--calibration", "9" * 5000, "--mask", "random", "--accel", "2"],
        ["--param", "lamda=" + "(" * 5000, "--method", "tv"],
        ["--param", "steps=x"],
        ["--param", "samples=1000000000"],
        ["--param", "steps=10**9"],
        ["--param", "precision=7"],
        ["--param", "lamda=True", "--method", "tv"],
    ],
    ids=lambda a: " ".join(a)[:40],
)
def test_options_that_cannot_be(tmp_path, scan, arguments):
    result = run("recon", scan, "--out", tmp_path / "out", *arguments)
    assert len(result.stderr) < 1000
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["restore", "sample", "evaluate", "review"])
def test_seeds_beyond_any_generator(tmp_path, command):
    arguments = {"restore": ["a.png", "--task", "denoise"], "evaluate": ["a", "b"], "review": ["a"]}
    run(command, *arguments.get(command, []), "--seed", "1" + "0" * 23)


@pytest.mark.parametrize(
    "text", ["gaussian:1e9", "gaussian:1e308", "gaussian:nan", "gaussian:2:1e9", "disc:1e6", "motion:1e9:3",
             "motion:5:inf", "disc:-1", "gaussian:0"]
)  # fmt: skip
def test_kernels_that_cannot_be(text):
    with pytest.raises(InputError):
        blur_kernel(text)


@pytest.mark.parametrize("text", ["box:nan", "box:inf", "box:1e30", "random:nan", "random:1"])
def test_masks_that_cannot_be(text):
    with pytest.raises(InputError):
        drawn_mask(text, (64, 64), torch.Generator())


SPEC = {"blocks": 2, "shared": True, "prior": {"widths": [8, 8], "blocks": 1, "fold": 2}}


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 1_000_000},
        {"blocks": 0},
        {"prior": {"widths": []}},
        {"prior": {"widths": [0, 8]}},
        {"prior": {"widths": [-4]}},
        {"prior": {"widths": [8] * 40}},
        {"prior": {"widths": [4096, 4096, 4096]}},
        {"prior": {"blocks": 10**9}},
        {"prior": {"fold": 10**6}},
        {"prior": {"channels": 10**9, "kind": "real"}},
        {"cg_iterations": 10**12},
    ],
    ids=str,
)
def test_weights_that_declare_too_much(tmp_path, change):
    path = tmp_path / "w.safetensors"
    prior = SPEC["prior"] | change.get("prior", {})
    save_file({"x": torch.zeros(1)}, path, {"network": json.dumps(SPEC | change | {"prior": prior})})
    with pytest.raises(InputError, match="does not hold a network"):
        load_weights(path)


@pytest.mark.parametrize("load", [load_protocol, load_recon_protocol])
@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 1000 + "]" * 1000,
        "a = " + "{b = " * 1000 + "1" + "}" * 1000,
        ".".join("a" * 5000) + " = 1",
        'steps = "x"',
        "\udcff",
        "name = 7",
        'name = "x"\n[mask]\nseed = 100000000000000000000000',
        'name = "x"\n[coils]\nmap_sets = 1000000',
    ],
    ids=lambda text: text[:20] if isinstance(text, str) else "",
)
def test_protocols_that_cannot_be(tmp_path, load, text):
    path = tmp_path / "p.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError):
        load(str(path))


def test_a_protocols_parameters_are_checked(tmp_path, scan):
    path = tmp_path / "p.toml"
    path.write_text(
        'name = "x"\n[data]\npattern = "*.h5"\n[method]\nname = "unfold"\nparameters = {steps = "x"}\n'
    )
    result = run("batch", scan, "--out", tmp_path / "out", "--protocol", path)
    assert "steps is int" in result.stderr


def test_methods_take_lists_for_tuples_and_whole_numbers_for_real_ones():
    assert get_method("tv", lamda=1).lamda == 1
    with pytest.raises(InputError, match="max_iter is int"):
        get_method("tv", max_iter=2.5)


def test_postscript_called_png_starts_no_program(tmp_path, monkeypatch):
    import PIL.EpsImagePlugin as plugin

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript would have run")

    monkeypatch.setattr(plugin, "Ghostscript", forbidden)
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(InputError, match="not an image"):
        read_photo(path)


def test_a_picture_larger_than_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("RGB", (4000, 3000)).save(path)
    monkeypatch.setenv("MRUNFOLD_MEMORY_GB", "0.3")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=r"takes about 0\.48 GB of memory and 0\.3 GB are free"):
        read_photo(path)


def test_what_a_slice_takes_is_known_before_the_work(tmp_path, scan, monkeypatch):
    from mrunfold.pipeline.slices import Job

    monkeypatch.setattr(Job, "reconstruct", lambda *_: pytest.fail("the work began"))
    monkeypatch.setenv("MRUNFOLD_MEMORY_GB", "0.0001")
    result = run("recon", scan, "--out", tmp_path / "out", "--coils", "all")
    assert "compress the coils" in result.stderr
    assert "take fewer --samples" in run("recon", scan, "--out", tmp_path / "out", "--samples", "8").stderr


def test_a_sparse_file_is_not_allocated(tmp_path, monkeypatch):
    monkeypatch.setenv("MRUNFOLD_MEMORY_GB", "1")
    (tmp_path / "sparse.hdr").write_text("# Dimensions\n2048 2048 1 64\n")
    with open(tmp_path / "sparse.cfl", "wb") as file:
        file.truncate(8 * 2048 * 2048 * 64)
    monkeypatch.setattr(np, "fromfile", lambda *_, **__: pytest.fail("it was read"))
    assert "6.44 GB" in run("info", tmp_path / "sparse.cfl").stderr


def test_what_a_photograph_takes_is_known_before_the_work(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("RGB", (800, 600)).save(path)
    monkeypatch.setenv("MRUNFOLD_MEMORY_GB", "0.1")
    result = run("restore", path, "--task", "denoise", "--out", tmp_path)
    assert "takes about 0.144 GB" in result.stderr


def test_memory_is_what_the_system_says(monkeypatch):
    monkeypatch.delenv("MRUNFOLD_MEMORY_GB", raising=False)
    assert available_memory() > 1 << 20
    monkeypatch.setenv("MRUNFOLD_MEMORY_GB", "much")
    with pytest.raises(InputError, match="number of gigabytes"):
        require_memory(1, "this", "that")


def test_matrices_beyond_nifti_are_refused_before_the_work(tmp_path, monkeypatch):
    k = np.ones((1, 1, 16, 32768), np.complex64)
    path = write_fastmri(tmp_path / "wide.h5", k, rss=False)
    result = run("recon", path, "--out", tmp_path / "out", "--method", "zero_filled", "--no-cache")
    assert "at most 32767" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("factor", [1e30, 1e-20, 1e-30])
def test_any_unit_gives_the_same_image(tmp_path, kspace, factor):
    from mrunfold.pipeline import ReconSettings, reconstruct

    found = []
    for number, k in enumerate((kspace, kspace * np.float32(factor))):
        path = write_fastmri(tmp_path / f"{number}.h5", k, rss=False)
        settings = ReconSettings(method="sense", cache=False, mask="random", accel=2, calibration=8)
        found.append(reconstruct(path, tmp_path / str(number), settings).record["metrics"])
    assert found[1]["psnr"] == pytest.approx(found[0]["psnr"], abs=0.05)
    assert found[1]["ssim"] == pytest.approx(found[0]["ssim"], abs=0.005)


def test_an_image_that_is_not_finite_is_refused(tmp_path):
    point = np.full((1, 1, 32, 24), 1e38, np.complex64)  # of which the image is √(32·24) as high
    path = write_fastmri(tmp_path / "huge.h5", point, rss=False)
    result = run("recon", path, "--out", tmp_path / "out", "--method", "zero_filled", "--no-cache")
    assert "not finite" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_sample_on_a_full_disk_is_one_line(tmp_path):
    """HDF5 crashes a process that cannot write: so this one is of its own."""
    resource = pytest.importorskip("resource")
    command = [sys.executable, "-c", "from mrunfold.cli.main import run; run()", "sample"]
    done = subprocess.run(
        [*command, str(tmp_path / "s.h5"), "--slices", "1", "--coils", "2"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["SHA256SUMS", "ledger"])
def test_a_pipe_where_a_list_should_be_is_not_waited_for(tmp_path, what):
    from mrunfold.export.manifest import SUMS, read_sums
    from mrunfold.pacs.ledger import Ledger

    os.mkfifo(tmp_path / SUMS)
    with pytest.raises(InputError, match="no regular file"):
        read_sums(tmp_path) if what == "SHA256SUMS" else Ledger(tmp_path / SUMS, "X@y:1")


NAMES = [b"r\xe9sum\xe9", "頭 µ".encode(), b"a$b$c_{x}", b"$\\frac", b"\x1b[31mred\x07", b"line\nbreak",
         b"=1+1", "right\u202eleft".encode(), b"'\"<script>"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_reconstructed_and_printed_without_its_control_characters(tmp_path, scan, name):
    path = tmp_path / f"{os.fsdecode(name)}.h5"
    shutil.copy(scan, path)
    out = tmp_path / os.fsdecode(name)
    result = run("recon", path, "--out", out, "--method", "zero_filled", "--no-cache", code=0)
    assert not any(not c.isprintable() and c != "\n" for c in result.output)
    assert json.loads((out / "record.json").read_text())["input"]["name"] == path.name
    view = run("view", out, "--out", tmp_path / "page.html", "--no-open", code=0)
    assert not any(not c.isprintable() and c != "\n" for c in view.output)


def test_texts_of_strangers():
    assert printable("a\x1b[31m\n\udcff\u202e µ頭") == "a\\x1b[31m\\n\\udcff\\u202e µ頭"
    assert [safe_cell(v) for v in ("=1+1", "+a", "-a", "@a\x1b", "a", -1.5, None)] == [
        "'=1+1", "'+a", "'-a", "'@a\\x1b", "a", -1.5, "",
    ]  # fmt: skip
    odd = {"name": "\udcff"}
    assert json.loads(utf8_json(odd).encode("utf-8")) == odd
    assert utf8_json({"name": "µ"}) == '{"name": "µ"}'
