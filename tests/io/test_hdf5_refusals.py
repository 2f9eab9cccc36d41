"""HDF5 that reads other files or declares what cannot be is refused before anything is allocated."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, letter_f, write_fastmri, write_mrd

from mrunfold.errors import InputError
from mrunfold.io import hdf5 as guard
from mrunfold.io import open_scan


@pytest.fixture
def scan(tmp_path):
    return write_fastmri(tmp_path / "scan.h5", coil_kspace(letter_f((24, 20))[None], coils=2))


def replace(path, target, name, make):
    """Copy a file but for one member, which `make(file)` adds."""
    with h5py.File(path) as source, h5py.File(target, "w") as file:
        for other in source:
            if other != name:
                source.copy(other, file)
        make(file)
    return target


@pytest.mark.parametrize("name", ["kspace", "ismrmrd_header", "reconstruction_rss", "mask"])
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links(tmp_path, scan, name, kind):
    link = h5py.ExternalLink(str(scan), "kspace") if kind == "external" else h5py.SoftLink("/kspace")
    path = replace(scan, tmp_path / "link.h5", name, lambda file: file.__setitem__(name, link))
    with pytest.raises(InputError, match=rf"'{name}' is an? {kind} link"):
        open_scan(path)


def test_a_link_to_what_is_not_there(tmp_path, scan):
    link = h5py.ExternalLink("/nonexistent/file.h5", "kspace")
    path = replace(scan, tmp_path / "link.h5", "kspace", lambda file: file.__setitem__("kspace", link))
    with pytest.raises(InputError, match="external link"):
        open_scan(path)


def test_links_in_mrd(tmp_path):
    good = write_mrd(tmp_path / "good.h5", coil_kspace(letter_f((24, 20))[None], coils=2))
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file["dataset"] = h5py.ExternalLink(str(good), "dataset")
    with pytest.raises(InputError):
        open_scan(tmp_path / "group.h5")
    with h5py.File(good) as source, h5py.File(tmp_path / "data.h5", "w") as file:
        source.copy("dataset/xml", file.create_group("dataset"))
        file["dataset/data"] = h5py.ExternalLink(str(good), "dataset/data")
    with pytest.raises(InputError, match="external link"):
        open_scan(tmp_path / "data.h5")


def test_external_storage(tmp_path, scan):
    with h5py.File(scan) as file:
        kspace = file["kspace"][()]
    (tmp_path / "elsewhere.bin").write_bytes(kspace.tobytes())

    def make(file):
        file.create_dataset(
            "kspace",
            kspace.shape,
            kspace.dtype,
            external=[(str(tmp_path / "elsewhere.bin"), 0, kspace.nbytes)],
        )

    with pytest.raises(InputError, match="external files"):
        open_scan(replace(scan, tmp_path / "bad.h5", "kspace", make))


def test_a_virtual_dataset(tmp_path, scan):
    def make(file):
        layout = h5py.VirtualLayout((1, 2, 24, 20), np.complex64)
        layout[:] = h5py.VirtualSource(str(scan), "kspace", (1, 2, 24, 20))
        file.create_virtual_dataset("kspace", layout)

    with pytest.raises(InputError, match="virtual"):
        open_scan(replace(scan, tmp_path / "bad.h5", "kspace", make))


@pytest.mark.parametrize("chunks", [None, (1, 1, 33, 33)])
@pytest.mark.parametrize("shape", [(1000, 1000, 3300, 3300), (2, 4, 300, 300)])
def test_a_size_that_cannot_be_true(tmp_path, shape, chunks):
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", shape, np.complex64, chunks=chunks)
        file["ismrmrd_header"] = header_xml(np.zeros((1, 1, 4, 4)), (4, 4))
    assert path.stat().st_size < 20_000
    if chunks and shape[0] == 2:  # 5.8 MB of k-space in a small file may be compressed: it is read
        assert not open_scan(path).kspace(0).any()
        return
    tracemalloc.start()
    with pytest.raises(InputError, match="declares"):
        open_scan(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_slice_that_is_too_large(scan, monkeypatch):
    monkeypatch.setattr(guard, "MAX_SLICE_BYTES", 7000)
    with pytest.raises(InputError, match=r"one slice of '/kspace' needs 7\.68 kB"):
        open_scan(scan)


def test_compressed_kspace_is_read(tmp_path, scan):
    with h5py.File(scan) as file:
        kspace = file["kspace"][()]

    def make(file):
        file.create_dataset("kspace", data=kspace, compression="gzip", chunks=(1, 2, 24, 20))

    with open_scan(replace(scan, tmp_path / "gzip.h5", "kspace", make)) as again:
        np.testing.assert_array_equal(again.kspace(0), kspace[0])


def test_a_damaged_heap(tmp_path):
    """The HDF5 library may loop for ever in one: sizes that lead nowhere must not reach it."""
    good = write_mrd(tmp_path / "good.h5", coil_kspace(letter_f((24, 20))[None], coils=2)).read_bytes()
    places = [i for i in range(len(good)) if good[i : i + 5] == b"GCOL\x01"]
    assert len(places) > 2
    for place in (places[0], places[len(places) // 2]):
        for at in (place, place + 8, place + 16 + 8):  # signature, size, size of the first object
            data = bytearray(good)
            data[at : at + 4] = b"\xff\xff\xff\xff"
            (tmp_path / "bad.h5").write_bytes(data)
            with pytest.raises(InputError, match="damaged"):
                open_scan(tmp_path / "bad.h5")
