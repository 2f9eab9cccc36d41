"""ISMRMRD files: acquisitions go where their headers say; the C++ reconstruction agrees."""

from __future__ import annotations

import shutil
import subprocess

import h5py
import ismrmrd
import numpy as np
import pytest
from rawfiles import coil_kspace, fft2c, header_xml, ifft2c, letter_f, write_mrd

from mrunfold.errors import InputError
from mrunfold.io import data_crimes, open_scan, remove_oversampling
from mrunfold.io.mrd_heads import FLAGS


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((24, 20)), letter_f((24, 20))[::-1]]), coils=3, readout=48)


def write(path, kspace, rows, crop=(24, 20), xml=None):
    """Write acquisitions: rows of (samples (coil, n), fields); a field may be an idx counter or `flags`."""
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header((xml or header_xml(kspace, crop)).encode())
    for samples, fields in rows:
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples, np.complex64))
        acquisition.center_sample = samples.shape[1] // 2
        for name, value in fields.items():
            if name == "flags":
                for flag in value:
                    acquisition.set_flag(flag)
            elif hasattr(acquisition.idx, name):
                setattr(acquisition.idx, name, value)
            elif isinstance(value, tuple):
                getattr(acquisition, name)[:] = value
            else:
                setattr(acquisition, name, value)
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


def lines(kspace, index=0, **fields):
    return [
        (kspace[index][..., line], {"kspace_encode_step_1": line, **fields})
        for line in range(kspace.shape[-1])
    ]


def test_flags_are_those_of_the_standard():
    names = {
        "noise": "NOISE_MEASUREMENT",
        "calibration": "PARALLEL_CALIBRATION",
        "calibration and imaging": "PARALLEL_CALIBRATION_AND_IMAGING",
        "reverse": "REVERSE",
        "navigation": "NAVIGATION_DATA",
        "phase correction": "PHASECORR_DATA",
        "feedback": "HPFEEDBACK_DATA",
        "dummy scan": "DUMMYSCAN_DATA",
        "real-time feedback": "RTFEEDBACK_DATA",
        "surface coil correction": "SURFACECOILCORRECTIONSCAN_DATA",
        "phase stabilisation reference": "PHASE_STABILIZATION_REFERENCE",
        "phase stabilisation": "PHASE_STABILIZATION",
    }
    assert {name: getattr(ismrmrd, f"ACQ_IS_{names[name]}") for name in names} == FLAGS


def test_plain(tmp_path, kspace):
    frame = (np.array([0, 1, 0]), np.array([-1, 0, 0]), np.array([0, 0, 1]))
    positions = np.array([[1, 2, 3], [1, 2, 9]])
    path = write_mrd(tmp_path / "a.h5", kspace, (24, 20), (0.8, 0.9), frame, positions)
    with open_scan(path) as scan:
        header = scan.header
        assert (header.format, header.slices, header.coils, header.matrix) == ("mrd", 2, 3, (48, 20))
        assert (header.unoversampled, header.crop, header.padding) == (24, (24, 20), (0, 20))
        assert header.pixel_mm == pytest.approx((0.8, 0.9))
        assert header.slice_mm == 5
        np.testing.assert_allclose(header.geometry.positions, positions)
        for name, vector in zip(("read", "phase", "normal"), frame, strict=True):
            np.testing.assert_allclose(getattr(header.geometry, name), vector, atol=1e-6)
        for index in range(2):
            np.testing.assert_array_equal(scan.kspace(index), kspace[index])
            assert scan.acquired(index).all()
        assert scan.noise() is None
        assert scan.reference(0) is None
        assert scan.labels[1]["slice"] == 1


@pytest.mark.parametrize(
    "frame", [((0, 0, 0),) * 3, ((1, 0, 0), (1, 0, 0), (0, 0, 1)), ((np.nan, 0, 0), (0, 1, 0), (0, 0, 1))]
)
def test_directions_that_are_none(tmp_path, kspace, frame):
    frame = tuple(map(np.array, frame))
    path = write_mrd(tmp_path / "a.h5", kspace, (24, 20), frame=frame, positions=np.zeros((2, 3)))
    assert open_scan(path).header.geometry is None


def test_the_order_of_acquisitions_does_not_matter(tmp_path, kspace):
    rows = lines(kspace, 0, slice=0) + lines(kspace, 1, slice=1)
    order = np.random.default_rng(0).permutation(len(rows))
    with open_scan(write(tmp_path / "a.h5", kspace, [rows[i] for i in order])) as scan:
        for index in range(2):
            np.testing.assert_array_equal(scan.kspace(index), kspace[index])


