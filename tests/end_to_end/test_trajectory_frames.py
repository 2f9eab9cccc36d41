"""Frames along trajectories, named trajectories, and Siemens files of radial and spiral readouts.

No radial or spiral twix file is at hand: twixtools writes them.  k-space is the Fourier integral of points.
"""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io
from twixfiles import protocol, quaternion, write_twix
from typer.testing import CliRunner
from volumefiles import bart

import mrunfold
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.cfl import read_cfl
from mrunfold.io.trajectory import Trajectory

SIZE, READOUT, SPOKES = 32, 64, 48
GOLDEN = np.deg2rad(111.24611797)
POINTS = {(5, -9): 1.0, (-7, 3): 0.6}  # pixels from the centre along the read and the phase direction
AXES = (np.array([0.0, 1, 0]), np.array([1.0, 0, 0]), np.array([0.0, 0, 1]))  # read, phase, slice
CENTRE = np.array([3.0, -4.0, 20.0])
SIGMA = 0.02


def golden(count: int = SPOKES, first: int = 0) -> np.ndarray:
    """(readout, spoke, 2) in cycles per field of view, twice oversampled."""
    r = (np.arange(READOUT) - READOUT // 2)[:, None] / 2
    angle = GOLDEN * (np.arange(count) + first)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)


def spiral() -> np.ndarray:
    """(readout, interleaf, 2), 24 interleaves from the centre outwards."""
    t = np.linspace(0, 1, 160)[:, None]
    k = 15.9 * t * np.exp(1j * (14 * t + 2 * np.pi * np.arange(24) / 24))
    return np.stack([k.real, k.imag], axis=-1)


def signal(trajectory: np.ndarray, factor: complex = 1.0, seed: int = 0) -> np.ndarray:
    """k-space (coil, readout, interleaf) of the points seen by three coils, with noise."""
    waves = [a * np.exp(-2j * np.pi * (trajectory @ np.array(p)) / SIZE) for p, a in POINTS.items()]
    clean = factor * sum(waves) * np.array([1, 0.6j, -0.4])[:, None, None]
    draws = np.random.default_rng(seed).standard_normal((2, *clean.shape))
    return (clean + SIGMA * np.sqrt(0.5) * (draws[0] + 1j * draws[1])).astype(np.complex64)


def noise_scan(samples: int = 2000) -> np.ndarray:
    draws = np.random.default_rng(9).standard_normal((2, 3, samples))
    return SIGMA * np.sqrt(0.5) * (draws[0] + 1j * draws[1])


def run(*words) -> str:
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def stand(image: np.ndarray) -> None:
    """Check that the brightest pixels are the points."""
    image = np.abs(image).copy()
    for point in POINTS:
        place = np.unravel_index(image.argmax(), image.shape)
        assert place == (SIZE // 2 + point[0], SIZE // 2 + point[1])
        image[place[0] - 2 : place[0] + 3, place[1] - 2 : place[1] + 3] = 0


class TestArrays:
    def test_by_name(self):
        found = mrunfold.recon(
            signal(golden()), trajectory="golden-angle", matrix=SIZE, method="sense", progress=False
        )
        stand(found.image)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"trajectory": "golden"}, "did you mean golden-angle"),
            ({"trajectory": "golden-angle"}, "add `matrix`"),
        ],
    )
    def test_names_that_do_not_do(self, given, words):
        with pytest.raises(InputError, match=words):
            mrunfold.recon(signal(golden()), progress=False, **given)

    def test_frames_with_spokes_of_their_own(self):
        trajectories = np.stack([golden(SPOKES, n * SPOKES) for n in range(3)])
        factors = (1.0, -0.5, 0.2)
        kspace = np.stack(
            [signal(t, f, n) for n, (t, f) in enumerate(zip(trajectories, factors, strict=True))]
        )
        how = {
            "trajectory": trajectories,
            "matrix": SIZE,
            "method": "sense",
            "progress": False,
            "map_sets": 1,
        }
        found = mrunfold.recon(kspace[:, None], **how)
        assert found.image.shape == (3, 1, SIZE, SIZE)
        for image in found.image[:, 0]:
            stand(image)
        said = found.record["slices"][0]["problem"]
        assert (said["together"], said["frames"]) == (3, [0, 1, 2])
        assert len({level for one in found.sigma for level in one}) == 1
        assert found.sigma[0][0] == pytest.approx(SIGMA, rel=0.15)
        np.testing.assert_array_equal(found.maps[0], found.maps[2])
        apart = mrunfold.recon(kspace[:, None], per_frame=True, **how)
        assert len({level for one in apart.sigma for level in one}) == 3

    def test_too_few_spokes_a_frame_are_calibrated_from_all(self):
        trajectories = np.stack([golden(3, n * 3) for n in range(8)])
        kspace = np.stack([signal(t, 1.0, n) for n, t in enumerate(trajectories)])
        how = {
            "trajectory": trajectories,
            "matrix": SIZE,
            "method": "sense",
            "progress": False,
            "map_sets": 1,
        }
        found = mrunfold.recon(kspace[:, None], **how)
        assert found.record["slices"][0]["problem"]["interleaves_together"] == 24
        apart = mrunfold.recon(kspace[:, None], per_frame=True, **how)
        at = tuple(SIZE // 2 + n for n in (5, -9))
        truth = np.array([1, 0.6j, -0.4]) / np.linalg.norm([1, 0.6, 0.4])
        alike = [
            np.abs(truth.conj() @ maps[:, at[0], at[1]])
            for maps in (found.maps[0, 0], *(one for one in apart.maps[:, 0]))
        ]
        assert alike[0] > 0.99
        assert alike[0] > np.mean(alike[1:])


def test_a_measured_golden_angle_scan_by_name(shared_data):
    """The scan of knoll_abdomen: its spokes begin at 90°, so the image by name is turned by that."""
    kspace = scipy.io.loadmat(shared_data / "kspace" / "knoll_abdomen_radial_GA600.mat")["k"][None, :, :100]
    how = {"matrix": 384, "method": "zero_filled", "progress": False}
    by_name = mrunfold.recon(kspace, trajectory="golden-angle", **how).magnitude
    r, angle = np.linspace(-192, 192, 384)[:, None], np.pi / 2 + GOLDEN * np.arange(100)
    own = mrunfold.recon(
        kspace, trajectory=np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1), **how
    ).magnitude
    alike = [np.corrcoef(np.rot90(by_name, n).ravel(), own.ravel())[0, 1] for n in range(4)]
    assert np.argmax(alike) == 1
    assert alike[1] > 0.9
    assert max(alike[n] for n in (0, 2, 3)) < 0.7


