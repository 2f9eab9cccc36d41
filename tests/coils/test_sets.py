"""The number of map sets follows the calibration block: two where coils are not periodic over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrunfold.coils import EspiritSettings, espirit_maps
from mrunfold.operators import fft2c, ifft2c

AUTO = EspiritSettings(sets="auto")


def body(width: float, coils: int = 8, sigma: float = 0.002, shape=(96, 88)) -> np.ndarray:
    """K-space (coil, y, x) of an ellipse, `width` of the field of view wide, seen by smooth coils."""
    rng = np.random.default_rng(5)
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    inside = ((y / 0.8) ** 2 + (x / width) ** 2 < 1) * (1 + 0.3 * np.sin(9 * x) * np.cos(7 * y))
    angle = 2 * np.pi * np.arange(coils) / coils
    distance = (y - 1.1 * np.sin(angle)[:, None, None]) ** 2 + (x - 1.1 * np.cos(angle)[:, None, None]) ** 2
    maps = np.exp(-distance / 1.2 + 1j * angle[:, None, None] * (1 + 0.4 * x + 0.3 * y))
    noise = rng.standard_normal((2, coils, *shape)) * sigma / np.sqrt(2)
    return fft2c(torch.from_numpy((maps * inside).astype(np.complex64))).numpy() + noise[0] + 1j * noise[1]


def unexplained(kspace: np.ndarray, maps: np.ndarray) -> float:
    """Return what the maps leave of the full coil images, in dB below them."""
    images = ifft2c(torch.from_numpy(kspace.astype(np.complex64))).numpy()
    along = (maps.conj() * images).sum(axis=1)
    rest = images - (maps * along[:, None]).sum(axis=0)
    return float(-20 * np.log10(np.linalg.norm(rest) / np.linalg.norm(images)))


def centre(shape: tuple[int, ...], width: int = 24) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[:, shape[1] // 2 - width // 2 : shape[1] // 2 + width // 2] = True
    return mask


def test_a_head_inside_the_field_of_view_has_one_set():
    kspace = body(0.7)
    assert len(espirit_maps(kspace, centre(kspace.shape[1:]), AUTO)) == 1


@pytest.mark.parametrize("coils", [4, 8, 16])
@pytest.mark.parametrize("width", [1.1, 1.5, 9.0])
def test_a_body_that_reaches_the_edge_has_two_and_they_explain_it(width: float, coils: int):
    kspace = body(width, coils)
    mask = centre(kspace.shape[1:])
    maps = espirit_maps(kspace, mask, AUTO)
    assert len(maps) == 2
    assert unexplained(kspace, maps) > unexplained(kspace, espirit_maps(kspace, mask)) + 4


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_choice_does_not_depend_on_the_scale(scale: float):
    for width, sets in ((0.7, 1), (1.5, 2)):
        kspace = body(width) * scale
        assert len(espirit_maps(kspace, centre(kspace.shape[1:]), AUTO)) == sets


def test_noise_alone_and_two_coils_have_one_set():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, 64, 64)) + 1j * rng.standard_normal((8, 64, 64))
    assert len(espirit_maps(noise, centre((64, 64)), AUTO)) == 1
    assert len(espirit_maps(body(1.5, coils=2), centre((96, 88)), AUTO)) == 1
