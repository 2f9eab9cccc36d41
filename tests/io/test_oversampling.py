"""Readout oversampling and cropping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rawfiles import fft2c, ifft2c, letter_f

from mrunfold.errors import InputError
from mrunfold.io import Header, crop_image, remove_oversampling


def header(matrix, unoversampled):
    return Header("fastmri", 1, 1, matrix, unoversampled, (unoversampled, matrix[1]))


@pytest.mark.parametrize(("stored", "wanted"), [(96, 48), (97, 48), (96, 49), (95, 47), (96, 95)])
def test_the_image_inside_the_field_of_view_stays(stored, wanted, caplog):
    image = np.zeros((2, stored, 40), np.complex64)
    start = stored // 2 - wanted // 2
    image[:, start : start + wanted] = letter_f((wanted, 40)) * np.array([1, 1j])[:, None, None]
    with caplog.at_level("INFO"):
        kspace = remove_oversampling(fft2c(image), header((stored, 40), wanted))
    assert kspace.shape == (2, wanted, 40)
    assert kspace.dtype == np.complex64
    np.testing.assert_allclose(ifft2c(kspace), image[:, start : start + wanted], atol=1e-5)
    assert f"oversampling removed: {stored} -> {wanted}" in caplog.text


def test_noise_keeps_its_standard_deviation():
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((8, 96, 40)) + 1j * rng.standard_normal((8, 96, 40))).astype(np.complex64)
    assert remove_oversampling(noise, header((96, 40), 48)).std() == pytest.approx(noise.std(), rel=0.02)


def test_lines_that_are_zero_stay_zero():
    kspace = np.ones((1, 96, 40), np.complex64)
    kspace[..., ::2] = 0
    assert not remove_oversampling(kspace, header((96, 40), 48))[..., ::2].any()


def test_without_oversampling_nothing_happens():
    kspace = np.ones((1, 96, 40), np.complex64)
    assert remove_oversampling(kspace, header((96, 40), 96)) is kspace


def test_it_is_done_once():
    head = header((96, 40), 48)
    once = remove_oversampling(np.ones((1, 96, 40), np.complex64), head)
    with pytest.raises(InputError, match="once only"):
        remove_oversampling(once, head)
    with pytest.raises(InputError, match="expects k-space"):
        remove_oversampling(np.ones((1, 96, 40)), replace(head, matrix=(96, 42)))


@pytest.mark.parametrize(
    ("size", "crop"), [((9, 8), (4, 4)), ((8, 9), (5, 5)), ((8, 8), (8, 8)), ((9, 9), (1, 2))]
)
def test_the_centre_stays_the_centre(size, crop):
    image = np.zeros((3, *size))
    image[:, size[0] // 2, size[1] // 2] = 1
    cropped = crop_image(image, crop)
    assert cropped.shape == (3, *crop)
    assert (cropped[:, crop[0] // 2, crop[1] // 2] == 1).all()


@pytest.mark.parametrize("crop", [(9, 4), (4, 9), (0, 4)])
def test_a_crop_that_does_not_fit(crop):
    with pytest.raises(InputError, match="crop"):
        crop_image(np.ones((8, 8)), crop)