class TestBart:
    def test_turns_of_golden_spokes_are_frames(self, tmp_path):
        """BART's own trajectory of three turns (dimension 10), its phantom along it, and its image."""
        size = 48
        bart(tmp_path, "traj", "-r", "-G", "-x", str(2 * size), "-y", "41", "-t", "3", "full")
        bart(tmp_path, "scale", "0.5", "full", "traj")
        bart(tmp_path, "phantom", "-s", "3", "-k", "-t", "traj", "clean")
        bart(tmp_path, "noise", "-s", "1", "-n", "25", "clean", "ksp")
        bart(tmp_path, "phantom", "-s", "3", "-x", str(size), "coils")
        bart(tmp_path, "rss", "8", "coils", "image")
        how = ["--trajectory", tmp_path / "traj", "--matrix", size, "--method", "sense", "--map-sets", 1]
        run("recon", tmp_path / "ksp", *how, "--no-cache", "--check", 0, "--quiet", "--out", tmp_path / "o")
        with h5py.File(tmp_path / "o" / "recon.h5") as file:
            found = file["reconstruction"][()]
        truth = np.abs(read_cfl(tmp_path / "image.cfl"))
        assert found.shape == (3, size, size)
        for image in found:
            assert np.corrcoef(image.ravel(), truth.ravel())[0, 1] > 0.9
        assert nibabel.load(tmp_path / "o" / "recon.nii.gz").shape == (size, size, 1, 3)
        with open_scan(tmp_path / "ksp", trajectory=Trajectory(tmp_path / "traj", (size, size))) as scan:
            assert [label["phase"] for label in scan.header.frames.labels] == [0, 1, 2]
            theirs = read_cfl(tmp_path / "traj.cfl").reshape(3, 2 * size, 41, 3)
            for frame in range(3):
                np.testing.assert_allclose(scan.trajectory(frame)[..., 0], theirs[0, ..., frame].real)