@pytest.mark.parametrize("degrees", [0, 40, 90, 180])
def test_averages_that_cancel_are_refused(tmp_path, kspace, degrees):
    """Cycled in phase, their mean was an image of zeros, and a note that the slice holds no signal."""
    rng = np.random.default_rng(0)
    rows = [
        (s * np.exp(1j * np.radians(a * degrees)) + 1e-3 * rng.standard_normal(s.shape), {**f, "average": a})
        for a in range(2)
        for s, f in lines(kspace)
    ]
    path = write(tmp_path / "a.h5", kspace, rows)
    if degrees < 60:
        open_scan(path).close()
        return
    with pytest.raises(InputError, match=rf"differ in phase by {degrees}° and would cancel.*repetitions"):
        open_scan(path)


def test_averages_are_averaged(tmp_path, kspace):
    rows = [
        (s * factor, {**f, "average": a}) for a, factor in enumerate((0.5, 1.5)) for s, f in lines(kspace)
    ]
    noise = np.ones((3, 64), np.complex64)
    rows.append((noise, {"flags": [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]}))
    with open_scan(write(tmp_path / "a.h5", kspace, rows)) as scan:
        np.testing.assert_allclose(scan.kspace(0), kspace[0], atol=1e-6)
        np.testing.assert_allclose(scan.noise(), noise / np.sqrt(2), rtol=1e-6)


def test_noise_is_scaled_to_the_dwell_time(tmp_path, kspace):
    rows = lines(kspace, sample_time_us=2.0)
    noise = np.ones((3, 64), np.complex64)
    fields = {"flags": [ismrmrd.ACQ_IS_NOISE_MEASUREMENT], "sample_time_us": 8.0, "center_sample": 0}
    with open_scan(write(tmp_path / "a.h5", kspace, [*rows, (noise, fields)])) as scan:
        np.testing.assert_allclose(scan.noise(), 2 * noise)
        assert scan.acquired(0).all()


@pytest.mark.parametrize(
    "name", [n for n in FLAGS if n not in ("calibration", "calibration and imaging", "reverse")]
)
def test_what_is_no_image_is_skipped_and_said(tmp_path, kspace, name, caplog):
    rows = lines(kspace)
    rows.insert(3, (100 * rows[5][0], {**rows[5][1], "flags": [FLAGS[name]]}))
    with caplog.at_level("INFO"), open_scan(write(tmp_path / "a.h5", kspace, rows)) as scan:
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])
    assert name == "noise" or f"1 {name} acquisitions skipped" in caplog.text


def test_calibration_lines_fill_in_but_never_mix(tmp_path, kspace):
    rows = [row for i, row in enumerate(lines(kspace)) if i % 2 == 0]
    for line in range(6, 14):
        factor = 1 if line % 2 else 7  # where there is an imaging line, that one wins
        fields = {"kspace_encode_step_1": line, "flags": [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]}
        rows.append((factor * kspace[0][..., line], fields))
    with open_scan(write(tmp_path / "a.h5", kspace, rows)) as scan:
        wanted = np.array([line % 2 == 0 or 6 <= line < 14 for line in range(20)])
        np.testing.assert_array_equal(scan.acquired(0), np.broadcast_to(wanted, (48, 20)))
        np.testing.assert_array_equal(scan.kspace(0)[..., wanted], kspace[0][..., wanted])
        assert not scan.kspace(0)[..., ~wanted].any()


def test_reversed_readouts_are_turned_round(tmp_path, kspace):
    rows = []
    for samples, fields in lines(kspace):
        if fields["kspace_encode_step_1"] % 2:
            # Acquired from +k to −k: its centre is the sample before the middle.
            flags = [ismrmrd.ACQ_IS_REVERSE]
            samples, fields = samples[:, ::-1], {**fields, "flags": flags, "center_sample": 23}
        rows.append((samples, fields))
    with open_scan(write(tmp_path / "a.h5", kspace, rows)) as scan:
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])


def test_a_partial_echo_and_discarded_samples(tmp_path, kspace):
    rows = [
        (s[:, 10:], {**f, "center_sample": 14, "discard_pre": 2, "discard_post": 3}) for s, f in lines(kspace)
    ]
    with open_scan(write(tmp_path / "a.h5", kspace, rows)) as scan:
        kept = slice(12, 45)
        np.testing.assert_array_equal(scan.kspace(0)[:, kept], kspace[0][:, kept])
        expected = np.zeros((48, 20), bool)
        expected[kept] = True
        np.testing.assert_array_equal(scan.acquired(0), expected)
        assert not scan.kspace(0)[:, ~expected].any()


def test_partial_fourier_lies_about_the_centre(tmp_path, kspace):
    """Encode steps count from 0; their centre goes to line N//2."""
    xml = header_xml(kspace, (24, 20)).replace(
        "<maximum>19</maximum><center>10", "<maximum>14</maximum><center>5"
    )
    rows = [(kspace[0][..., line], {"kspace_encode_step_1": line - 5}) for line in range(5, 20)]
    with open_scan(write(tmp_path / "a.h5", kspace, rows, xml=xml)) as scan:
        np.testing.assert_array_equal(scan.kspace(0)[..., 5:], kspace[0][..., 5:])
        assert not scan.acquired(0)[:, :5].any()
        assert scan.header.padding == (5, 20)


