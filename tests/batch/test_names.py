"""Raw data in a folder are found by what is in them, whatever they are called."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_cfl, write_fastmri, write_mrd

from mrunfold.batch.plan import find_volumes
from mrunfold.errors import InputError


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(letter_f((24, 20))[None], coils=2)


def test_ends_of_names_do_not_matter(tmp_path, kspace):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("a.h5", "b.H5", "c.hdf5", "d.HDF5", "f", "g.dat"):
        write_fastmri(folder / name, kspace)
    write_mrd(folder / "h.mrd", kspace)
    write_cfl(folder / "i.cfl", kspace[0])
    with h5py.File(folder / "weights.bin", "w") as file:
        file["layer"] = np.zeros(3)
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden.h5").write_text("nothing")
    names = [volume.path.name for volume in find_volumes([folder], tmp_path / "out")]
    assert names == ["a.h5", "b.H5", "c.hdf5", "d.HDF5", "f", "g.dat", "h.mrd", "i.cfl"]


def test_a_folder_of_mrd_alone(tmp_path, kspace):
    write_mrd(tmp_path / "a.mrd", kspace)
    assert len(find_volumes([tmp_path], tmp_path / "out")) == 1


def test_what_is_called_raw_data_and_is_broken_is_not_passed_over(tmp_path, kspace):
    (tmp_path / "a.MRD").write_bytes(b"broken")
    write_fastmri(tmp_path / "b.h5", kspace)
    assert len(find_volumes([tmp_path], tmp_path / "out")) == 2


def test_two_of_one_name_are_refused(tmp_path, kspace):
    for name in ("a.h5", "a.hdf5"):
        write_fastmri(tmp_path / name, kspace)
    with pytest.raises(InputError, match="two inputs are named a"):
        find_volumes([tmp_path], tmp_path / "out")
