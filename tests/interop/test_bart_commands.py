"""BART's commands on a problem of ours, and its images as ours."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.interop.bart import bart, read_image, write_problem
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.methods import get_method
from mrunfold.operators import Sense
from mrunfold.operators.imaging import Blur
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem

SIZE = (48, 40)


def problem(sets=1):
    generator = torch.Generator().manual_seed(0)
    maps = torch.stack([simulated_maps(4, SIZE, generator) for _ in range(sets)]) / sets**0.5
    A = Sense(maps, (torch.rand(SIZE, generator=generator) < 0.5).float())
    x = torch.zeros(sets, *SIZE, dtype=torch.complex64)
    x[:, 12:30, 8:22] = 1
    x[0, 15:20, 10:14] += 0.5j
    y = A(x)
    y = y + 0.02 * A.mask * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    return Problem(y, A, torch.tensor(0.02), torch.tensor(1.0))


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed: apt install bart")
@pytest.mark.parametrize("sets", [1, 2])
def test_its_least_squares_are_ours(sets):
    given = problem(sets)
    theirs = bart(given, "pics", "-l2", "-r0.04", "-i200", "-w1")
    ours = get_method("sense", lamda=100.0, tolerance=1e-6, max_iter=200)(given).mean  # 100 · 0.02² = 0.04
    assert theirs.shape == ours.shape == (sets, *SIZE)
    assert float((theirs - ours).norm()) < 2e-3 * float(ours.norm())


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed: apt install bart")
def test_what_it_refuses_is_one_line():
    with pytest.raises(InputError, match=r"bart pics --nothing ended with -?\d+: .*unknown option") as found:
        bart(problem(), "pics", "--nothing")
    assert "\n" not in str(found.value)
    assert "\x1b" not in str(found.value)


def test_files_have_its_dimensions(tmp_path):
    given = problem(2)
    write_problem(given, tmp_path)
    maps = read_cfl(tmp_path / "maps")
    assert maps.shape == (*SIZE, 1, 4, 2)
    assert np.array_equal(maps[..., 0, 3, 1], given.A.maps[1, 3].numpy())
    assert np.array_equal(read_cfl(tmp_path / "kspace")[:, :, 0, 2], given.y[2].numpy())
    assert np.array_equal(read_cfl(tmp_path / "pattern").real, given.A.mask.numpy())


def test_images_with_and_without_sets(tmp_path):
    one = np.arange(12, dtype=np.complex64).reshape(3, 4)
    write_cfl(tmp_path / "one", one)
    write_cfl(tmp_path / "two", np.stack([one, 1j * one], axis=-1)[:, :, None, None])
    assert np.array_equal(read_image(tmp_path / "one").numpy(), one[None])
    assert np.array_equal(read_image(tmp_path / "two.cfl").numpy(), np.stack([one, 1j * one]))
    write_cfl(tmp_path / "coils", np.zeros((3, 4, 1, 2), np.complex64))
    with pytest.raises(InputError, match="no image"):
        read_image(tmp_path / "coils")


def test_what_it_cannot_take_is_refused(monkeypatch, tmp_path):
    given = problem()
    with pytest.raises(InputError, match="one Cartesian slice"):
        write_problem(replace(given, A=Blur(torch.ones(3, 3), (1, *SIZE))), tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="apt install bart"):
        bart(given, "pics")
