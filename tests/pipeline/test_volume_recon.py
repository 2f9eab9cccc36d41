"""3-D scans through the pipeline: what slices share, what is written, and what an interruption leaves."""

from __future__ import annotations

import json

import h5py
import nibabel
import numpy as np
import pytest
from volumefiles import SIGMA, SIZE, coils3d, fft3c, letters, noisy, write_bart, write_mrd_volume

from mrunfold.io import open_scan
from mrunfold.masks import poisson
from mrunfold.pipeline import ReconSettings, reconstruct


@pytest.fixture(scope="module")
def scan():
    """k-space of a bright block with an F in it, of 4 coils, undersampled by points in ky-kz."""
    image = letters(SIZE) + 0.5
    image[:3] = image[-3:] = image[:, :3] = image[:, -3:] = image[:, :, :3] = image[:, :, -3:] = 0
    maps = coils3d(4)
    full = noisy(fft3c(maps * image), SIGMA)
    mask = poisson(SIZE[1:], 2, seed=0, calibration=12).array
    return image, maps, full, mask


def settings(**more) -> ReconSettings:
    return ReconSettings(**{"method": "sense", "cache": False, "check": 0} | more)


class TestShared:
    @pytest.fixture(scope="class")
    def result(self, scan, tmp_path_factory):
        folder = tmp_path_factory.mktemp("shared")
        path = write_bart(folder / "a.cfl", scan[2] * scan[3])
        summary = reconstruct(path, folder / "out", settings(save=("maps",)))
        with h5py.File(folder / "out" / "recon.h5") as file:
            return summary.record, {name: file[name][()] for name in ("reconstruction", "image", "maps")}

    def test_one_noise_model_and_one_scale(self, result):
        problems = [one["problem"] for one in result[0]["slices"]]
        assert len({one["scale"] for one in result[0]["slices"]}) == 1
        assert len({tuple(one["noise"]["level"]) for one in problems}) == 1
        np.testing.assert_allclose(problems[0]["noise"]["level"], SIGMA, rtol=0.15)

    def test_the_image_and_its_axes(self, scan, result):
        found = result[1]["reconstruction"]
        truth = np.moveaxis(scan[0], -1, 0)  # (partition, readout, phase)
        assert found.shape == truth.shape
        error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
        assert error < 0.12
        for axis in range(3):  # no turn of it fits as well
            assert np.linalg.norm(np.flip(found, axis) - truth) > 2 * np.linalg.norm(found - truth)

    def test_maps_are_those_of_the_coils(self, scan, result):
        maps = result[1]["maps"][:, 0]  # (partition, coil, readout, phase)
        truth = np.moveaxis(scan[1], -1, 0)
        inside = np.moveaxis(scan[0], -1, 0) > 0
        alike = np.abs((maps.conj() * truth).sum(axis=1))[inside]
        assert np.quantile(alike, 0.05) > 0.97

    def test_phase_of_maps_is_continuous_across_the_slices(self, scan, result):
        maps = result[1]["maps"][:, 0]
        inside = np.moveaxis(scan[0], -1, 0) > 0
        there = np.linalg.norm(maps, axis=1) > 0
        both = (inside & there)[:, 1:] & (inside & there)[:, :-1]
        step = (maps[:, :, 1:].conj() * maps[:, :, :-1]).sum(axis=1)[both]
        assert np.abs(np.angle(step)).max() < 0.3  # radians from one slice to the next
        image = result[1]["image"]
        turn = np.angle(image[:, 1:] * image[:, :-1].conj())[both]
        assert np.quantile(np.abs(turn), 0.99) < 0.5


class TestMasks:
    def test_points_are_drawn_in_both_phase_encodings(self, scan, tmp_path):
        path = write_bart(tmp_path / "a.cfl", scan[2])
        drawn = settings(mask="poisson", accel=3.0, calibration=10)
        summary = reconstruct(path, tmp_path / "out", drawn)
        assert summary.record["mask"]["shape"] == SIZE[1:]
        assert summary.record["mask"]["delivered"] == pytest.approx([3, 3], rel=0.01)
        assert summary.record["metrics"]["psnr"] > 20
        assert not any("simulation" in flag for flag in summary.record["flags"])
        with h5py.File(tmp_path / "out" / "recon.h5") as file:
            assert file["mask"].shape == (1, *SIZE[1:])
            assert file["target"].shape == (SIZE[2], *SIZE[:2])

    def test_lines_leave_the_partitions_complete(self, scan, tmp_path):
        path = write_bart(tmp_path / "a.cfl", scan[2])
        drawn = settings(mask="random", accel=2.0, center_fraction=0.3)
        summary = reconstruct(path, tmp_path / "out", drawn)
        assert summary.record["mask"]["shape"] == SIZE[:2]
        assert len(summary.record["slices"]) == SIZE[2]
        assert len({one["scale"] for one in summary.record["slices"]}) == 1
        assert any("complete partitions" in flag for flag in summary.record["flags"])


