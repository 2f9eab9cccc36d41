"""Arrays in files: taken where it is plain what they are, with a note; refused with the way out elsewhere."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
from rawfiles import coil_kspace

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.arrays import read_part

SHAPE = (64, 40)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """(slice, coil, readout, phase)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    disc = ((y / 0.6) ** 2 + (x / 0.5) ** 2 < 1).astype(np.float32)
    return coil_kspace(np.stack([disc, disc * (1 + y)]), coils=6, noise=1e-2)


def check(path, expected: np.ndarray, words: str) -> None:
    with open_scan(path) as scan:
        assert scan.header.format == "array"
        assert scan.header.slices == len(expected)
        for index, one in enumerate(expected):
            np.testing.assert_array_equal(scan.kspace(index), one)
        assert words in scan.header.notes[0]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((0, 1, 2, 3), "(slice, coil, readout, phase)"),
        ((0, 2, 3, 1), "(slice, readout, phase, coil)"),
    ],
)
def test_npy_of_slices(tmp_path, kspace, order, words):
    np.save(tmp_path / "k.npy", kspace.transpose(order))
    check(tmp_path / "k.npy", kspace, words)


@pytest.mark.parametrize(
    ("order", "words"), [((0, 1, 2), "(coil, readout, phase)"), ((1, 2, 0), "(readout, phase, coil)")]
)
def test_npz_and_mat_of_one_slice(tmp_path, kspace, order, words):
    one = kspace[0].transpose(order)
    np.savez(tmp_path / "k.npz", data=one, mask=np.ones(40), note="text")
    check(tmp_path / "k.npz", kspace[:1], words)
    scipy.io.savemat(tmp_path / "k.mat", {"ksp": one, "TR": 3.0, "maps": np.ones_like(one)})
    check(tmp_path / "k.mat", kspace[:1], words)


def test_mat_7_3_has_matlabs_axes(tmp_path, kspace):
    one = kspace[0].transpose(1, 2, 0)  # (readout, phase, coil), as MATLAB shows it
    stored = np.empty(one.T.shape, [("real", "f4"), ("imag", "f4")])
    stored["real"], stored["imag"] = one.T.real, one.T.imag
    with h5py.File(tmp_path / "k.mat", "w", userblock_size=512) as file:
        file["rawdata"] = stored
    check(tmp_path / "k.mat", kspace[:1], "(readout, phase, coil)")


def test_one_coil(tmp_path, kspace):
    np.save(tmp_path / "k.npy", kspace[0, 0])
    check(tmp_path / "k.npy", kspace[:1, :1], "of one coil")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda k: {"a": k, "b": k}, r"name the one.*slice, coil, readout, phase"),
        (lambda k: {"a": np.abs(k)}, "no complex array of k-space.*cannot be had out of magnitudes"),
        (lambda k: {"a": np.stack([k.real, k.imag], -1)}, r"k\[..., 0\] \+ 1j"),
        (lambda k: {"a": np.array("text")}, "no array of numbers.*not in a structure"),
        (lambda k: {"a": 0 * k}, "is zero everywhere"),
        (lambda k: {"a": k.transpose(2, 3, 1, 0)}, "coils before its slices or after"),
        (lambda k: {"a": np.fft.ifft2(k[0])}, "is it k-space, and not images"),
        (lambda k: {"a": np.fft.ifft(k[0, 0], axis=1)}, "not its energy about one place"),
        (lambda k: {"a": k[None, None].repeat(2, 0).repeat(3, 1)}, "6 axes"),
    ],
)
def test_what_is_not_plain_is_refused(tmp_path, kspace, make, words):
    np.savez(tmp_path / "k.npz", **make(kspace))
    with pytest.raises(InputError, match=words):
        open_scan(tmp_path / "k.npz")


@pytest.mark.parametrize("name", ["k.npy", "k.npz", "k.mat"])
def test_damaged_files(tmp_path, kspace, name):
    path = tmp_path / name
    if name == "k.npy":
        np.save(path, kspace)
    elif name == "k.npz":
        np.savez(path, k=kspace)
    else:
        scipy.io.savemat(path, {"k": kspace})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"k\.np|k\.mat"), open_scan(path) as scan:
        scan.kspace(1)


def test_pickles_are_not_opened(tmp_path):
    np.save(tmp_path / "k.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        open_scan(tmp_path / "k.npy")


def test_nan_is_found_when_the_slice_is_read(tmp_path, kspace):
    bad = kspace.copy()
    bad[1, 2, 3, 4] = np.nan
    np.save(tmp_path / "k.npy", np.nan_to_num(bad))
    with open_scan(tmp_path / "k.npy") as scan:
        scan._kspace = bad
        scan.kspace(0)
        with pytest.raises(InputError, match="slice 1 has NaN"):
            scan.kspace(1)


def test_which_part_it_is(tmp_path):
    np.savez(tmp_path / "two.npz", maps=np.ones((2, 3)), other=np.zeros((4, 5)))
    assert read_part(tmp_path / "two.npz", "maps", ("maps", "sens")).shape == (2, 3)
    with pytest.raises(InputError, match=r"which is the mask\? It holds maps \(2, 3\), other \(4, 5\)"):
        read_part(tmp_path / "two.npz", "mask", ("mask",))
    (tmp_path / "mask.txt").write_text("1 0 1")
    with pytest.raises(InputError, match="save it as one of these"):
        read_part(tmp_path / "mask.txt", "mask", ("mask",))
