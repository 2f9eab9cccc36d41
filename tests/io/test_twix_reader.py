"""Siemens raw data: what scanners wrote, and files of what those lack, written by twixtools."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from rawfiles import coil_kspace, ifft2c, letter_f
from twixfiles import protocol, readouts_of, write_twix, write_vb

from mrunfold.errors import InputError
from mrunfold.io import open_scan, remove_oversampling
from mrunfold.io.twix import TwixScan

BASE, LINES, COILS = 32, 28, 3
TEXTS = protocol(BASE, LINES)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """(slice, coil, readout, phase) as the reader is to give it; the file holds its conjugate."""
    image = np.stack([letter_f((BASE, LINES)), letter_f((BASE, LINES))[::-1]])
    return coil_kspace(image, COILS, readout=2 * BASE)


def refusal(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        open_scan(path, **options).close()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


def test_the_letter_f_comes_back(tmp_path, kspace):
    path = write_twix(tmp_path / "meas.dat", [(TEXTS, readouts_of(kspace.conj()))])
    with open_scan(path) as scan:
        assert isinstance(scan, TwixScan)
        header = scan.header
        assert (header.format, header.slices, header.coils) == ("twix", 2, COILS)
        assert (header.matrix, header.unoversampled, header.crop) == ((2 * BASE, LINES), BASE, (BASE, LINES))
        assert header.pixel_mm == pytest.approx((1.0, 1.0))
        assert header.slice_mm == 5.0
        assert header.contrast == {
            "TR_ms": 2500.0, "TE_ms": 80.0, "flip_deg": 120.0, "field_T": 2.89362, "patient_position": "HFS",
            "body_part": "HEAD",
        }  # fmt: skip
        assert scan.noise() is None
        assert scan.calibration(0) is None
        for index in range(2):
            np.testing.assert_array_equal(scan.kspace(index), kspace[index])
            assert scan.acquired(index).all()
        image = np.abs(ifft2c(remove_oversampling(scan.kspace(0), header)))
    assert np.linalg.norm(image, axis=0)[letter_f((BASE, LINES)) > 0].min() > 0.4


def test_vb_files_are_read_and_twixtools_takes_ours(tmp_path, kspace):
    import twixtools

    path = write_vb(tmp_path / "meas.dat", TEXTS, readouts_of(kspace.conj()))
    theirs = twixtools.read_twix(str(path), verbose=False, parse_pmu=False, parse_geometry=False)[0]["mdb"]
    assert len(theirs) == 2 * LINES
    np.testing.assert_array_equal(theirs[5].data, kspace[0, ..., 5].conj())
    with open_scan(path) as scan:
        np.testing.assert_array_equal(np.stack([scan.kspace(0), scan.kspace(1)]), kspace)


def noise_lines(rng, samples: int, count: int = 8) -> list:
    noise = rng.standard_normal((2, count, COILS, samples)) * np.arange(1, COILS + 1)[:, None]
    return [(n, {"flags": ["NOISEADJSCAN"]}) for n in (noise[0] + 1j * noise[1])]


@pytest.mark.parametrize(
    ("name", "dwell_us"), [("AdjCoilSens", 5.0), ("AdjQuietCoilSens", 4.0), ("other", 1e6 / 130 / 256)]
)
def test_noise_of_the_adjustment_before_is_the_noise_scan(tmp_path, kspace, name, dwell_us):
    """Scaled by dwell times as siemens_to_ismrmrd has them; 0.793 is the receiver's relative bandwidth."""
    lines = noise_lines(np.random.default_rng(0), 256)
    adjust = (protocol(8, 14, name=name), [*lines, *readouts_of(kspace[:1, :, ::4, ::2])])
    path = write_twix(tmp_path / "meas.dat", [adjust, (TEXTS, readouts_of(kspace.conj()))])
    with open_scan(path) as scan:
        noise = scan.noise()
        assert scan.header.slices == 2
        assert any("measurement 1" in note for note in scan.header.notes)
        assert any("2 measurements: 2 is read" in note for note in scan.header.notes)
        np.testing.assert_array_equal(scan.kspace(1), kspace[1])
    theirs = np.concatenate([n for n, _ in lines], axis=1).conj()
    np.testing.assert_allclose(noise, theirs * np.sqrt(dwell_us / 5.0 / 0.793), rtol=1e-5)
    with open_scan(path, "1") as scan:
        assert scan.header.matrix == (16, 14)  # the images of the adjustment itself
    assert "no measurement '3'" in refusal(path, measurement="3")
    assert "no measurement" in refusal(path, measurement="one")


