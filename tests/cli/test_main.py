"""The command line itself: help, version, errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mrunfold import __version__
from mrunfold.cli import main
from mrunfold.errors import InputError

COMMANDS = ("recon", "info", "sample", "mask", "doctor")


def invoke(*arguments: str, **environment: str):
    return CliRunner().invoke(main.app, list(arguments), env=environment)


@pytest.fixture
def failing(monkeypatch):
    """Make `recon` raise what the test says, and nothing else."""

    def arrange(error: BaseException) -> None:
        def fail(*_, **__):
            raise error

        monkeypatch.setattr("mrunfold.pipeline.reconstruct", fail)

    return arrange


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from mrunfold.cli import main; from typer.testing import CliRunner\n"
        "for command in ([], ['recon'], ['info'], ['sample'], ['mask'], ['doctor']):\n"
        "    result = CliRunner().invoke(main.app, [*command, '--help'])\n"
        "    assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sigpy', 'fastmri', 'h5py', 'matplotlib', 'nibabel',\n"
        "         'ismrmrd', 'lightning', 'skimage', 'pydicom', 'nilearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_help_names_every_command():
    output = invoke("--help").output
    for command in COMMANDS:
        assert command in output


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output.strip() == f"mrunfold {__version__}"


@pytest.mark.parametrize("arguments", [("recon",), ("nonsense",), ("recon", "a.h5", "--accel", "many")])
def test_usage_errors_have_exit_code_2(arguments):
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("expected\n this, got that"), 2, "error: expected this, got that\n"),
        (OSError(28, "No space left on device"), 2, "error: no space left on the disk"),
        (PermissionError(13, "Permission denied", "out"), 2, "error: out: permission denied"),
        (OSError("something HDF5 says\nin lines"), 2, "error: something HDF5 says in lines\n"),
        (MemoryError(), 2, "error: out of memory"),
        (KeyboardInterrupt(), 130, "interrupted: nothing was written\n"),
        (RuntimeError("a bug\nof ours"), 1, "error: RuntimeError: a bug of ours (a bug in mrunfold"),
    ],
)
def test_an_error_is_one_line(failing, error, code, says):
    failing(error)
    result = invoke("recon", "a.h5")
    assert result.exit_code == code
    assert result.stderr.startswith(says)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(("signal", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_signal_that_a_library_calls_something_else(failing, signal, code):
    error = ImportError("initialization failed")
    error.__cause__ = signal
    failing(error)
    result = invoke("recon", "a.h5")
    assert result.exit_code == code
    assert "bug" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [("--debug", "recon", "a.h5"), ("recon", "--debug", "a.h5"), ("recon", "a.h5", "--debug")]
)
def test_debug_anywhere_raises(failing, arguments):
    failing(InputError("expected this"))
    assert isinstance(invoke(*arguments).exception, InputError)


def test_debug_by_the_environment(failing):
    failing(InputError("expected this"))
    assert isinstance(invoke("recon", "a.h5", MRUNFOLD_DEBUG="1").exception, InputError)
    assert invoke("recon", "a.h5", MRUNFOLD_DEBUG="0").exit_code == 2