class TestTwix:
    def written(self, folder, k: np.ndarray, repetitions: int = 1):
        """A radial or spiral file of one slice: Siemens' sign of the transform, a noise scan before it."""
        turned = {"quaternion": quaternion(AXES), "position": CENTRE}
        noise = [(noise_scan(), {"flags": ["NOISEADJSCAN"]})]
        readouts = list(noise)
        for repetition in range(repetitions):
            kspace = signal(k, 1.0 - 0.5 * repetition, repetition).conj()
            for n in range(kspace.shape[-1]):
                counters = {"Lin": n, "Rep": repetition}
                readouts.append((kspace[..., n], {**counters, **turned}))
        trajectory = 2 if k.shape[0] == READOUT else 4
        texts = protocol(
            SIZE, SIZE, trajectory=trajectory, pixel_mm=(2.0, 2.0), positions=[CENTRE], name="AdjX"
        )
        return write_twix(folder / "meas.dat", [(texts, readouts)])

    def test_golden_angle_by_name(self, tmp_path):
        path = self.written(tmp_path, golden(), repetitions=2)
        assert "radial, 48 interleaves" in run("info", path, "--trajectory", "golden-angle")
        with open_scan(path, trajectory=Trajectory.of("golden-angle")) as scan:
            assert (scan.header.format, scan.header.crop) == ("twix", (SIZE, SIZE))
            assert [label["repetition"] for label in scan.header.frames.labels] == [0, 1]
            assert scan.header.pixel_mm == (2.0, 2.0)
            assert scan.noise().shape == (3, 2000)
        how = ["--trajectory", "golden-angle", "--method", "sense", "--no-cache", "--quiet", "--check", 0]
        run("recon", path, *how, "--out", tmp_path / "o")
        with h5py.File(tmp_path / "o" / "recon.h5") as file:
            for image in file["reconstruction"][()]:
                stand(image)
        nifti = nibabel.load(tmp_path / "o" / "recon.nii.gz")
        assert nifti.shape == (SIZE, SIZE, 1, 2)
        place = CENTRE + 2 * (5 * AXES[0] - 9 * AXES[1])  # of the brightest point, LPS
        index = np.linalg.solve(nifti.affine, [*(place * (-1, -1, 1)), 1])[:3]
        brightest = np.unravel_index(np.asarray(nifti.dataobj)[..., 0].argmax(), nifti.shape[:3])
        np.testing.assert_allclose(index, brightest, atol=0.01)

    def test_spiral_from_a_file_with_samples_and_batch(self, tmp_path):
        (tmp_path / "raw").mkdir()
        path = self.written(tmp_path / "raw", spiral())
        np.save(tmp_path / "spiral.npy", spiral())
        how = ["--trajectory", tmp_path / "spiral.npy", "--samples", 2, "--steps", 2, "--no-cache", "--quiet"]
        run("recon", path, *how, "--out", tmp_path / "o", "--seed", "name")
        run("batch", tmp_path / "raw", *how, "--out", tmp_path / "b")
        with h5py.File(tmp_path / "o" / "recon.h5") as one, h5py.File(tmp_path / "b" / "meas.h5") as many:
            np.testing.assert_array_equal(one["reconstruction"][()], many["reconstruction"][()])
            assert one["std"][()].max() > 0
            stand(one["reconstruction"][0])

    def test_without_a_trajectory_it_says_so(self, tmp_path):
        with pytest.raises(InputError, match="give the `trajectory`, a file of it or golden-angle"):
            open_scan(self.written(tmp_path, golden()))
        result = CliRunner().invoke(main.app, ["recon", "x.dat", "--trajectory", "golden"])
        assert result.exit_code == 2
        assert "did you mean golden-angle" in " ".join(result.output.split())


class TestMrd:
    def written(self, folder, trajectories, carry: bool):
        ismrmrd = pytest.importorskip("ismrmrd")
        from test_trajectories import HEADER

        file = ismrmrd.Dataset(str(folder / "a.h5"))
        file.write_xml_header(HEADER.format(size=SIZE))
        noise = ismrmrd.Acquisition.from_array(noise_scan().astype(np.complex64))
        noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        noise.sample_time_us = 5.0
        file.append_acquisition(noise)
        for repetition, k in enumerate(trajectories):
            kspace = signal(k, 1.0 - 0.4 * repetition, repetition)
            for n in range(kspace.shape[-1]):
                points = (k[:, n] / SIZE).astype(np.float32)
                one = ismrmrd.Acquisition.from_array(kspace[..., n], *((points,) if carry else ()))
                one.idx.repetition, one.sample_time_us, one.center_sample = repetition, 5.0, READOUT // 2
                file.append_acquisition(one)
        file.close()
        return folder / "a.h5"

    def test_repetitions_are_frames_and_the_noise_scan_is_used(self, tmp_path):
        path = self.written(tmp_path, [golden(SPOKES, n * SPOKES) for n in range(2)], True)
        with open_scan(path) as scan:
            assert [label["repetition"] for label in scan.header.frames.labels] == [0, 1]
            assert not np.array_equal(scan.trajectory(0), scan.trajectory(1))
            assert np.sqrt((np.abs(scan.noise()) ** 2).mean()) == pytest.approx(SIGMA, rel=0.03)
        how = ["--method", "sense", "--no-cache", "--quiet", "--check", 0]
        run("recon", path, *how, "--out", tmp_path / "o")
        with h5py.File(tmp_path / "o" / "recon.h5") as file:
            for image in file["reconstruction"][()]:
                stand(image)
        import json

        record = json.loads((tmp_path / "o" / "record.json").read_text())
        assert record["slices"][1]["problem"]["noise"]["source"] == "noise scan"
        assert record["slices"][1]["problem"]["together"] == 2

    def test_a_trajectory_by_name(self, tmp_path):
        path = self.written(tmp_path, [golden()], False)
        with pytest.raises(InputError, match="carry none"):
            open_scan(path)
        with open_scan(path, trajectory=Trajectory.of("golden-angle")) as scan:
            np.testing.assert_allclose(scan.trajectory(0), golden(), atol=1e-4)
