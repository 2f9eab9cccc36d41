"""The core runs without the extras, and a command that needs one says which to install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.extras import EXTRAS, missing_package, require
from mrunfold.phantoms.brain import write_sample
from mrunfold.protocols.training import tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What the core must do without: the packages of the extras, and what they bring.
ABSENT = sorted({*EXTRAS, "fastmri", "pytorch_lightning", "torchvision", "torchmetrics", "pandas", "sklearn"})
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); "
NO_LIGHTNING = "error: this needs lightning, which is not installed: pip install 'mrunfold[train]'\n"
COMMAND = "from mrunfold.cli.main import run; sys.argv[0] = 'mrunfold'; run()"


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", line).group() for line in requirements}


def without_extras(*arguments: str, code: str = COMMAND) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("scan") / "scan.h5", coils=2, slices=1, size=(64, 48))


def test_the_extras_are_those_of_pyproject():
    extras = PROJECT["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert package in names(extras[extra]), f"{extra} does not install {package}"
        assert package not in names(PROJECT["dependencies"])


def test_a_scan_is_reconstructed_without_any_extra(scan, tmp_path):
    out = tmp_path / "out"
    done = without_extras(
        "recon", str(scan), "--mask", "random", "--accel", "2", "--calibration", "12", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert {"recon.h5", "recon.nii.gz", "preview.png", "record.json"} <= {p.name for p in out.iterdir()}
    exported = without_extras("export", str(out), "--nifti", "--bids", "--suffix", "T1w")
    assert exported.returncode == 0, exported.stderr
    assert without_extras("doctor").returncode == 0


def test_every_module_of_the_core_is_imported_without_any_extra():
    """All but what subclasses others' classes: training (Lightning), workers (Dask), contracts (pytest)."""
    code = (
        "import importlib, pkgutil, mrunfold\n"
        "for found in pkgutil.walk_packages(mrunfold.__path__, 'mrunfold.', onerror=lambda name: None):\n"
        "    try:\n"
        "        importlib.import_module(found.name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(found.name, error.name)\n"
    )
    done = without_extras(code="\n" + code)
    assert done.returncode == 0, done.stderr
    failed = dict(line.split() for line in done.stdout.splitlines())
    workers = failed.pop("mrunfold.batch.local", "distributed")
    assert {name.split(".")[1] for name in failed} <= {"training", "benchmarks", "testing"}, failed
    assert {workers, *failed.values()} <= {"lightning", "pytest", "distributed"}, failed


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("nilearn", "demo", "sample {tmp}/a.h5"),
        ("pydicom", "dicom", "push {tmp} --to A@localhost:104"),
        ("highdicom", "dicom", "export {tmp} --dicom --out {tmp}/e"),
        ("highdicom", "dicom", "batch {scan} --out {tmp}/results --dicom"),
        ("dask", "cluster", "batch {scan} --out {tmp}/results --workers 2"),
    ],
)
def test_a_missing_extra_is_one_line_and_nothing_is_written(
    package, extra, command, scan, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    result = CliRunner().invoke(main.app, command.format(tmp=tmp_path, scan=scan).split())
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert re.fullmatch(rf"error: .*needs {package}.*pip install 'mrunfold\[{extra}\]'\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_training_without_lightning_says_what_to_install(tmp_path):
    done = without_extras("train", "mri-compact", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert (
        done.stderr == "error: this needs lightning, which is not installed: pip install 'mrunfold[train]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_import_deep_inside_says_it_too(monkeypatch):
    def fail(*_, **__):
        raise ModuleNotFoundError("No module named 'lightning.pytorch'", name="lightning.pytorch")

    monkeypatch.setattr("mrunfold.phantoms.brain.write_sample", fail)
    result = CliRunner().invoke(main.app, ["sample", "a.h5"])
    assert result.exit_code == 2
    assert (
        result.stderr
        == "error: this needs lightning, which is not installed: pip install 'mrunfold[train]'\n"
    )


def test_another_missing_module_is_a_bug():
    assert missing_package(ModuleNotFoundError("No module named 'mrunfold.nothing'")) is None
    assert missing_package(ModuleNotFoundError("x", name="mrunfold.nothing")) is None


def test_what_is_installed_passes():
    require("pytest", what="a test")


def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(PROJECT['version'])}$", text, re.M)


def test_the_wheel_has_every_package():
    folders = {"cli": "mrunfold.cli", "protocols": "mrunfold.protocols"}
    found = {
        ".".join([folders.get(top, top), *path.parent.relative_to(ROOT / top).parts])
        for top in ("mrunfold", "cli", "protocols")
        for path in (ROOT / top).rglob("__init__.py")
    }
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert sorted(tomllib.loads(text)["tool"]["setuptools"]["packages"]) == sorted(found)
