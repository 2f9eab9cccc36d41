"""Spikes are found where they are, and no sample of an object is taken for one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.io import open_scan, spikes
from mrunfold.io.spikes import find_spikes, find_spikes_along, spikes_words
from mrunfold.masks import draw
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import simulated_maps

SIZE = (128, 112)
EVERYTHING = np.ones(SIZE, bool)
DATA = Path(os.environ.get("MRUNFOLD_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def head(size: tuple[int, int] = SIZE) -> np.ndarray:
    y = np.linspace(-1, 1, size[0])[:, None]
    x = np.linspace(-1, 1, size[1])
    inside = (y / 0.8) ** 2 + (x / 0.65) ** 2 < 1
    spots = sum(
        0.3 * ((y - v) ** 2 + (x - u) ** 2 < r**2)
        for v, u, r in ((0.3, 0.1, 0.2), (-0.2, -0.3, 0.1), (0, 0.3, 0.05))
    )
    return (inside * (0.6 + spots)) * np.exp(1j * (y + 0.5 * x))


def scan(image: np.ndarray, coils: int = 4, sigma: float = 0.01, seed: int = 0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(image.astype(np.complex64))
    maps = simulated_maps(coils, (image.shape[0], image.shape[1]), generator)
    noise = torch.randn(maps.shape, dtype=maps.dtype, generator=generator)
    return (fft2c(maps * x) + sigma * noise).numpy().astype(np.complex64)


def with_spikes(
    kspace: np.ndarray, places: list[tuple[int, int]], height: float, seed: int = 0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = kspace.copy()
    for y, x in places:
        phase = np.exp(2j * np.pi * rng.random(len(kspace)))
        found[:, y, x] += (height * np.abs(kspace).max() * phase).astype(np.complex64)
    return found


def masks(size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    drawn = {
        f"{kind} {accel}": np.broadcast_to(draw(kind, size, accel, seed=3).array, size)
        for kind, accel in (("random", 4), ("equispaced", 4), ("poisson", 4), ("poisson", 8))
    }
    return {"full": np.ones(size, bool)} | drawn


def spread(kept: np.ndarray, count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Return places in the mask, none near an axis or the centre."""
    away = [np.abs(np.arange(n) - n // 2) > n // 8 for n in kept.shape]
    places = np.argwhere(kept & away[0][:, None] & away[1])
    chosen = np.random.default_rng(seed).choice(len(places), count, replace=False)
    return sorted((int(y), int(x)) for y, x in places[chosen])


@pytest.mark.parametrize("height", [0.01, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("coils", [1, 4, 16])
@pytest.mark.parametrize("kind", list(masks()))
def test_spikes_are_found_and_nothing_else(kind, coils, height):
    kept = masks()[kind]
    places = spread(kept, 3)
    kspace = with_spikes(scan(head(), coils), places, height)
    found = [tuple(one) for one in find_spikes(kspace, kept).tolist()]
    assert found == places if height > 0.1 else set(found) <= set(places)
    assert not len(find_spikes(scan(head(), coils), kept))


def test_what_is_not_kept_is_not_looked_at():
    kept = masks()["random 4"]
    places = spread(~kept, 2)
    assert not len(find_spikes(with_spikes(scan(head()), places, 0.5), kept))


def test_a_spark_of_two_samples_is_found():
    kspace = with_spikes(scan(head()), [(20, 20), (21, 20)], 0.3)
    assert find_spikes(kspace, EVERYTHING).tolist() == [[20, 20], [21, 20]]


def test_mirrored_spikes_may_be_an_object():
    y, x = 20, 20
    mirrored = (SIZE[0] - y, SIZE[1] - x)
    assert not len(find_spikes(with_spikes(scan(head()), [(y, x), mirrored], 0.3), EVERYTHING))


@pytest.mark.parametrize("factor", [1e-20, 1e-6, 3.0, 1e12])
def test_units_do_not_matter(factor):
    kspace = with_spikes(scan(head()), [(20, 20), (100, 30)], 0.1) * np.complex64(factor)
    assert find_spikes(kspace, EVERYTHING).tolist() == [[20, 20], [100, 30]]


@pytest.mark.parametrize("amplitude", [1.0, 10.0, 100.0, 3e4])
@pytest.mark.parametrize("kind", ["full", "random 4"])
def test_a_spike_of_any_height_is_found(amplitude, kind):
    """Also one that holds nearly all of the energy: it does the most harm."""
    kept = masks(SIZE)[kind]
    column = int(np.flatnonzero(kept[0])[2])
    kspace = with_spikes(scan(head()), [(20, column)], amplitude)
    assert find_spikes(kspace, kept).tolist() == [[20, column]]


def test_a_dead_coil_does_not_matter():
    kspace = with_spikes(scan(head()), [(20, 20)], 0.1)
    kspace[2] = 0
    assert find_spikes(kspace, EVERYTHING).tolist() == [[20, 20]]


def test_a_spike_in_one_coil_of_little_signal_is_found():
    kspace = scan(head())
    kspace[1] *= 0.001
    kspace[1, 20, 20] += 0.3 * np.abs(kspace[1]).max()
    assert find_spikes(kspace, EVERYTHING).tolist() == [[20, 20]]


def pictures() -> dict[str, np.ndarray]:
    n = 128
    y, x = np.mgrid[:n, :n]
    point = np.zeros((n, n))
    point[40, 90] = 1
    lines = np.zeros((n, n))
    lines[::16] = lines[:, ::16] = 1
    half = np.zeros((n, n))
    half[:, :64] = 1
    found = {"constant": np.ones((n, n)), "point": point, "lines": lines, "half": half}
    for side in (1, 2, 4, 16):
        found[f"checkerboard {side}"] = ((y // side + x // side) % 2) * 1.0
        found[f"bars {side}"] = ((x // side) % 2) * 1.0
    for v, u in ((0, 30), (30, 0), (20, 31)):
        wave = np.cos(2 * np.pi * (v * y + u * x) / n)
        disc = np.hypot(y - 64, x - 64) < 45
        found |= {f"waves {v} {u}": 1 + 0.1 * wave, f"waves on a disc {v} {u}": disc * (1 + 0.5 * wave)}
    return found


@pytest.mark.parametrize("name", list(pictures()))
def test_no_sample_of_a_picture_is_a_spike(name):
    picture = pictures()[name]
    size = (picture.shape[0], picture.shape[1])
    for coils, sigma in ((1, 0.0), (1, 0.004), (8, 0.0), (8, 0.004)):
        kspace = scan(picture, coils, sigma)
        for kind in ("full", "random 4", "equispaced 4"):
            found = find_spikes(kspace, masks(size)[kind])
            assert not len(found), (coils, sigma, kind)
    exact = fft2c(torch.from_numpy(picture.astype(np.complex64))[None]).numpy()
    assert not len(find_spikes(exact, np.ones(size, bool)))


@pytest.mark.parametrize("change", ["hann", "padded", "half", "echo", "noise", "zero", "small"])
def test_no_sample_of_other_scans_is_a_spike(change):
    kspace, kept = scan(head()), EVERYTHING.copy()
    if change == "hann":
        kspace = kspace * (np.hanning(130)[1:-1, None] * np.hanning(114)[1:-1]).astype(np.float32)
    elif change == "padded":
        kspace[:, :20] = kspace[:, -20:] = kspace[:, :, :30] = kspace[:, :, -30:] = 0
    elif change == "half":
        kept[:, :40] = False
    elif change == "echo":
        kept[:40] = False
    elif change == "noise":
        kspace = scan(0 * head())
    elif change == "zero":
        kspace = 0 * kspace
    else:
        kspace, kept = kspace[:, :3, :3], kept[:3, :3]
    assert not len(find_spikes(kspace, kept))


def test_too_many_are_no_spikes(monkeypatch):
    kspace = with_spikes(scan(head()), spread(EVERYTHING, 3), 0.3)
    assert len(find_spikes(kspace, EVERYTHING)) == 3
    monkeypatch.setattr(spikes, "AT_LEAST", 2)
    monkeypatch.setattr(spikes, "MOST", 1e-6)
    assert not len(find_spikes(kspace, EVERYTHING))


def test_shapes_are_refused_that_do_not_fit():
    with pytest.raises(InputError, match="spikes are sought"):
        find_spikes(scan(head()), EVERYTHING[:-1])


def spokes(count: int = 40, reads: int = 128) -> np.ndarray:
    angle = np.arange(count) * np.pi * 0.618
    radius = (np.arange(reads) - reads // 2)[:, None] * 0.5
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1).astype(np.float32)


def along(coils: int, trajectory: np.ndarray, sigma: float = 0.01) -> np.ndarray:
    """Return samples of a disc, whose transform is a jinc, in coils of different phase and height."""
    from scipy.special import j1

    distance = np.linalg.norm(trajectory, axis=-1)
    signal = 20 * j1(0.8 * distance) / np.maximum(distance, 1e-3)
    rng = np.random.default_rng(1)
    height = np.exp(2j * np.pi * rng.random(coils)) * rng.uniform(0.5, 1.5, coils)
    noise = rng.standard_normal((2, coils, *distance.shape))
    return (height[:, None, None] * signal + sigma * (noise[0] + 1j * noise[1])).astype(np.complex64)


@pytest.mark.parametrize("coils", [1, 8])
def test_spikes_along_a_trajectory_are_found(coils):
    trajectory = spokes()
    kept = np.ones(trajectory.shape[:2], bool)
    kspace = along(coils, trajectory)
    assert not len(find_spikes_along(kspace, trajectory, kept))
    places = [(10, 3), (100, 20)]
    assert find_spikes_along(with_spikes(kspace, places, 0.5), trajectory, kept).tolist() == [
        list(place) for place in places
    ]
    assert not len(find_spikes_along(0 * kspace, trajectory, kept))


def test_the_note_says_how_many():
    assert "1 spike, left out" in spikes_words(1)
    assert "3 spikes, kept" in spikes_words(3, kept=True)


@pytest.mark.skipif(not (DATA / "kspace").is_dir(), reason="needs the shared scans")
@pytest.mark.parametrize(
    "name",
    ["brain_8ch_full.cfl", "nhlbi_phantom_14ch_R3_ismrmrd.h5", "larson_knee_fatsat_kspace_1ch.mat",
     "twix_gre_2ch_phantom.dat", "knoll_brain_partialfourier.mat", "espirit_brain_alias_8ch.mat"],
)  # fmt: skip
def test_no_sample_of_a_measured_scan_is_a_spike(name):
    with open_scan(DATA / "kspace" / name) as opened:
        kspace, held = opened.kspace(0), opened.acquired(0)
    size = (kspace.shape[1], kspace.shape[2])
    for kept in masks(size).values():
        assert not len(find_spikes(kspace, kept & held))
