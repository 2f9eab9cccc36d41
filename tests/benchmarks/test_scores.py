"""Scores against the full data, simulated scans to score on, and what maps explain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mrunfold.benchmarks.datasets import FullSlice, full_slices, scanned, windowed
from mrunfold.benchmarks.quality.explained import bodies, explained
from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.coils import EspiritSettings
from mrunfold.masks import draw
from mrunfold.operators import ifft2c
from mrunfold.phantoms.bodies import body
from mrunfold.prepare import ProblemSettings, build_problem


def torso(**options) -> FullSlice:
    return scanned(body("torso", (64, 56)), "torso", 6, 0.002, **options)


def rss(full: FullSlice) -> np.ndarray:
    return np.linalg.norm(ifft2c(torch.from_numpy(full.kspace)).numpy(), axis=0)


def test_the_score_by_coil_images_sees_what_the_maps_cannot():
    full = torso(shading=3.0)
    mask = draw("poisson", (64, 56), 2, seed=0)
    found = []
    for sets in (1, 2):
        settings = ProblemSettings(espirit=EspiritSettings(sets=sets), cache=None)
        problem = build_problem(
            full.kspace, full.header, mask, acquired=np.ones((64, 56), bool), settings=settings
        )
        judge = Judge.of(full.kspace, problem)
        assert judge.psnr(problem.target) > 100, "the combined target is right by itself"
        found.append(judge.rss(problem.target))
    assert found[1] > found[0] + 3


def test_shading_falls_by_what_was_asked():
    flat = np.ones((64, 64), np.complex64)
    light = rss(scanned(flat, "flat", 8, 0.0, shading=10.0))
    assert light.max() / light.min() == pytest.approx(10, rel=0.05)
    assert np.ptp(rss(scanned(flat, "flat", 8, 0.0))) < 1e-3


def test_a_window_attenuates_and_empties_nothing():
    full = torso()
    filtered = windowed(full)
    assert filtered.name == "hann torso"
    ratio = np.abs(filtered.kspace) / np.abs(full.kspace)
    assert ratio[:, 32, 28] == pytest.approx(1, abs=0.01)
    assert 0 < ratio.min() < 1e-4


def test_arrays_of_images_are_scanned(tmp_path: Path):
    image = np.abs(body("knee", (40, 36)))
    np.savez(tmp_path / "some.npz", exam=np.stack([image, image.T[:36].T]).astype(np.float32))
    first, second = full_slices(tmp_path / "some.npz", coils=3)
    assert (first.name, second.name) == ("some/exam/0", "some/exam/1")
    assert first.kspace.shape == (3, 40, 36)
    assert first.simulated
    assert next(s.name for s in full_slices(tmp_path)).startswith(tmp_path.name)
    again = next(iter(full_slices(tmp_path / "some.npz", coils=3)))
    np.testing.assert_array_equal(again.kspace, first.kspace)


def test_what_maps_explain():
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 4, 8, 8)) + 1j * rng.standard_normal((2, 4, 8, 8))
    image = rng.standard_normal((2, 1, 8, 8))
    inside = np.ones((8, 8), bool)
    assert explained((maps * image).sum(axis=0), maps, inside) > 80
    assert explained((maps * image).sum(axis=0), maps[:1], inside) < 10


def test_bodies_reach_the_edge():
    for full in bodies():
        light = rss(full)
        edges = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
        assert (edges > 0.1 * light.max()).mean() > 0.05, full.name
