"""A problem without spikes is that of the scan without these samples; without any nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrunfold import recon
from mrunfold.errors import InputError
from mrunfold.io.scan import Header
from mrunfold.masks import Mask, acquired, draw
from mrunfold.methods import get_method
from mrunfold.methods.held_out import hold_out
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.pipeline import ReconSettings
from mrunfold.prepare import ProblemSettings, build_problem, find_shared
from mrunfold.prepare_trajectory import build_trajectory_problem
from mrunfold.problem import Problem

SIZE = (128, 112)
DROP = ProblemSettings(cache=None)
KEEP = replace(DROP, spikes="keep")
EVERYTHING = np.ones(SIZE, bool)


def header(size: tuple[int, int], coils: int, rows: int | None = None) -> Header:
    rows = rows or size[0]
    return Header("fastmri", 1, coils, size, rows, (rows, size[1]))


def scan(coils: int = 6, size: tuple[int, int] = SIZE, seed: int = 0, reach: float = 0.8) -> np.ndarray:
    y = torch.linspace(-1, 1, size[0])[:, None]
    x = torch.linspace(-1, 1, size[1])
    head = torch.sigmoid(20 * (1 - (y / reach) ** 2 - (x / 0.65) ** 2))
    spot = torch.sigmoid(20 * (1 - ((y - 0.1) / 0.1) ** 2 - ((x + 0.2) / 0.1) ** 2))
    image = torch.polar(head + 0.5 * spot, 0.4 * y + 0.3 * x)
    generator = torch.Generator().manual_seed(seed)
    maps = simulated_maps(coils, size, generator)
    noise = torch.randn(maps.shape, dtype=maps.dtype, generator=generator)
    return (fft2c(maps * image) + 0.01 * noise).numpy().astype(np.complex64)


def spiked(kspace: np.ndarray, *places: tuple[int, int], height: float = 0.5) -> np.ndarray:
    found = kspace.copy()
    for y, x in places:
        found[:, y, x] += height * np.abs(kspace).max() * np.exp(1j * np.arange(len(kspace)))
    return found


def build(kspace: np.ndarray, mask: Mask, settings: ProblemSettings = DROP, **options) -> Problem:
    size = (kspace.shape[1], kspace.shape[2])
    return build_problem(
        kspace, header(size, len(kspace)), mask, acquired=np.ones(size, bool), settings=settings, **options
    )


def place_in(mask: Mask) -> tuple[int, int]:
    """Return a sampled place away from the centre and the axes."""
    places = np.argwhere(np.broadcast_to(mask.array, SIZE)[:40, :40])
    y, x = places[len(places) // 2].tolist()
    return y, x


KINDS = [("random", 3), ("poisson", 4), ("equispaced", 2)]


@pytest.mark.parametrize("coils", [1, 6, 12])
@pytest.mark.parametrize(("kind", "accel"), KINDS)
def test_without_spikes_nothing_changes(kind, accel, coils):
    mask = draw(kind, SIZE, accel, seed=1)
    dropped, kept = (build(scan(coils), mask, settings) for settings in (DROP, KEEP))
    assert torch.equal(dropped.y, kept.y)
    assert torch.equal(dropped.A.coil_maps(), kept.A.coil_maps())
    assert torch.equal(dropped.A.observed(), kept.A.observed())
    assert torch.equal(dropped.scale, kept.scale)
    assert torch.equal(dropped.target, kept.target)
    assert dropped.record["spikes"] == {"found": 0, "left_out": []}


@pytest.mark.parametrize("coils", [1, 6, 12])
@pytest.mark.parametrize(("kind", "accel"), KINDS)
def test_a_spike_leaves_the_mask_and_the_data(kind, accel, coils):
    mask = draw(kind, SIZE, accel, seed=1)
    y, x = place_in(mask)
    found = build(spiked(scan(coils), (y, x)), mask)
    clean = build(scan(coils), mask)
    expected = clean.A.observed().any(dim=0).clone()
    expected[y, x] = False
    assert torch.equal(found.A.observed().any(dim=0), expected)
    assert not found.y[:, y, x].any()
    assert found.record["spikes"] == {"found": 1, "left_out": [[y, x]]}
    assert any("1 spike, left out" in flag for flag in found.flags)
    assert found.record["noise"]["level"] == pytest.approx(clean.record["noise"]["level"], rel=0.02)
    assert float(found.scale) == pytest.approx(float(clean.scale), rel=0.01)


@pytest.mark.parametrize("coils", [1, 6])
def test_the_image_is_that_of_the_scan_without_the_sample(coils):
    mask = draw("random", SIZE, 3, seed=1)
    y, x = place_in(mask)
    array = np.broadcast_to(mask.array, SIZE).copy()
    array[y, x] = False
    sense = get_method("sense")

    def image(kspace: np.ndarray, mask: Mask, settings: ProblemSettings) -> torch.Tensor:
        problem = build(kspace, mask, settings)
        return problem.coil_rss(sense(problem).mean)

    without = image(scan(coils), replace(mask, array=array), DROP)
    found = image(spiked(scan(coils), (y, x)), mask, DROP)
    kept = image(spiked(scan(coils), (y, x)), mask, KEEP)
    scale = float(torch.linalg.vector_norm(without))
    assert float(torch.linalg.vector_norm(found - without)) < 5e-3 * scale
    assert float(torch.linalg.vector_norm(kept - without)) > 0.1 * scale


def test_kept_spikes_are_counted_and_said():
    mask = draw("random", SIZE, 3, seed=1)
    y, x = place_in(mask)
    found = build(spiked(scan(), (y, x)), mask, KEEP)
    assert found.record["spikes"] == {"found": 1, "left_out": []}
    assert any("1 spike, kept" in flag for flag in found.flags)
    assert found.A.observed().any(dim=0)[y, x]


def test_a_spike_in_the_centre_leaves_the_calibration_region_whole():
    mask = draw("random", SIZE, 3, seed=1)
    place = SIZE[0] // 2 + 9, SIZE[1] // 2 - 4
    found, clean = build(spiked(scan(), place, height=3.0), mask), build(scan(), mask)
    assert found.record["spikes"]["left_out"] == [list(place)]
    assert found.record["calibration"] == clean.record["calibration"]
    angle = (found.A.coil_maps() * clean.A.coil_maps().conj()).sum(dim=1).abs()
    inside = clean.target.abs() > 0.2
    assert float(angle[inside].min()) > 0.95


@pytest.mark.parametrize(("kind", "accel"), [("random", 3), ("poisson", 4)])
def test_what_is_held_out_is_as_without_the_spike(kind, accel):
    mask = draw(kind, SIZE, accel, seed=1)
    found, clean = build(spiked(scan(), place_in(mask)), mask), build(scan(), mask)
    with_spike, without = hold_out(found, 3), hold_out(clean, 3)
    there = without.there & found.A.observed().any(dim=0)
    assert torch.equal(with_spike.there, there)


def test_a_fully_sampled_scan_is_still_not_checked():
    found = build(spiked(scan(), (20, 20)), acquired(EVERYTHING))
    assert found.record["spikes"]["found"] == 1
    with pytest.raises(InputError, match="too few"):
        hold_out(found)


def test_the_target_has_no_spikes_either():
    mask = draw("random", SIZE, 3, seed=1)
    outside = np.argwhere(~np.broadcast_to(mask.array, SIZE)[:40, :40])[50].tolist()
    found, clean = build(spiked(scan(), tuple(outside)), mask), build(scan(), mask)
    assert found.record["spikes"]["found"] == 0
    error = torch.linalg.vector_norm(found.target - clean.target)
    assert float(error) < 5e-3 * float(torch.linalg.vector_norm(clean.target))


@pytest.mark.parametrize("row", [70, 71])
def test_readout_oversampling_does_not_spread_a_spike(row):
    size, rows = (256, 112), 128
    kspace = scan(4, size, reach=0.4)
    mask = draw("random", (rows, 112), 3, seed=1)
    x = int(np.flatnonzero(np.broadcast_to(mask.array, (rows, 112)).any(axis=0))[2])
    options = {"acquired": np.ones(size, bool), "settings": DROP}
    clean = build_problem(kspace, header(size, 4, rows), mask, **options)
    found = build_problem(spiked(kspace, (row, x)), header(size, 4, rows), mask, **options)
    gone = found.record["spikes"]["left_out"]
    assert gone == ([[35, x], [36, x]] if row == 71 else [[35, x]])
    seen = found.A.observed().any(dim=0)
    assert np.abs(kspace).max() / clean.record["noise"]["level"][0] > 1000
    assert float((found.y * found.scale - clean.y * clean.scale).abs()[:, seen].max()) < 5  # σ = 1
    assert float((found.target * found.scale - clean.target * clean.scale).abs().max()) < 5


def test_frames_share_maps_without_their_spikes():
    frames = [scan(4, seed=seed) for seed in (0, 0)]
    hit = [frames[0], spiked(frames[1], (20, 20))]
    found, clean = (
        find_shared([(one, EVERYTHING, 1.0) for one in some], header(SIZE, 4), None, settings=DROP)
        for some in (hit, frames)
    )
    assert np.allclose(found.coils.covariance, clean.coils.covariance, rtol=0.02, atol=1e-6)


def test_spikes_along_a_trajectory_are_left_out():
    reads, count, coils = 96, 80, 4
    angle = np.arange(count) * np.pi / count
    radius = (np.arange(reads) - reads // 2)[:, None] * 0.5
    trajectory = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1).astype(np.float32)
    distance = np.linalg.norm(trajectory, axis=-1)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, coils, reads, count))
    signal = 20 * np.exp(-((distance / 4) ** 2)) * np.exp(1j * np.arange(coils))[:, None, None]
    kspace = (signal + 0.02 * (noise[0] + 1j * noise[1])).astype(np.complex64)
    kept = np.ones((reads, count), bool)
    found, clean = (
        build_trajectory_problem(one, trajectory, (48, 48), kept, settings=DROP)
        for one in (spiked(kspace, (10, 7)), kspace)
    )
    assert found.record["spikes"] == {"found": 1, "left_out": [[10, 7]]}
    assert clean.record["spikes"]["found"] == 0
    assert not found.A.observed().any(dim=0)[10, 7]
    assert not found.y[:, 10, 7].any()
    assert found.target is None


def test_recon_of_an_array_says_so_and_can_keep_them():
    kspace = spiked(scan(4), (20, 20), (100, 80))
    left = recon(kspace, method="zero_filled", progress=False)
    kept = recon(kspace, method="zero_filled", spikes="keep", progress=False)
    plain = recon(scan(4), method="zero_filled", progress=False)
    assert any("2 spikes, left out" in flag for flag in left.record["flags"])
    assert any("2 spikes, kept" in flag for flag in kept.record["flags"])
    assert left.record["slices"][0]["problem"]["spikes"]["left_out"] == [[20, 20], [100, 80]]
    error = [np.linalg.norm(np.abs(one.image) - np.abs(plain.image)) for one in (left, kept)]
    assert error[0] < 0.05 * error[1]


@pytest.mark.parametrize("height", [0.5, 3.0])
def test_a_spike_is_not_the_centre_of_k_space(height):
    found = recon(spiked(scan(4), (20, 30), height=height), method="zero_filled", progress=False)
    assert found.record["slices"][0]["problem"]["spikes"]["left_out"] == [[20, 30]]
    assert not any("largest sample" in flag for flag in found.record["flags"])


def test_a_spike_of_a_3d_scan_is_left_out_of_all_its_slices():
    size = (24, 48, 40)
    y, x, z = (torch.linspace(-1, 1, n) for n in size)
    y, x, z = y[:, None, None], x[:, None], z
    body = torch.sigmoid(15 * (1 - (y / 0.8) ** 2 - (x / 0.7) ** 2 - (z / 0.7) ** 2))
    coils = torch.stack([torch.polar(torch.exp(-((y - a) ** 2) / 2 + 0 * x), a * y + x) for a in (-1, 0, 1)])
    axes = (1, 2, 3)
    image = torch.fft.ifftshift(coils * body, dim=axes)
    kspace = torch.fft.fftshift(torch.fft.fftn(image, dim=axes, norm="ortho"), dim=axes)
    noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(0))
    clean = (kspace + 0.01 * noise).numpy()
    hit = clean.copy()
    hit[:, 5, 8, 9] += 0.3 * np.abs(hit).max()
    found, plain = (recon(one, volume=True, method="zero_filled", progress=False) for one in (hit, clean))
    counts = [one["problem"]["spikes"]["found"] for one in found.record["slices"]]
    assert set(counts) == {1}
    assert not any(one["problem"]["spikes"]["found"] for one in plain.record["slices"])
    error = np.linalg.norm(np.abs(found.image) - np.abs(plain.image))
    assert error < 0.01 * np.linalg.norm(plain.image)


def test_a_word_that_is_neither_is_refused():
    with pytest.raises(InputError, match="drop or keep"):
        ReconSettings(spikes="maybe")
