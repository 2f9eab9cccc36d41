"""The centre of k-space is measured: where it is not at N//2 it is put there and said, or refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import (
    coil_kspace,
    fft2c,
    header_xml,
    ifft2c,
    letter_f,
    write_acquisitions,
    write_cfl,
    write_fastmri,
)

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.centre import offset_of

SHAPE = (64, 48)


def head(shape=SHAPE) -> np.ndarray:
    """An F in an ellipse with air around it."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    inside = np.hypot(y[:, None] / 0.75, x / 0.7) < 1
    return (inside * (0.5 + letter_f(shape))).astype(np.float32)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([head(), head()[::-1], head() ** 2]), coils=4, noise=5e-3)


def magnitude(kspace: np.ndarray) -> np.ndarray:
    return np.sqrt((np.abs(ifft2c(kspace)) ** 2).sum(axis=-3))


def lines(kspace, which=range(SHAPE[1]), shift=0):
    return [(kspace[..., j], {"kspace_encode_step_1": j - shift}) for j in which]


def limits(kspace, last, centre):
    return header_xml(kspace, SHAPE).replace(
        "<maximum>47</maximum><center>24", f"<maximum>{last}</maximum><center>{centre}"
    )


class TestGood:
    @pytest.mark.parametrize("shift", [(0, 0), (1, -1), (-2, 2)])
    def test_within_two_samples_nothing_is_touched(self, tmp_path, kspace, shift):
        moved = np.roll(kspace, shift, axis=(-2, -1))
        with open_scan(write_fastmri(tmp_path / "a.h5", moved)) as scan:
            np.testing.assert_array_equal(scan.kspace(0), moved[0])
            assert scan.header.notes == ()

    def test_undersampling_is_no_offset(self, tmp_path, kspace):
        for step, first in ((4, 2), (6, 3), (8, 4)):  # the line N//2 itself is missing
            some = np.where(np.arange(48) % step == first, kspace, 0)
            assert offset_of(some[0], (some[0] != 0).any(axis=0)) == (0, 0)

    def test_partial_fourier_is_no_offset(self, tmp_path, kspace):
        part = kspace.copy()
        part[..., :20] = 0
        with open_scan(write_fastmri(tmp_path / "a.h5", part)) as scan:
            np.testing.assert_array_equal(scan.kspace(0), part[0])

    def test_noise_has_no_centre(self, tmp_path):
        rng = np.random.default_rng(0)
        noise = (rng.standard_normal((1, 4, *SHAPE)) + 1j * rng.standard_normal((1, 4, *SHAPE))).astype("c8")
        with open_scan(write_fastmri(tmp_path / "a.h5", noise, rss=False)) as scan:
            np.testing.assert_array_equal(scan.kspace(0), noise[0])
            assert scan.header.notes == ()

    def test_zeros_have_no_centre(self, tmp_path):
        with open_scan(write_fastmri(tmp_path / "a.h5", np.zeros((1, 4, *SHAPE)), rss=False)) as scan:
            assert not scan.kspace(0).any()

    def test_a_factor_of_any_size(self, kspace):
        for factor in (1e-25, 1e25):
            some = (kspace[0].astype(complex) * factor).astype(np.complex64)
            assert offset_of(np.roll(some, 8, -1), np.ones(SHAPE, bool)) == (0, 8)


