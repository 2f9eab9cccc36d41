"""BART: one of its commands on a problem, or the files of that and the image that comes of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.problem import Problem

__all__ = ["bart", "read_image", "write_problem"]

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def write_problem(problem: Problem, folder: Path) -> None:
    """Write `kspace`, `maps` and `pattern` as .cfl pairs into a folder that is there, for `bart pics`.

    Of one Cartesian slice: k-space (y, x, 1, coil), maps (y, x, 1, coil, set), pattern (y, x), in the
    problem's units: whitened, divided by its scale.  InputError for other problems.
    """
    found = problem.A.cartesian()
    if found is None or problem.y.ndim != 3 or problem.A.batch:
        raise InputError(f"BART's files are of one Cartesian slice, got {problem.A!r}; give one slice")
    maps, mask = (part.cpu().numpy() for part in found)
    write_cfl(folder / "kspace", problem.y.cpu().numpy().transpose(1, 2, 0)[:, :, None])
    write_cfl(folder / "maps", maps.transpose(2, 3, 1, 0)[:, :, None])
    write_cfl(folder / "pattern", mask.astype(np.complex64))


def read_image(path: Path) -> Tensor:
    """Return an image of BART's, (y, x) or with sets of maps in its dimension 4, complex64 (set, y, x)."""
    array = read_cfl(path)
    array = array.reshape(*array.shape, *[1] * (5 - array.ndim)) if array.ndim < 5 else array
    if array.ndim > 5 or array.shape[2] != 1 or array.shape[3] != 1:
        raise InputError(f"{path} is {array.shape}, no image (y, x, 1, 1, set) of a slice; slice it in BART")
    return torch.from_numpy(np.ascontiguousarray(array[:, :, 0, 0].transpose(2, 0, 1)))


def bart(problem: Problem, *words: str) -> Tensor:
    """Return the image (set, y, x) that `bart WORDS kspace maps image` makes of a problem, in its units.

    words: of a command that takes k-space and maps, as "pics", "-l1", "-r", "0.01", "-w", "1" (-w 1: BART
    scales nothing itself).  It has as many threads as torch.  InputError where `bart` is not installed, and
    where it fails, with what it says.
    """
    program = shutil.which("bart")
    if program is None:
        raise InputError("this needs BART, and there is no program `bart`; install it (apt install bart)")
    with tempfile.TemporaryDirectory(prefix="mrunfold-bart-") as name:
        folder = Path(name)
        write_problem(problem, folder)
        done = subprocess.run(
            [program, *words, "kspace", "maps", "image"],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = COLOURS.sub("", done.stderr + done.stdout).strip().splitlines() or ["nothing said"]
            raise InputError(f"bart {' '.join(words)} ended with {done.returncode}: {said[-1][-300:]}")
        return read_image(folder / "image").to(problem.y.device)
