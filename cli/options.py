"""Options that `recon` and `batch` share: what was typed, as the settings of a run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.pipeline.own import Own

__all__ = [
    "MAX_SEED",
    "MAX_THREADS",
    "own_options",
    "parse_centre",
    "parse_coils",
    "parse_matrix",
    "parse_parameters",
    "parse_seed",
    "parse_sets",
    "recon_options",
]

AS_THEY_ARE = (
    "mask",
    "accel",
    "center_fraction",
    "method",
    "slices",
    "frames",
    "target",
    "device",
    "threads",
    "maps",
    "check",
    "measurement",
    "trajectory",
    "reader",
    "noise",
    "spikes",
)
MAX_SEED = 2**32 - 1  # what all generators take
MAX_THREADS = 256  # a number beyond ends the process where the system gives no more
MOST_SETS = 8
# Parameters of the learned method that have options of their own.
LEARNED = ("samples", "steps", "weights")


def recon_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ReconSettings that `options` give, by the names of the command's options.

    Options that are None or missing give none; others are not looked at.  Raises InputError for text that
    cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    found = {name: given[name] for name in AS_THEY_ARE if name in given}
    parsers: dict[str, Callable[[Any], Any]] = {
        "calibration": parse_centre,
        "seed": parse_seed,
        "coils": parse_coils,
        "map_sets": parse_sets,
        "matrix": parse_matrix,
    }
    found |= {name: parse(given[name]) for name, parse in parsers.items() if name in given}
    parameters = parse_parameters(given.get("param", [])) | {n: given[n] for n in LEARNED if n in given}
    if given.get("no_sd"):
        parameters["sd"] = False
    if parameters:
        found["parameters"] = parameters
    if given.get("no_cache"):
        found["cache"] = False
    if given.get("save"):
        found["save"] = tuple(word.strip() for word in given["save"].split(",") if word.strip())
    if given.get("per_frame"):
        found["per_frame"] = True
    if given.get("keep_samples"):
        found["keep_samples"] = True
    return found


def own_options(options: Mapping[str, Any]) -> tuple[Own, dict[str, Any]]:
    """Return what of --mask, --maps and --noise names files, and the options as settings have them then.

    Raises InputError for the name of a file that is not there, and a noise level that is no number.
    """
    from mrunfold.pipeline.own import Own

    mask, maps = _file(options["mask"]), _file(options["maps"])
    named: dict[str, Any] = {}
    if mask is not None:
        named["mask"] = "given"
    if maps is not None:
        named["maps"] = "given"
    noise, level = None, options.get("noise")
    if level is not None:
        try:
            named["noise"] = float(level)
        except ValueError:
            noise, named["noise"] = _file(level), None
            if noise is None:
                raise InputError(
                    f"--noise is a standard deviation in the file's units, or a file, got {level!r}"
                ) from None
    return Own(mask, maps, noise), named


def _file(text: str) -> Path | None:
    """Return the file that is meant, None for a word; InputError for a file that is not there."""
    from mrunfold.io.arrays import SUFFIXES

    path = Path(text)
    if path.suffix.lower() not in SUFFIXES:
        return None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path


def parse_parameters(pairs: list[str]) -> dict[str, Any]:
    """Return {"lamda": 0.01} for ["lamda=0.01"]; what is no Python literal stays text."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--param takes key=value, got {pair!r}")
        try:
            parameters[key] = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            parameters[key] = text
    return parameters


def parse_centre(text: str) -> int | tuple[int, int]:
    """Return lines, or (readout, phase), of a fully sampled centre."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and len(part) < 8 for part in parts):
        raise InputError(f"--calibration is a number or readout x phase, as 24 or 24x32, got {text[:40]!r}")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def parse_seed(text: str) -> Any:
    """Return an integer, or "name"."""
    if text == "name":
        return text
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"--seed is an integer or `name`, from 0 to {MAX_SEED}, got {text[:40]!r}")
    return seed


def parse_coils(text: str) -> Any:
    """Return a whole number of coils, a fraction of energy below 1, "auto" or "all"."""
    if text in ("auto", "all"):
        return text
    try:
        return int(text) if text.strip().isdecimal() and len(text) < 8 else _fraction(text)
    except ValueError:
        raise InputError(
            f"--coils is a number of coils, a fraction below 1, auto or all, got {text!r}"
        ) from None


def parse_matrix(text: str) -> tuple[int, int]:
    """Return (y, x) of an image, as 192 or 192x256."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and 0 < len(part) < 5 for part in parts):
        raise InputError(f"--matrix is a number or rows x columns, as 192 or 192x256, got {text[:40]!r}")
    return int(parts[0]), int(parts[-1])


def parse_sets(text: str) -> Any:
    """Return a number of sets of coil maps, or "auto"."""
    if text == "auto":
        return text
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_SETS:
        raise InputError(f"--map-sets is auto or a number from 1 to {MOST_SETS}, got {text!r}")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value
