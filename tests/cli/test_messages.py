"""Messages of the library name parameters; the command line says them as its options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mrunfold.cli.console import as_options, option_names
from mrunfold.cli.main import app
from mrunfold.errors import InputError
from mrunfold.pipeline import ReconSettings

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"accel": "--accel", "mask": "--mask", "overwrite": "--overwrite", "extra": "--with"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("`accel` needs a mask", "--accel needs a mask"),
        ("for example `mask='poisson'`, or", "for example --mask poisson, or"),
        ("add `accel=4`", "add --accel 4"),
        ("add `overwrite=True`", "add --overwrite"),
        ("the `extras` of `center_fraction`", "the --with of --center-fraction"),
        ("write it with `mrunfold recon`, `unheard_of=3`", "write it with `mrunfold recon`, `unheard_of=3`"),
    ],
)
def test_parameters_become_options(said, shown):
    assert as_options(said, NAMES) == shown


def test_who_calls_from_python_reads_parameters():
    with pytest.raises(InputError, match=r"^`accel` needs a mask to draw; add `mask`") as caught:
        ReconSettings(accel=4)
    assert "--" not in str(caught.value)


def test_who_types_a_command_reads_its_options(tmp_path):
    result = CliRunner().invoke(app, ["recon", "scan.h5", "--accel", "4", "--out", str(tmp_path / "a")])
    assert result.exit_code == 2
    assert "--accel needs a mask to draw; add --mask, for example --mask poisson" in result.stderr
    assert "`" not in result.stderr


def test_the_options_of_the_command_come_first():
    class Context:
        invoked_subcommand = "restore"

    names = option_names(get_command(app), Context())
    assert names["samples"] == "--samples"
    assert names["keep_samples"] == "--keep-samples"  # of recon alone
    assert names["simulate"] == "--simulate"


# Bench runs from the command line alone; the words are whole commands.
COMMANDS_ALONE = ("mrunfold/benchmarks/", "mrunfold/runtime/", "mrunfold/review/words.py")


def raised_texts():
    for path in sorted((ROOT / "mrunfold").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(COMMANDS_ALONE):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                texts = [c.value for c in ast.walk(node.exc) if isinstance(c, ast.Constant)]
                yield name, node.lineno, "".join(t for t in texts if isinstance(t, str))


def test_no_message_of_the_library_names_an_option():
    found = [
        f"{name}:{line} {text}"
        for name, line, text in raised_texts()
        # whole commands, `mrunfold export --dicom`, and Dask's own option are no parameters
        if re.search(r"(^|\s)--[a-z]", re.sub(r"`mrunfold [^`]*`|--nthreads|mrunfold bench .*", "", text))
    ]
    assert not found, "\n".join(found)
