"""The calibration block."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.coils import calibration_block
from mrunfold.errors import InputError


def positions(coils: int, shape: tuple[int, int]) -> np.ndarray:
    """k-space whose values say where they lie relative to N//2: row + 1j·column."""
    y = np.arange(shape[0])[:, None] - shape[0] // 2
    x = np.arange(shape[1])[None, :] - shape[1] // 2
    return np.broadcast_to(y + 1j * x, (coils, *shape)).astype(np.complex64)


@pytest.mark.parametrize("shape", [(40, 40), (41, 37), (40, 37)])
@pytest.mark.parametrize("width", [12, 13])
def test_the_block_is_centred_at_half(shape: tuple[int, int], width: int):
    block = calibration_block(positions(2, shape), np.ones(shape, bool), width)
    assert block.shape == (2, width, width)
    np.testing.assert_array_equal(block, positions(2, (width, width)))


def test_a_thin_region_gives_a_thin_block():
    acquired = np.zeros((64, 48), bool)
    acquired[:, 20:28] = True
    acquired[:, ::5] = True
    block = calibration_block(positions(1, (64, 48)), acquired, 24)
    assert block.shape[1] == 24
    assert 8 <= block.shape[2] <= 9


def test_too_small_a_region_says_what_to_do():
    acquired = np.zeros((32, 32), bool)
    acquired[14:18, :] = True
    with pytest.raises(InputError, match=r"at least 6×6; take a mask with a larger calibration region"):
        calibration_block(positions(2, (32, 32)), acquired)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"\(2, 32, 32\).*\(32, 30\)"):
        calibration_block(positions(2, (32, 32)), np.ones((32, 30), bool))