def test_some_slices_are_those_of_all(scan, tmp_path):
    path = write_bart(tmp_path / "a.cfl", scan[2] * scan[3])
    reconstruct(path, tmp_path / "all", settings())
    reconstruct(path, tmp_path / "some", settings(slices="5,9"))
    every, some = (nibabel.load(tmp_path / n / "recon.nii.gz").get_fdata() for n in ("all", "some"))
    assert some.shape == (*SIZE[:2], 2)
    np.testing.assert_array_equal(some, every[..., [5, 9]])


def test_an_ismrmrd_scan_with_oversampling_a_noise_scan_and_repetitions(scan, tmp_path):
    image, maps, _, mask = scan
    wide = np.zeros((4, 2 * SIZE[0], *SIZE[1:]), np.complex64)
    wide[:, SIZE[0] // 2 : SIZE[0] // 2 + SIZE[0]] = maps * image
    rng = np.random.default_rng(1)
    noise = SIGMA * (rng.standard_normal((4, 4096)) + 1j * rng.standard_normal((4, 4096))) / np.sqrt(2)
    volumes = np.stack([noisy(fft3c(wide), SIGMA, seed=s) * (1 + s) for s in range(2)])
    path = write_mrd_volume(tmp_path / "a.h5", volumes, SIZE, mask=mask, noise=noise)
    with open_scan(path) as opened:
        assert opened.header.images.crop == SIZE[:2]
        assert opened.header.images.slices == 2 * SIZE[2]
        np.testing.assert_array_equal(opened.acquired(0), mask)
    record = reconstruct(path, tmp_path / "out", settings()).record
    assert record["slices"][0]["problem"]["noise"]["source"] == "noise scan"
    with h5py.File(tmp_path / "out" / "recon.h5") as file:
        found = file["reconstruction"][()]
    first, second = found[: SIZE[2]], found[SIZE[2] :]
    truth = np.moveaxis(image, -1, 0)
    assert np.linalg.norm(first - truth) < 0.15 * np.linalg.norm(truth)
    assert np.linalg.norm(second - 2 * truth) < 0.15 * np.linalg.norm(2 * truth)


def test_samples(scan, tmp_path):
    path = write_bart(tmp_path / "a.cfl", (scan[2] * scan[3])[:, 8:16])
    drawn = settings(method="unfold", parameters={"samples": 2, "steps": 2}, keep_samples=True)
    summary = reconstruct(path, tmp_path / "out", drawn)
    assert "std.nii.gz" in summary.files
    with h5py.File(tmp_path / "out" / "recon.h5") as file:
        draws = np.stack([file["sample_01"][()], file["sample_02"][()]])
        np.testing.assert_allclose(file["std"][()], draws.std(axis=0, ddof=1), rtol=1e-3, atol=1e-6)
        assert file["std"][()].max() > 0
    assert json.loads((tmp_path / "out" / "record.json").read_text())["target_kind"] == "combined"


def test_a_batch_that_was_stopped_goes_on(scan, tmp_path, monkeypatch):
    from mrunfold.batch import run_batch
    from mrunfold.pipeline.slices import Job

    path = write_bart(tmp_path / "a.cfl", scan[2] * scan[3])
    run_batch([path], tmp_path / "whole", settings())
    plain, done = Job.reconstruct, []

    def until(count):
        def reconstruct_or_stop(self, index, *given, **named):
            if len(done) == count:
                raise KeyboardInterrupt
            done.append(index)
            return plain(self, index, *given, **named)

        return reconstruct_or_stop

    monkeypatch.setattr(Job, "reconstruct", until(10))
    with pytest.raises(KeyboardInterrupt):
        run_batch([path], tmp_path / "out", settings())
    assert not (tmp_path / "out" / "a.h5").exists()
    monkeypatch.setattr(Job, "reconstruct", until(-1))
    run_batch([path], tmp_path / "out", settings())
    assert done == list(range(SIZE[0]))  # each position once
    assert not list((tmp_path / "out").glob(".*positions"))
    found, whole = (h5py.File(tmp_path / n / "a.h5") for n in ("out", "whole"))
    with found, whole:
        np.testing.assert_array_equal(found["reconstruction"][()], whole["reconstruction"][()])
