"""`mrunfold doctor` names what is there and what is broken, and never breaks itself."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from mrunfold.cli import doctor as module
from mrunfold.cli import main


def test_it_names_versions_devices_and_tools():
    result = CliRunner().invoke(main.app, ["doctor"])
    assert result.exit_code == 0
    for word in (
        "mrunfold",
        "python",
        "torch",
        "sigpy",
        "nilearn",
        "cpu",
        "bfloat16",
        "cuda",
        "bart",
        "dciodvfy",
    ):
        assert word in result.output


@pytest.mark.parametrize(
    "error", [ImportError("no lib.so"), RuntimeError("driver too old"), OSError("bad ELF")]
)
def test_a_broken_package_is_named_with_its_remedy(monkeypatch, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "sigpy":
                raise error
            return None

    for name in [n for n in sys.modules if n == "sigpy" or n.startswith("sigpy.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    result = CliRunner().invoke(main.app, ["doctor"])
    assert result.exit_code == 0
    assert f"{type(error).__name__}: {error}" in result.output
    assert "pip install --force-reinstall sigpy" in result.output


def test_missing_tools_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    tools = dict(module._tools())
    assert all(line.startswith("missing") for line in tools.values())
    assert "apt install dicom3tools" in tools["dciodvfy"]


def test_bfloat16_is_judged_by_measurement():
    assert module._bfloat16(lambda bfloat16: 1.0 if bfloat16 else 4.0).startswith("4.0× as fast")
    assert module._bfloat16(lambda bfloat16: 1.0).startswith("1.0× as fast")

    def refuse(bfloat16):
        raise RuntimeError("not implemented for 'BFloat16'")

    assert "not supported" in module._bfloat16(refuse)


@pytest.mark.parametrize("has", [True, False])
def test_doctor_and_training_agree_on_bfloat16(monkeypatch, has):
    from mrunfold.networks import precision
    from mrunfold.training import run

    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    monkeypatch.setattr(run, "has_bfloat16", lambda device: has)
    assert module._used().startswith("used") == (run.choose_precision("cpu") == "bf16-mixed") == has