def test_noise_lines_of_the_measurement_itself_win(tmp_path, kspace):
    rng = np.random.default_rng(1)
    own, other = noise_lines(rng, 128), noise_lines(rng, 256)
    scans = [(protocol(16, 16), other), (TEXTS, own + readouts_of(kspace.conj()))]
    with open_scan(write_twix(tmp_path / "meas.dat", scans)) as scan:
        noise = scan.noise()
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])
    assert noise is not None
    assert noise.shape == (COILS, 8 * 128)


def test_noise_of_other_coils_is_left_out(tmp_path, kspace):
    lines = [(n, {**f, "channels": [4, 5, 6]}) for n, f in noise_lines(np.random.default_rng(0), 256)]
    scans = [(protocol(16, 16), lines), (TEXTS, readouts_of(kspace.conj()))]
    with open_scan(write_twix(tmp_path / "meas.dat", scans)) as scan:
        assert scan.noise() is None
        assert any("other coils" in note for note in scan.header.notes)


def test_averages_are_averaged_and_the_noise_scan_knows_it(tmp_path, kspace):
    rng = np.random.default_rng(2)
    lines = noise_lines(rng, 256)
    jitter = 0.01 * rng.standard_normal((3, *kspace.shape))
    rows = [row for n, one in enumerate(jitter) for row in readouts_of((kspace + one).conj(), Ave=n)]
    with open_scan(write_twix(tmp_path / "one.dat", [(TEXTS, lines + readouts_of(kspace.conj()))])) as scan:
        single = scan.noise()
    with open_scan(write_twix(tmp_path / "meas.dat", [(TEXTS, lines + rows)])) as scan:
        assert scan.header.slices == 2
        np.testing.assert_allclose(scan.kspace(1), kspace[1] + jitter[:, 1].mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(scan.noise(), single / np.sqrt(3), rtol=1e-5)


def test_reflected_lines_are_turned(tmp_path, kspace):
    """All of a scan whose readout runs backwards; its centre is counted as it was measured."""
    rows = []
    for samples, fields in readouts_of(kspace.conj()):
        n = samples.shape[1]
        rows.append((samples[:, ::-1], {**fields, "flags": ["REFLECT"], "CenterCol": n - 1 - n // 2}))
    with open_scan(write_twix(tmp_path / "meas.dat", [(TEXTS, rows)])) as scan:
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])


def test_other_lines_are_not_mixed_into_the_image(tmp_path, kspace):
    rng = np.random.default_rng(3)
    junk = 100 * rng.standard_normal((COILS, 2 * BASE))
    kinds = ["PHASCOR", "RTFEEDBACK", "HPFEEDBACK", "REFPHASESTABSCAN", "PHASESTABSCAN", "noname60",
             "MDH_VOP", "RETRO_DUMMYSCAN", "NOISEADJSCAN"]  # fmt: skip
    rows = [(junk, {"flags": [kind], "Lin": 14, "CenterLin": 14}) for kind in kinds]
    with open_scan(write_twix(tmp_path / "meas.dat", [(TEXTS, rows + readouts_of(kspace.conj()))])) as scan:
        assert scan.header.slices == 2
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])


def test_lines_to_be_corrected_in_scale_are_image_lines(tmp_path, kspace):
    """RAWDATACORRECTION marks every line of some sequences, as in the real 32-channel file."""
    rows = readouts_of(kspace.conj(), flags=["RAWDATACORRECTION", "ONLINE"])
    with open_scan(write_twix(tmp_path / "meas.dat", [(TEXTS, rows)])) as scan:
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])


def test_integrated_reference_lines_fill_in(tmp_path, kspace):
    middle = LINES // 2
    image = range(0, LINES, 2)
    inner = [n for n in image if abs(n - middle) <= 4]
    between = [n for n in range(middle - 4, middle + 4) if n % 2]
    both = ["PATREFANDIMASCAN", "PATREFSCAN"]
    rows = readouts_of(kspace.conj(), lines=[n for n in image if n not in inner])
    rows += readouts_of(kspace.conj(), lines=inner, flags=both)
    rows += readouts_of(kspace.conj(), lines=between, flags=["PATREFSCAN"])
    texts = protocol(BASE, LINES, reference=2)
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, rows)])) as scan:
        lines = scan.acquired(0).all(axis=0)
        assert lines[middle - 4 : middle + 4].all()
        assert lines.sum() == len(image) + len(between)
        assert scan.calibration(0) is None
        np.testing.assert_array_equal(scan.kspace(0), np.where(lines, kspace[0], 0))