class TestMended:
    @pytest.mark.parametrize("shift", [(0, 8), (-5, 0), (7, -9), (32, 24), (-32, 0), (0, -24), (3, 3)])
    def test_moved_along_any_axis(self, tmp_path, kspace, shift):
        """Moved by half of k-space, the centre lies in the corner, as a plain FFT leaves it."""
        path = write_fastmri(tmp_path / "a.h5", np.roll(kspace, shift, axis=(-2, -1)))
        with open_scan(path) as scan:
            for index in range(3):
                np.testing.assert_array_equal(scan.kspace(index), kspace[index])
            where = (32 + shift[0]) % 64, (24 + shift[1]) % 48
            assert f"lies at ({where[0]}, {where[1]}) of 64×48" in scan.header.notes[0]

    def test_odd_sizes(self, tmp_path):
        one = coil_kspace(head((45, 39))[None], noise=5e-3)
        path = write_fastmri(tmp_path / "a.h5", np.fft.ifftshift(one, axes=(-2, -1)), rss=False)
        with open_scan(path) as scan:
            np.testing.assert_array_equal(scan.kspace(0), one[0])

    def test_the_mask_moves_along(self, tmp_path, kspace):
        keep = np.zeros(48, bool)
        keep[::3] = keep[20:28] = True
        moved = np.roll(np.where(keep, kspace, 0), 10, axis=-1)
        path = write_fastmri(tmp_path / "a.h5", moved, rss=False, mask=np.roll(keep, 10))
        with open_scan(path) as scan:
            np.testing.assert_array_equal(scan.acquired(0), np.broadcast_to(keep, SHAPE))
            np.testing.assert_array_equal(scan.kspace(0)[..., keep], kspace[0][..., keep])

    def test_a_cfl(self, tmp_path, kspace):
        with open_scan(write_cfl(tmp_path / "a.cfl", np.roll(kspace[0], 9, axis=-2))) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])
            assert len(scan.header.notes) == 1

    @pytest.mark.parametrize(("wrong", "right"), [(21, 14), (0, 14), (34, 14)])
    def test_limits_with_a_wrong_centre(self, tmp_path, kspace, wrong, right):
        """Lines 10 to 43 are steps 0 to 33, step 14 is the centre; (0 + 33)/2 is not, nor are the ends."""
        rows = lines(kspace[0], range(10, 44), shift=10)
        path = write_acquisitions(tmp_path / "a.h5", rows, limits(kspace, 33, wrong))
        good = write_acquisitions(tmp_path / "b.h5", rows, limits(kspace, 33, right))
        with open_scan(path) as scan, open_scan(good) as expected:
            assert expected.header.notes == ()
            np.testing.assert_array_equal(scan.kspace(0), expected.kspace(0))
            np.testing.assert_array_equal(scan.acquired(0), expected.acquired(0))
            assert "k-space is moved there" in scan.header.notes[-1]

    @pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
    def test_alternating_signs(self, tmp_path, kspace, axes):
        signs = np.ones(SHAPE)
        for axis in axes:
            n = SHAPE[axis]
            alternate = (-1.0) ** (np.arange(n) - n // 2)
            signs = signs * (alternate[:, None] if axis == -2 else alternate)
        path = write_fastmri(tmp_path / "a.h5", (kspace * signs).astype(np.complex64), rss=False)
        with open_scan(path) as scan:
            np.testing.assert_allclose(scan.kspace(0), kspace[0])
            assert "half a field of view off" in scan.header.notes[0]

    def test_a_plain_fft_without_any_shift(self, tmp_path):
        """The centre in the corner, and the image's middle too: both are put right."""
        image = head()[None]
        coils = ifft2c(coil_kspace(image, noise=5e-3))
        path = write_fastmri(tmp_path / "a.h5", np.fft.fft2(coils, norm="ortho"), rss=False)
        with open_scan(path) as scan:
            np.testing.assert_allclose(magnitude(scan.kspace(0)), magnitude(fft2c(coils))[0], atol=1e-4)
            assert len(scan.header.notes) == 2

    @pytest.mark.parametrize("side", [0.2, 0.9])
    def test_halves_of_a_head_that_is_brighter_on_one_side(self, tmp_path, side):
        """One surface coil: the energy lies off the middle of the head."""
        y, x = (np.linspace(-1, 1, n) for n in SHAPE)
        maps = np.exp(-((x - side) ** 2 + y[:, None] ** 2))[None]
        noise = np.random.default_rng(0).standard_normal((2, 1, *SHAPE)) * 5e-3
        coils = maps * head() + noise[0] + 1j * noise[1]
        path = write_fastmri(tmp_path / "a.h5", np.fft.fft2(coils, norm="ortho")[None], rss=False)
        with open_scan(path) as scan:
            np.testing.assert_allclose(magnitude(scan.kspace(0)), magnitude(fft2c(coils)), atol=1e-4)

    def test_the_files_own_image_decides(self, tmp_path, kspace):
        """An image that does lie at the edge, as the file's own reconstruction has it, stays there."""
        split = np.fft.fftshift(ifft2c(kspace), axes=-1)
        path = write_fastmri(tmp_path / "a.h5", fft2c(split))
        with open_scan(path) as scan:
            assert scan.header.notes == ()

    def test_an_object_at_one_edge_stays(self, tmp_path):
        image = np.zeros(SHAPE, np.float32)
        image[20:40, 2:14] = letter_f((20, 12)) + 0.3
        path = write_fastmri(tmp_path / "a.h5", coil_kspace(image[None], noise=5e-3), rss=False)
        with open_scan(path) as scan:
            assert scan.header.notes == ()

    @pytest.mark.parametrize("axis", [-1, -2])
    @pytest.mark.parametrize("every", [1, 4])
    def test_a_body_between_coils_stays(self, tmp_path, axis, every):
        """It fills the field of view, bright beside the coils at both ends: its middle is dark and no air."""
        shape = (96, 80)
        y, x = (np.linspace(-1, 1, n) for n in shape)
        along, across = (y[:, None], x) if axis == -2 else (x, y[:, None])
        body = (np.abs(across) < 0.7) * (0.7 + 0.3 * np.cos(9 * across) * np.cos(7 * along))
        maps = np.stack([0.12 / ((along - side) ** 2 + 0.4 * across**2 + 0.1) for side in (-1.1, 1.1)])
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((2, 2, *shape))
        kspace = fft2c(maps * body) + 0.004 * (noise[0] + 1j * noise[1])
        keep = (np.arange(shape[1]) % every == 0) | (np.abs(np.arange(shape[1]) - shape[1] // 2) < 10)
        for noted in (False, True):  # what is swapped in truth lies about the same place, with air between
            if noted:
                air = np.abs(along) < 0.6
                signs = (-1.0) ** (np.arange(shape[axis]) - shape[axis] // 2)
                kspace = fft2c(maps[:1] ** 0.2 * body * air) + 0.004 * (noise[0] + 1j * noise[1])
                kspace = kspace * (signs if axis == -1 else signs[:, None])
            path = write_fastmri(tmp_path / f"{noted}.h5", np.where(keep, kspace, 0)[None], rss=False)
            with open_scan(path) as scan:
                assert any("half a field of view off" in note for note in scan.header.notes) == noted


class TestUnclear:
    def test_slices_that_disagree_stay(self, tmp_path, kspace):
        wandering = np.stack([np.roll(k, 6 * i - 12, axis=-1) for i, k in enumerate(kspace)])
        with open_scan(write_fastmri(tmp_path / "a.h5", wandering, rss=False)) as scan:
            np.testing.assert_array_equal(scan.kspace(0), wandering[0])

    def test_a_slice_that_cannot_be_read_is_refused_when_it_is_asked_for(self, tmp_path, kspace):
        broken = np.roll(kspace, 8, axis=-1)
        broken[1, 0, 3, 3] = np.nan  # the middle one
        with open_scan(write_fastmri(tmp_path / "a.h5", broken, rss=False)) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])
            with pytest.raises(InputError, match="slice 1 has NaN"):
                scan.kspace(1)

    def test_impossible_limits_and_no_signal(self, tmp_path, kspace):
        rows = lines(0 * kspace[0], range(34))
        with pytest.raises(InputError, match="nothing says where the centre of k-space is"):
            open_scan(write_acquisitions(tmp_path / "a.h5", rows, limits(kspace, 33, 40)))


@pytest.fixture(scope="module")
def spokes() -> np.ndarray:
    """(coil, samples, spokes) of a disc off the centre, by the Fourier integral over its pixels."""
    n, count = 64, 48
    y, x = np.mgrid[:n, :n] - n // 2
    image = (np.hypot(y - 5, x + 3) < 20) * np.exp(-(x**2) / 800)
    coils = np.stack(
        [image * np.exp(1j * (0.05 * x * i)) * np.exp(-((y - 9 * i) ** 2) / 900) for i in range(3)]
    )
    r, angles = np.arange(n) - n // 2, np.pi * np.arange(count) / count
    found = np.empty((3, n, count), np.complex64)
    for s, a in enumerate(angles):
        phase = np.exp(-2j * np.pi * np.multiply.outer(r, y * np.sin(a) + x * np.cos(a)) / n)
        found[..., s] = np.einsum("ryx,cyx->cr", phase, coils) / n
    return found


class TestRadial:
    @pytest.mark.parametrize("turned", [False, True])
    def test_spokes_of_a_cfl(self, tmp_path, spokes, turned):
        data = spokes.swapaxes(-1, -2) if turned else spokes
        with pytest.raises(InputError, match="in every line, as in a radial scan"):
            open_scan(write_cfl(tmp_path / "a.cfl", np.ascontiguousarray(data)))

    def test_as_bart_writes_them(self, tmp_path, spokes):
        (tmp_path / "a.hdr").write_text("# Dimensions\n1 64 48 3\n")
        spokes.transpose(1, 2, 0)[None].astype("<c8").ravel(order="F").tofile(tmp_path / "a.cfl")
        with pytest.raises(InputError, match="radial"):
            open_scan(tmp_path / "a.cfl")

    def test_a_real_radial_scan(self, shared_data):
        with pytest.raises(InputError, match="radial"):
            open_scan(shared_data / "kspace" / "smsnlinv_radial_kMB1_top_SP69.cfl")

    @pytest.mark.parametrize("width", [1, 2, 4])
    def test_narrow_objects_are_not_radial(self, tmp_path, width):
        image = np.zeros(SHAPE, np.float32)
        image[10:50, 15 : 15 + width] = 1
        with open_scan(write_cfl(tmp_path / "a.cfl", coil_kspace(image[None])[0])) as scan:
            assert scan.header.notes == ()


def test_notes_reach_the_record_and_the_picture_of_a_run(tmp_path, kspace):
    from mrunfold.pipeline import ReconSettings, reconstruct

    path = write_fastmri(tmp_path / "a.h5", np.roll(kspace[:1], 8, axis=-1))
    summary = reconstruct(path, tmp_path / "out", ReconSettings(method="zero_filled", cache=False))
    assert any("k-space is moved there" in flag for flag in summary.record["flags"])
    with h5py.File(tmp_path / "out" / "recon.h5") as file:
        assert "k-space is moved there" in bytes(file["provenance"][()]).decode()
