"""recon.h5: the same images and words give the same bytes."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from mrunfold.pipeline.volume import open_writer


def test_bytes_do_not_depend_on_when_hdf5_lets_a_dataset_go(tmp_path):
    """HDF5 places a chunk when its cache writes it, which waits for whoever still holds the dataset."""
    written = []
    for held in (False, True):
        keep = []
        with open_writer(tmp_path / "a.h5", 2, (4, 5)) as writer:
            for place in range(2):
                writer.put("reconstruction", place, np.full((4, 5), place))
                if held:
                    keep.append(writer._file["reconstruction"])
            writer.describe({"units": "none", "settings": {"mask": "random"}})
            keep.clear()
        written.append((tmp_path / "a.h5").read_bytes())
    assert written[0] == written[1]
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["reconstruction"][:, 0, 0], [0, 1])


def test_a_slice_of_another_size_is_refused(tmp_path):
    with open_writer(tmp_path / "a.h5", 2, (4, 5)) as writer, pytest.raises(ValueError, match=r"\(4, 5\)"):
        writer.put("reconstruction", 0, np.zeros((5, 4)))