def test_separate_reference_lines_make_the_maps_alone(tmp_path, kspace):
    """Their lines begin before the image's first one: counters below zero, stored without their sign."""
    other = 3 * kspace  # another contrast
    rows = []
    for samples, fields in readouts_of(other.conj(), lines=range(8, 20), flags=["PATREFSCAN"]):
        rows.append((samples, {**fields, "Lin": (fields["Lin"] - 10) % 65536, "CenterLin": LINES // 2 - 10}))
    rows += readouts_of(kspace.conj(), lines=range(0, LINES, 2))
    texts = protocol(BASE, LINES, reference=4)
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, rows)])) as scan:
        np.testing.assert_array_equal(scan.acquired(0).all(axis=0), np.arange(LINES) % 2 == 0)
        apart = scan.calibration(1)
        assert apart is not None
        np.testing.assert_array_equal(apart[..., 8:20], other[1][..., 8:20])
        assert not apart[..., :8].any()


def test_slices_come_in_the_protocols_order(tmp_path, kspace):
    """Interleaved: the counter has the order of measurement, the protocol that of space."""
    five = np.concatenate([kspace, 2 * kspace, 3 * kspace[:1]])
    places = np.stack([np.zeros(5), np.zeros(5), 6.0 * np.arange(5)], axis=1)
    measured = [0, 2, 4, 1, 3]
    texts = protocol(BASE, LINES, positions=places, order="0 2 4 1 3")
    rows = readouts_of(five[measured].conj(), None, places[measured])
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, rows)])) as scan:
        for index in range(5):
            np.testing.assert_array_equal(scan.kspace(index), five[index])
    # Readouts that say no place: the list of the protocol decides.
    rows = readouts_of(five[measured].conj())
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, rows)])) as scan:
        np.testing.assert_array_equal(scan.kspace(1), five[1])


def test_partial_fourier_and_a_partial_echo_lie_at_their_places(tmp_path, kspace):
    """6/8 of the lines, counted from the first one measured, and readouts without their beginning."""
    first, cut = LINES // 4, 20
    texts = protocol(BASE, LINES, measured=LINES - first)
    centre = {"CenterLin": LINES // 2 - first, "CenterCol": BASE - cut}
    rows = []
    for samples, fields in readouts_of(kspace.conj(), lines=range(first, LINES)):
        rows.append((samples[:, cut:], {**fields, "Lin": fields["Lin"] - first, **centre}))
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, rows)])) as scan:
        assert scan.header.matrix == (2 * BASE, LINES)
        expected = np.zeros((2 * BASE, LINES), bool)
        expected[cut:, first:] = True
        np.testing.assert_array_equal(scan.acquired(0), expected)
        np.testing.assert_array_equal(scan.kspace(0), np.where(expected, kspace[0], 0))
        assert scan.header.padding == (first, LINES)
        assert scan.header.pixel_mm == pytest.approx((1.0, 1.0))


def test_phase_oversampling_is_cut_off(tmp_path, kspace):
    texts = protocol(BASE, LINES, over=0.4)
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, readouts_of(kspace.conj()))])) as scan:
        assert scan.header.crop == (BASE, LINES / 1.4)
        assert scan.header.pixel_mm == pytest.approx((1.0, 1.0))


def test_frames_are_told_apart(tmp_path, kspace):
    rows = [*readouts_of(kspace.conj(), Rep=0), *readouts_of(2 * kspace.conj(), Rep=1)]
    with open_scan(write_twix(tmp_path / "meas.dat", [(TEXTS, rows)])) as scan:
        assert len(scan) == 4
        np.testing.assert_array_equal(scan.kspace(3), 2 * kspace[1])


def test_a_protocol_of_another_scan_is_not_believed(tmp_path, kspace):
    """Programmable sequences leave it; no readout says which line is the central one."""
    texts = protocol(BASE // 2, LINES // 2, factor=1.0)
    rows = readouts_of(kspace.conj(), CenterLin=0)
    with open_scan(write_twix(tmp_path / "meas.dat", [(texts, rows)])) as scan:
        assert scan.header.matrix == scan.header.crop == (2 * BASE, LINES)
        assert scan.header.pixel_mm is None
        assert any("another matrix" in note for note in scan.header.notes)
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])