def test_phase_oversampling_is_cropped(tmp_path, kspace):
    with open_scan(write(tmp_path / "a.h5", kspace, lines(kspace), crop=(24, 16))) as scan:
        assert (scan.header.matrix, scan.header.crop, scan.header.unoversampled) == ((48, 20), (24, 16), 24)


def test_repetitions_follow_as_slices(tmp_path, kspace):
    rows = lines(kspace, 0, slice=3, repetition=0) + lines(kspace, 1, slice=3, repetition=2)
    with open_scan(write(tmp_path / "a.h5", kspace, rows)) as scan:
        assert len(scan) == 2
        np.testing.assert_array_equal(scan.kspace(1), kspace[1])
        assert [label["repetition"] for label in scan.labels] == [0, 2]
        assert scan.header.frames.labels == ({"repetition": 0}, {"repetition": 2})
        assert (scan.header.frames.frame, scan.header.frames.place) == ((0, 1), (0, 0))
        assert scan.header.geometry is None  # these acquisitions have no directions


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"kspace_encode_step_2": 1}, "3-D"),
        ({"kspace_encode_step_1": 20}, "encode step 20"),
        ({"center_sample": 40}, "do not fit"),
        ({"discard_pre": 40, "discard_post": 20}, "do not fit"),
    ],
)
def test_acquisitions_that_have_no_place(tmp_path, kspace, fields, word):
    rows = lines(kspace)
    rows[4] = (rows[4][0], {**rows[4][1], **fields})
    with pytest.raises(InputError, match=word):
        open_scan(write(tmp_path / "a.h5", kspace, rows))


def test_coils_that_come_and_go(tmp_path, kspace):
    rows = lines(kspace)
    rows[4] = (rows[4][0][:2], rows[4][1])
    with pytest.raises(InputError, match="same number"):
        open_scan(write(tmp_path / "a.h5", kspace, rows))


def test_nothing_but_noise(tmp_path, kspace):
    rows = lines(kspace, flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    with pytest.raises(InputError, match="none of its 20 acquisitions is of an image"):
        open_scan(write(tmp_path / "a.h5", kspace, rows))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("cartesian", "radial", "radial"),
        ("<x>48</x>", "<x>abc</x>", "whole number"),
        ("<x>48</x><y>20</y>", "<x>65535</x><y>65535</y>", "needs 103 GB"),
        ("<x>48</x>", "<x>40</x>", "do not fit"),
        ("encoding>", "nothing>", "no <encoding>"),
        ("<matrixSize>", "<matrix>", "not well-formed"),
    ],
)
def test_headers_that_do_not_make_sense(tmp_path, kspace, old, new, word):
    xml = header_xml(kspace, (24, 20))
    assert old in xml
    xml = xml.replace(old, new) if old == "encoding>" else xml.replace(old, new, 1)
    with pytest.raises(InputError, match=word):
        open_scan(write(tmp_path / "a.h5", kspace, lines(kspace), xml=xml))


def test_unknown_vendor_elements_are_passed_over(tmp_path, kspace):
    xml = header_xml(kspace, (24, 20)).replace("<encoding>", "<vendor><x>abc</x></vendor><encoding>", 1)
    assert open_scan(write(tmp_path / "a.h5", kspace, lines(kspace), xml=xml)).header.coils == 3


def test_sizes_that_ask_for_32_gigabytes(tmp_path, kspace):
    path = write(tmp_path / "a.h5", kspace, lines(kspace))
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][4]
        row["head"]["number_of_samples"] = row["head"]["active_channels"] = 65535
        file["dataset/data"][4] = row
    with pytest.raises(InputError, match="declare"):
        open_scan(path)


def test_samples_that_are_not_as_many_as_the_header_says(tmp_path, kspace):
    path = write(tmp_path / "a.h5", kspace, lines(kspace))
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][4]
        row["data"] = row["data"][:-2]
        file["dataset/data"][4] = row
    with open_scan(path) as scan, pytest.raises(InputError, match="acquisition 4 has 286 values"):
        scan.kspace(0)


def test_nan_says_which_slice(tmp_path, kspace):
    broken = kspace.copy()
    broken[1, 2, 5, 6] = np.nan
    with open_scan(write(tmp_path / "a.h5", kspace, lines(kspace) + lines(broken, 1, slice=1))) as scan:
        scan.kspace(0)
        with pytest.raises(InputError, match="slice 1 has NaN"):
            scan.kspace(1)


