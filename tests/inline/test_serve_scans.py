"""Scans of every kind come back as `recon` makes them: noise, reference lines, averages, frames, 3-D."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, letter_f, write_acquisitions
from serving import images, pixels, quick, recon, sent, serving, stacked
from volumefiles import fft3c, letters, noisy, write_mrd_volume

from mrunfold.inline import configurations

SHAPE, COILS = (40, 32), 4
LAST_IN_SLICE, LAST_IN_REPETITION, LAST = 8, 14, 25
NOISE, CALIBRATION, BOTH = 19, 20, 21


def announced(kspace: np.ndarray, mode: str | None = None, **counts: int) -> str:
    """The header of k-space (slice, coil, readout, phase), with the number of values of counters."""
    xml = header_xml(kspace, SHAPE)
    limits = "".join(
        f"<{name}><minimum>0</minimum><maximum>{count - 1}</maximum><center>0</center></{name}>"
        for name, count in counts.items()
    )
    xml = xml.replace("</encodingLimits>", f"{limits}</encodingLimits>")
    if mode is not None:
        factor = "<accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1></accelerationFactor>"
        how = f"<parallelImaging>{factor}<calibrationMode>{mode}</calibrationMode></parallelImaging>"
        xml = xml.replace("</encoding>", f"{how}</encoding>")
    return xml


def of(slices: int, factor: float = 1.0, seed: int = 0) -> np.ndarray:
    volume = np.stack([factor * (s + 1) * letter_f(SHAPE) for s in range(slices)])
    return coil_kspace(volume, COILS, noise=0.02, seed=seed)


def noise_scan(seed: int = 9) -> tuple[np.ndarray, dict]:
    draws = np.random.default_rng(seed).standard_normal((2, COILS, 400))
    correlated = np.linalg.cholesky(0.5 * np.eye(COILS) + 0.5) @ (draws[0] + 1j * draws[1])
    return 0.02 * np.sqrt(0.5) * correlated, {"flags": (NOISE,), "sample_time_us": 5.0}


def compared(path, tmp_path, method: str = "zero_filled") -> list:
    """Send a scan, hold its images against those of `recon`, and return the answers in order of arrival."""
    known = quick(tmp_path, method)
    with serving(known) as server:
        answers = sent(path, server)
    expected = recon(path, tmp_path, known["default"].settings)
    np.testing.assert_array_equal(stacked(answers), expected)
    assert expected.any()
    return [answer.image for answer in answers if answer.image is not None]


def test_interleaved_slices_undersampled_with_noise_and_reference_lines(tmp_path):
    kspace, rows = of(4), [noise_scan()]
    order = (0, 2, 1, 3)
    centre = range(SHAPE[1] // 2 - 6, SHAPE[1] // 2 + 6)
    for line in range(0, SHAPE[1], 2):
        for s in order:
            flags = (BOTH,) if line in centre else ()
            ends = (LAST_IN_SLICE,) if line == SHAPE[1] - 2 else ()
            about = {"kspace_encode_step_1": line, "slice": s, "sample_time_us": 5.0}
            rows.append((kspace[s, ..., line], {**about, "flags": flags + ends}))
        for s in order if line + 1 in centre else ():
            about = {"kspace_encode_step_1": line + 1, "slice": s, "sample_time_us": 5.0}
            rows.append((kspace[s, ..., line + 1], {**about, "flags": (CALIBRATION,)}))
    path = write_acquisitions(tmp_path / "scan.h5", rows, announced(kspace, "embedded"))
    came = compared(path, tmp_path, "sense")
    assert [image.slice for image in came] == list(order)


def test_a_calibration_scan_of_its_own_comes_first(tmp_path):
    kspace, reference = of(2), 0.5 * of(2, seed=3)
    rows = [noise_scan()]
    for s in range(2):
        for line in range(SHAPE[1] // 2 - 8, SHAPE[1] // 2 + 8):
            ends = (LAST_IN_SLICE,) if line == SHAPE[1] // 2 + 7 else ()
            about = {"kspace_encode_step_1": line, "slice": s, "flags": (CALIBRATION, *ends)}
            rows.append((reference[s, ..., line], about))
    for repetition in range(2):
        for s in range(2):
            for line in range(0, SHAPE[1], 2):
                about = {"kspace_encode_step_1": line, "slice": s, "repetition": repetition}
                ends = (LAST_IN_SLICE,) if line == SHAPE[1] - 2 else ()
                rows.append((kspace[s, ..., line] * (1 + repetition), {**about, "flags": ends}))
    xml = announced(kspace, "separate", repetition=2)
    path = write_acquisitions(tmp_path / "scan.h5", rows, xml)
    came = compared(path, tmp_path, "sense")
    assert [(image.repetition, image.slice) for image in came] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_slice_is_whole_with_its_last_average(tmp_path):
    rows = [noise_scan()]
    for average in range(3):
        kspace = of(2, seed=average)
        for s in range(2):
            for line in range(SHAPE[1]):
                ends = (LAST_IN_SLICE,) if line == SHAPE[1] - 1 else ()
                about = {"kspace_encode_step_1": line, "slice": s, "average": average, "flags": ends}
                rows.append((kspace[s, ..., line], about))
    path = write_acquisitions(tmp_path / "scan.h5", rows, announced(kspace, average=3))
    assert len(compared(path, tmp_path)) == 2


def test_echoes_of_a_slice_end_with_the_last_of_them(tmp_path):
    kspace, rows = of(2), []
    for s in range(2):
        for line in range(0, SHAPE[1] - 1):  # not all lines: the flags say when an image ends
            for echo in range(3):
                ends = (LAST_IN_SLICE,) if line == SHAPE[1] - 2 else ()
                about = {"kspace_encode_step_1": line, "slice": s, "contrast": echo, "flags": ends}
                rows.append((kspace[s, ..., line] * 0.7**echo, about))
    path = write_acquisitions(tmp_path / "scan.h5", rows, announced(kspace, contrast=3))
    came = compared(path, tmp_path)
    assert [(image.slice, image.contrast) for image in came] == [(s, e) for s in range(2) for e in range(3)]
    assert came[1].meta["Frame"] == "contrast 1"


def test_undersampled_slices_without_flags_come_at_the_end(tmp_path):
    kspace = of(3)
    centre = range(SHAPE[1] // 2 - 6, SHAPE[1] // 2 + 6)
    rows = [
        (kspace[s, ..., line], {"kspace_encode_step_1": line, "slice": s})
        for s in range(3)
        for line in range(SHAPE[1])
        if line % 3 == 1 or line in centre
    ]
    path = write_acquisitions(tmp_path / "scan.h5", rows, announced(kspace))
    assert len(compared(path, tmp_path)) == 3


@pytest.fixture
def volume() -> np.ndarray:
    """k-space (coil, readout, phase, partition)."""
    image, n = letters((24, 20, 12)), (24, 20, 12)
    axes = np.meshgrid(*(np.linspace(-1, 1, m) for m in n), indexing="ij")
    coils = np.stack([np.exp(-(((axes[0] - a) ** 2) + (axes[1] - b) ** 2)) for a in (-1, 1) for b in (-1, 1)])
    return noisy(fft3c(image * coils), 0.01)


def test_a_volume_comes_with_its_last_partition(volume, tmp_path):
    frame, position = np.eye(3), np.array([1.0, 2.0, 3.0])
    path = write_mrd_volume(tmp_path / "scan.h5", volume, frame=frame, position=position)
    (image,) = compared(path, tmp_path)
    assert image.matrix_size == (24, 20, 12)
    np.testing.assert_allclose(image.position, position)


def test_so_does_one_that_is_undersampled_along_both_phase_encodings(volume, tmp_path):
    mask = np.random.default_rng(0).random((20, 12)) < 0.6
    mask[6:14, 3:9] = True
    path = write_mrd_volume(tmp_path / "scan.h5", np.stack([volume, 2 * volume]), mask=mask)
    assert len(compared(path, tmp_path)) == 2


def test_samples_of_a_volume_have_the_seeds_of_their_place(volume, tmp_path):
    mask = np.ones((20, 12), bool)
    mask[0, 0] = False  # so that it is split along the readout
    protocol = tmp_path / "few.toml"
    protocol.write_text(
        'name = "few"\n[mask]\nseed = 0\n[method]\nname = "unfold"\n[method.parameters]\n'
        "samples = 2\nsteps = 2\npasses = 1\n"
    )
    known = configurations([str(protocol)], "cpu", {"check": 0})
    small = volume[:, 8:16]
    path = write_mrd_volume(tmp_path / "scan.h5", np.stack([small, 2 * small]), mask=mask)
    with h5py.File(path, "r+") as file:  # the header announces both repetitions
        xml = file["dataset/xml"][0].decode()
        counter = "<repetition><minimum>0</minimum><maximum>1</maximum><center>0</center></repetition>"
        file["dataset/xml"][0] = xml.replace("</encodingLimits>", f"{counter}</encodingLimits>").encode()
    with serving(known) as server:
        answers = sent(path, server)
    np.testing.assert_array_equal(stacked(answers, 2), recon(path, tmp_path, known["few"].settings, "std"))
    first, second = (pixels(image) for image in images(answers, 2))
    assert not np.allclose(2 * first, second), "both would have the same draws"
