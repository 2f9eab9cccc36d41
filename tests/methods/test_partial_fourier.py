"""Homodyne and POCS: exact where the phase is smooth, refused where nothing is partial."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rawfiles import letter_f

from mrunfold.errors import InputError
from mrunfold.masks.partial import partial_axes
from mrunfold.methods import get_method
from mrunfold.operators import FourierMask, Identity
from mrunfold.problem import Problem

SIZE = 64


def image():
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    return letter_f((SIZE, SIZE)) * np.exp(1j * (1 + 2 * x - 1.5 * y + 2 * x * y))


def partial(keep, noise=1e-4):
    x = torch.from_numpy(image().astype(np.complex64))[None]
    A = FourierMask(torch.from_numpy(keep.astype(np.float32)))
    generator = torch.Generator().manual_seed(0)
    y = A(x) + noise * A(torch.randn(1, SIZE, SIZE, dtype=torch.complex64, generator=generator))
    return Problem(y, A, torch.tensor(noise), torch.tensor(1.0)), x


def masks():
    for axis in (0, 1):
        for missing in ("first", "last"):
            keep = np.zeros((SIZE, SIZE), bool)
            place = [slice(None)] * 2
            place[axis] = slice(0, 40) if missing == "last" else slice(SIZE - 40, None)
            keep[tuple(place)] = True
            yield pytest.param(keep, axis, missing, id=f"{('readout', 'phase')[axis]}-{missing}")


@pytest.mark.parametrize(("keep", "axis", "missing"), list(masks()))
@pytest.mark.parametrize("method", ["homodyne", "pocs"])
def test_a_smooth_phase_is_completed(keep, axis, missing, method):
    problem, x = partial(keep)
    error = {
        name: float((get_method(name)(problem).mean - x).norm() / x.norm()) for name in ("sense", method)
    }
    assert error[method] < 0.6 * error["sense"], error


@pytest.mark.parametrize(("keep", "axis", "missing"), list(masks()))
def test_what_is_missing_is_told(keep, axis, missing):
    (found,) = partial_axes(keep)
    assert (found.axis, found.missing) == (("readout", "phase")[axis], missing)
    assert found.reach == (7 if missing == "last" else 8)
    assert found.fraction == pytest.approx(40 / 64)


@pytest.mark.parametrize("seed", range(60))
def test_random_lines_are_not_partial(seed):
    keep = np.zeros((SIZE, SIZE), bool)
    keep[:, np.random.default_rng(seed).random(SIZE) < 0.3] = True
    keep[:, 28:36] = True
    assert partial_axes(keep) == ()


def test_every_other_line_of_a_partial_scan():
    keep = np.zeros((SIZE, SIZE), bool)
    keep[:, 0:44:2] = True
    keep[:, 28:36] = True
    (found,) = partial_axes(keep)
    assert found.missing == "last"


@pytest.mark.parametrize("method", ["homodyne", "pocs"])
def test_full_sampling_is_refused(method):
    with pytest.raises(InputError, match="nothing for homodyne"):
        get_method(method)(partial(np.ones((SIZE, SIZE), bool))[0])


@pytest.mark.parametrize("method", ["homodyne", "pocs"])
def test_other_operators_are_refused(method):
    y = torch.ones(1, 8, 8, dtype=torch.complex64)
    with pytest.raises(InputError, match="Cartesian"):
        get_method(method)(Problem(y, Identity((1, 8, 8)), torch.tensor(0.1), torch.tensor(1.0)))
