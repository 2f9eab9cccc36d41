"""Averages and repetitions in the layouts that data sets publish come out as one better image.

fastMRI prostate T2 (https://github.com/cai2r/fastMRI_prostate, fastmri_prostate/data/mri_data.py and
reconstruction/t2/prostate_t2_recon.py; Tibrewala et al., Sci Data 11:404, 2024): `kspace` (average, slice,
coil, readout, phase) of three averages, two of which hold the odd lines and one the even ones, without the
lines that a scan leaves out at the ends (`zero_pad_kspace_hdr`), `calibration_data` (slice, coil, readout,
line), `reconstruction_rss` (slice, y, x), the header as `ismrmrd_header`.

M4Raw (https://github.com/mylyu/M4Raw, denoising_demo/dataloader/dataset.py; Lyu et al., Sci Data 10:264,
2023): a fastMRI file for each repetition, SUBJECT_T101.h5, SUBJECT_T102.h5, …, with `kspace` (slice, coil,
readout, phase).
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, ifft2c, letter_f, write_fastmri
from typer.testing import CliRunner

import mrunfold
from mrunfold.cli import main
from mrunfold.io import open_scan

READOUT, MATRIX, LINES = 96, 64, 50  # stored readout, encoded lines and what of them was measured
CROP = (48, 48)
NOISE = 0.03


def images() -> np.ndarray:
    """Two slices (slice, y, x) of 48² pixels, brighter than the noise by far."""
    one = letter_f(CROP)
    return np.stack([one, one[::-1] * 0.7])


def prostate(path, noise: float):
    """Write such a file and return the lines that it has of the encoded matrix."""
    wide = np.zeros((2, READOUT, MATRIX), np.float32)
    wide[:, 24:72, 8:56] = images()
    first = (MATRIX - LINES) // 2
    held = slice(first, first + LINES)
    odd = np.arange(LINES) % 2 == 1
    averages = []
    for number, lines in enumerate((odd, ~odd, odd)):
        draws = np.random.default_rng(number).standard_normal((2, 2, 4, READOUT, LINES))
        k = coil_kspace(wide, 4, noise=0.0)[..., held] + noise * np.sqrt(0.5) * (draws[0] + 1j * draws[1])
        averages.append(np.where(lines, k, 0))
    clean = coil_kspace(wide, 4, noise=0.0)
    padded = np.zeros_like(clean)
    padded[..., held] = clean[..., held]
    rss = np.linalg.norm(ifft2c(padded), axis=1)[:, 24:72, 8:56]
    xml = header_xml(clean, CROP).replace(f"<maximum>{MATRIX - 1}<", f"<maximum>{LINES - 1}<", 1)
    xml = xml.replace(f"<center>{MATRIX // 2}<", f"<center>{MATRIX // 2 - first}<", 1)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.stack(averages).astype(np.complex64)
        file["calibration_data"] = averages[0][..., 13:37].astype(np.complex64)
        file["reconstruction_rss"] = rss.astype(np.float32)
        file["ismrmrd_header"] = xml
        file.attrs["acquisition"], file.attrs["patient_id"] = "AXT2", "CANARY"
        file.attrs["max"], file.attrs["norm"] = rss.max(), np.linalg.norm(rss)
    return rss, padded


class TestProstate:
    def test_lines_of_all_averages_at_their_places(self, tmp_path):
        _, padded = prostate(tmp_path / "file_prostate_AXT2_001.h5", 0.0)
        with open_scan(tmp_path / "file_prostate_AXT2_001.h5") as scan:
            assert (scan.header.slices, scan.header.coils) == (2, 4)
            assert scan.header.matrix == (READOUT, MATRIX)
            assert scan.header.padding == (7, 57)
            np.testing.assert_allclose(scan.kspace(1), padded[1], atol=1e-5)
            assert scan.acquired(0)[:, 7:57].all()

    def test_the_command_gives_the_files_own_image(self, tmp_path):
        path = tmp_path / "file_prostate_AXT2_001.h5"
        rss, _ = prostate(path, NOISE)
        words = ["recon", path, "--method", "sense", "--no-cache", "--quiet", "--out", tmp_path / "o"]
        result = CliRunner().invoke(main.app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        with h5py.File(tmp_path / "o" / "recon.h5") as file:
            found = file["reconstruction"][()]
        assert found.shape == rss.shape
        bright = rss > 0.3
        assert np.linalg.norm((found - rss)[bright]) < 0.1 * np.linalg.norm(rss[bright])
        for turned in (found[:, ::-1], found[:, :, ::-1]):
            assert np.linalg.norm(turned - rss) > 3 * np.linalg.norm(found - rss)


class TestM4Raw:
    @pytest.fixture(scope="class")
    @staticmethod
    def files(tmp_path_factory):
        folder = tmp_path_factory.mktemp("m4raw")
        paths = []
        for number in range(3):
            clean = coil_kspace(images(), 4, noise=0.0)
            draws = np.random.default_rng(number).standard_normal((2, *clean.shape))
            noisy = clean + 0.06 * np.sqrt(0.5) * (draws[0] + 1j * draws[1])
            paths.append(write_fastmri(folder / f"2022061003_T10{number + 1}.h5", noisy))
        return paths

    @staticmethod
    def stacked(files) -> np.ndarray:
        repetitions = []
        for path in files:
            with open_scan(path) as scan:
                repetitions.append(np.stack([scan.kspace(i) for i in range(len(scan))]))
        return np.stack(repetitions)  # (repetition, slice, coil, readout, phase)

    def test_repetitions_are_frames_and_their_mean_is_better(self, files):
        kspace = self.stacked(files)
        how = {"method": "sense", "progress": False, "map_sets": 1}
        frames = mrunfold.recon(kspace, **how)
        mean = mrunfold.recon(kspace.mean(axis=0), **how)
        assert frames.image.shape == (3, 2, *CROP)
        assert np.mean(mean.sigma) == pytest.approx(np.mean(frames.sigma) / np.sqrt(3), rel=0.05)
        clean = coil_kspace(images(), 4, noise=0.0)
        alike = {"method": "zero_filled", "progress": False, "maps": frames.maps[0][:, None], "sigma": 0.06}
        truth, one, all_three = (
            mrunfold.recon(k, **alike).image for k in (clean, kspace[0], kspace.mean(axis=0))
        )
        error = [float(np.linalg.norm(found - truth)) for found in (one, all_three)]
        assert error[1] == pytest.approx(error[0] / np.sqrt(3), rel=0.1)

    def test_the_command_takes_a_repetition(self, files, tmp_path):
        words = ["recon", files[1], "--method", "sense", "--no-cache", "--quiet", "--out", tmp_path / "o"]
        result = CliRunner().invoke(main.app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        with h5py.File(tmp_path / "o" / "recon.h5") as file:
            found = file["reconstruction"][()]
        truth = images()
        assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.9
