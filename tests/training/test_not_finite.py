"""A training volume with NaN or infinity is refused, by file, dataset and slice, before any training."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.protocols import ImageSet
from mrunfold.training.images import ImageBank


@pytest.mark.parametrize("row", [0, 1, 33, 47])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_any_row_of_a_fastmri_volume(tmp_path, row, value):
    images = np.random.default_rng(0).random((3, 48, 40)).astype(np.float32)
    images[1, row, 20] = value
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["reconstruction_rss"] = images
    with pytest.raises(InputError, match=r"bad\.h5: 'reconstruction_rss' has NaN or infinity in slice 1"):
        ImageBank.load(tmp_path, [ImageSet(pattern="*.h5", reader="fastmri", weight=1, licence="none")])


def test_other_readers_too(tmp_path):
    images = np.random.default_rng(0).random((4, 32, 32)).astype(np.float32)
    images[2, 5, 5] = np.nan
    with h5py.File(tmp_path / "bad.mat", "w") as file:
        file["data_fs"] = images
    with pytest.raises(InputError, match=r"bad\.mat has NaN or infinity in slice 2"):
        ImageBank.load(tmp_path, [ImageSet(pattern="*.mat", reader="mat", weight=1, licence="none")])


def test_a_good_volume_is_taken(tmp_path):
    images = np.random.default_rng(0).random((3, 48, 40)).astype(np.float32)
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file["reconstruction_rss"] = images
    assert (
        len(
            ImageBank.load(
                tmp_path, [ImageSet(pattern="*.h5", reader="fastmri", weight=1, licence="none")]
            ).sets[0]
        )
        == 3
    )