@pytest.mark.parametrize(
    ("texts", "flags", "word"),
    [
        ({"trajectory": 2}, (), "radial"),
        ({"trajectory": 4}, (), "spiral"),
        ({"trajectory": 99}, (), "other"),
        ({"regrid": 2}, (), "EPI"),
        ({"more": "sSliceAcceleration.lMultiBandFactor\t = \t2\n"}, (), "SMS"),
        ({}, ("SLICE_ACCEL_REFSCAN",), "SMS"),
        ({}, ("FIRST_SCAN_IN_BLADE",), "BLADE"),
    ],
)
def test_other_kinds_are_refused_with_the_way_out(tmp_path, kspace, texts, flags, word):
    rows = readouts_of(kspace.conj(), flags=flags)
    message = refusal(write_twix(tmp_path / "meas.dat", [(protocol(BASE, LINES, **texts), rows)]))
    assert word in message
    assert "`siemens_to_ismrmrd -f meas.dat -o scan.h5`" in message


def test_epi_without_ramps_is_refused(tmp_path, kspace):
    rows = [(k, {**f, "flags": ["REFLECT"] if n % 2 else []}) for n, (k, f) in enumerate(readouts_of(kspace))]
    rows.append((rows[0][0], {"flags": ["PHASCOR"]}))
    assert "EPI" in refusal(write_twix(tmp_path / "meas.dat", [(TEXTS, rows)]))


def test_a_file_without_images_is_refused(tmp_path):
    lines = noise_lines(np.random.default_rng(0), 64)
    path = write_twix(tmp_path / "meas.dat", [(TEXTS, lines)])
    assert "none of its 1 measurements has readouts of an image" in refusal(path)
    assert "measurement 1 lacks readouts of an image" in refusal(path, measurement="1")


# What scanners wrote.


def test_the_real_gradient_echo_is_what_bart_reads(shared_data, tmp_path):
    path = shared_data / "kspace" / "twix_gre_2ch_phantom.dat"
    with open_scan(path) as scan:
        assert scan.header.matrix == (320, 160)
        assert scan.header.crop == (160, 160)
        assert scan.header.pixel_mm == pytest.approx((1.25, 1.25))
        assert scan.header.slice_mm == 4.0
        assert scan.header.geometry is not None
        place = scan.header.geometry.positions
        np.testing.assert_allclose(place, [[-2.58970, 53.92243, -53.99947]], atol=1e-4)
        kspace = scan.kspace(0)
        assert scan.acquired(0).all()
    if shutil.which("bart") is None:
        pytest.skip("bart is not installed: apt-get install bart")
    command = ["bart", "twixread", "-A", str(path), str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)
    from mrunfold.io.cfl import read_cfl

    theirs = read_cfl(tmp_path / "out").squeeze()  # (readout, phase, coil)
    np.testing.assert_array_equal(kspace, theirs.transpose(2, 0, 1).conj())


def test_the_water_in_the_real_phantom_is_level_in_front(shared_data):
    """It lies in the scanner as a patient on the back: its free surface is flat and anterior, its wall behind
    is round.  With the wrong sign of the transform they change places."""
    with open_scan(shared_data / "kspace" / "twix_gre_2ch_phantom.dat") as scan:
        geometry, crop = scan.header.geometry, scan.header.crop
        assert geometry is not None
        assert scan.header.contrast["patient_position"] == "HFS"
        image = np.linalg.norm(ifft2c(remove_oversampling(scan.kspace(0), scan.header)), axis=0)
    water = image > 0.3 * np.percentile(image, 99)
    r, c = (n - size // 2 for n, size in zip(np.indices(crop), crop, strict=True))
    x, y = (1.25 * (r * geometry.read[axis] + c * geometry.phase[axis]) for axis in (0, 1))  # mm, LPS
    strips = [water & (x >= begin) & (x < begin + 10) for begin in (-60, -40, -30, 20, 30, 50)]
    front = [np.percentile(y[strip], 1) for strip in strips]
    behind = [np.percentile(y[strip], 99) for strip in strips]
    assert np.ptp(front) < 2.5
    assert np.ptp(behind) > 10


@pytest.mark.parametrize(("name", "size", "coils"), [("16ch_128x128", 128, 16), ("32ch_64x64", 64, 32)])
def test_real_pulseq_files_are_read(shared_data, name, size, coils):
    with open_scan(shared_data / "kspace" / f"twix_pulseq_{name}_phantom.dat") as scan:
        assert scan.header.matrix == (size, size)
        assert scan.header.coils == coils
        assert scan.acquired(0).all()
        image = np.linalg.norm(ifft2c(scan.kspace(0)), axis=0)
    inside = image > 0.2 * image.max()
    assert 0.4 < inside.mean() < 0.8  # a sphere that fills most of the field of view
    assert inside[size // 2, size // 2]


def test_the_real_epi_is_refused(shared_data):
    message = refusal(shared_data / "kspace" / "twix_epi_2ch_phantom.dat")
    assert "EPI" in message
    assert "siemens_to_ismrmrd" in message