def test_data_that_are_no_acquisitions(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dataset/xml"], file["dataset/data"] = "<ismrmrdHeader/>", np.zeros(4)
    with pytest.raises(InputError):
        open_scan(tmp_path / "a.h5")


def test_an_f_keeps_its_orientation(tmp_path):
    image = letter_f((48, 40))
    with open_scan(write_mrd(tmp_path / "a.h5", fft2c(image)[None, None])) as scan:
        np.testing.assert_allclose(np.abs(ifft2c(scan.kspace(0)[0])), image, atol=1e-5)


def test_a_real_scan(shared_data):
    """Siemens 3 T, R = 3 with calibration lines, noise scan with another dwell time."""
    path = shared_data / "kspace" / "nhlbi_phantom_14ch_R3_ismrmrd.h5"
    with open_scan(path) as scan:
        header = scan.header
        assert (header.slices, header.coils, header.matrix) == (1, 14, (384, 144))
        assert (header.unoversampled, header.crop, header.padding) == (192, (192, 144), (18, 124))
        assert header.pixel_mm == pytest.approx((1.4583, 1.4583), abs=1e-3)
        assert header.contrast["patient_position"] == "HFS"
        np.testing.assert_allclose(header.geometry.positions, [[20.048, 66.570, 0]], atol=1e-3)
        for secret in ("SIEMENS", "Skyra", "NIH", "45387", "2019", "SNR_R3"):
            assert secret not in repr(header)
        acquired = scan.acquired(0)
        assert (acquired == acquired[:1]).all()
        found = np.flatnonzero(acquired[0]) - 18
        np.testing.assert_array_equal(found, sorted({*range(0, 106, 3), *range(30, 79)}))
        kspace = scan.kspace(0)
        assert not kspace[:, ~acquired].any()
        peak = np.unravel_index(np.abs(kspace).sum(0).argmax(), header.matrix)
        assert np.abs(np.array(peak) - (192, 72)).max() <= 2
        assert data_crimes(kspace, acquired, header) == ()
        # Our sorting against that of the ismrmrd package, one acquisition.
        with ismrmrd.Dataset(str(path), create_if_needed=False, mode="r") as dataset:
            acquisition = dataset.read_acquisition(20)
        line = acquisition.idx.kspace_encode_step_1 + 18
        # Conjugated, as those of Siemens scanners are.
        np.testing.assert_array_equal(kspace[..., line], acquisition.data.conj())
        # Noise: as in the air beside the phantom, where the receiver's filter is flat, outermost lines.
        image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes=1), axis=1, norm="ortho"), axes=1)
        outer = image[..., acquired[0]][..., [0, 1, 2, -3, -2, -1]]
        air = (np.abs(outer[:, 72:108]) ** 2).mean(axis=(1, 2))
        ratio = np.median(air / (np.abs(scan.noise()) ** 2).mean(axis=1))
        assert 0.7 < ratio < 1.3


def shepp_logan(path, *options):
    tools = ("ismrmrd_generate_cartesian_shepp_logan", "ismrmrd_recon_cartesian_2d")
    if not all(map(shutil.which, tools)):
        pytest.skip(f"{' and '.join(tools)} are not installed (Debian: ismrmrd-tools)")
    common = ("-m", "64", "-c", "6", "-n", "0.02")
    subprocess.run([tools[0], "-o", str(path), *common, *options], check=True, capture_output=True)
    return tools[1]


@pytest.mark.parametrize("oversampling", ["1", "2"])
def test_the_cpp_reconstruction_agrees(tmp_path, oversampling):
    path = tmp_path / "phantom.h5"
    recon = shepp_logan(path, "-a", "1", "-r", "1", "-O", oversampling)
    subprocess.run([recon, str(path), "dataset"], check=True, capture_output=True)
    with h5py.File(path, "r") as file:
        theirs = file["dataset/cpp/data"][0, 0, 0].T  # stored (phase, readout), FFT not normalised
    with open_scan(path) as scan:
        assert scan.header.geometry is None  # its direction vectors are zero
        kspace = remove_oversampling(scan.kspace(0), scan.header)
        scale = np.sqrt(np.prod(scan.header.matrix))
    ours = scale * np.linalg.norm(ifft2c(kspace), axis=0)
    assert np.abs(ours - theirs).max() < 1e-5 * theirs.max()


def test_an_accelerated_phantom_with_noise_scan(tmp_path):
    path = tmp_path / "phantom.h5"
    shepp_logan(path, "-a", "2", "-r", "2", "-w", "8", "-O", "2", "-C")
    with open_scan(path) as scan:
        assert scan.noise().shape[0] == 6
        for index in range(len(scan)):
            kept = scan.acquired(index).any(axis=0)
            assert kept[28:36].all()
            assert 30 < kept.sum() < 45
