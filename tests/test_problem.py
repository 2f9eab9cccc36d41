"""Problems: what is in them, what they are built from, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.io.scan import Header
from mrunfold.masks import Mask, calibration_region
from mrunfold.operators import FourierMask, Sense, fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem, collate

SHAPE = (48, 44)
NO_CACHE = ProblemSettings(cache=None)


def header(
    shape: tuple[int, int] = SHAPE, coils: int = 6, unoversampled: int | None = None, **more
) -> Header:
    read = unoversampled or shape[0]
    return Header("fastmri", 1, coils, shape, read, (read, shape[1]), **more)


def object_image(shape: tuple[int, int]) -> torch.Tensor:
    y = torch.linspace(-1, 1, shape[0])[:, None]
    x = torch.linspace(-1, 1, shape[1])[None, :]
    head = torch.sigmoid(20 * (1 - (y / 0.75) ** 2 - (x / 0.6) ** 2))
    spot = torch.sigmoid(20 * (1 - ((y - 0.3) / 0.2) ** 2 - ((x + 0.2) / 0.15) ** 2))
    return torch.polar(head + 0.5 * spot, 0.4 * y + 0.3 * x)


def kspace_of(
    shape: tuple[int, int] = SHAPE, coils: int = 6, sigma: float = 0.01, seed: int = 0
) -> np.ndarray:
    """Return k-space (coil, y, x) in units of 1e4, noise of `sigma`·1e4 that differs from coil to coil."""
    generator = torch.Generator().manual_seed(seed)
    maps = simulated_maps(coils, shape, generator)
    noise = torch.randn(coils, *shape, dtype=torch.complex64, generator=generator)
    levels = torch.linspace(0.6, 1.4, coils)[:, None, None] if coils > 1 else 1.0
    return (1e4 * (fft2c(maps * object_image(shape)) + sigma * levels * noise)).numpy()


def make_mask(shape: tuple[int, int] = SHAPE, fraction: float = 0.4, seed: int = 0) -> Mask:
    keep = np.random.default_rng(seed).random(shape) < fraction
    y, x = shape[0] // 2, shape[1] // 2
    keep[y - 9 : y + 9, x - 9 : x + 9] = True
    return Mask(keep, "test", 1 / fraction, calibration_region(keep), seed)


def build(kspace: np.ndarray | None = None, mask: Mask | None = None, **options) -> Problem:
    kspace = kspace_of() if kspace is None else kspace
    options = {"settings": NO_CACHE} | options
    return build_problem(
        kspace, header(kspace.shape[1:], len(kspace)), mask or make_mask(kspace.shape[1:]), **options
    )


@pytest.fixture(scope="module")
def problem() -> Problem:
    return build()


def test_shapes_types_and_record(problem: Problem):
    assert isinstance(problem.A, Sense)
    assert problem.y.shape == (6, *SHAPE)
    assert problem.y.dtype == torch.complex64
    assert problem.sigma_y.shape == problem.scale.shape == ()
    assert problem.target.shape == (1, *SHAPE)
    assert problem.target_kind == "combined"
    assert problem.coil_gain.shape == (1, *SHAPE)
    record = problem.record
    assert record["steps"] == [
        "data crimes", "spikes", "oversampling", "mask", "noise", "calibration", "maps", "scale", "target",
    ]  # fmt: skip
    assert set(record["seconds"]) == set(record["steps"])
    assert record["noise"]["source"] == "k-space edge"
    assert record["coils"] == {"stored": 6, "dropped": [], "used": 6}
    assert record["calibration"] == [18, 18]
    assert record["maps"] == "computed"


def test_unitless(problem: Problem):
    magnitude = problem.A.adjoint(problem.y).abs()
    assert float(torch.quantile(magnitude.flatten(), 0.99)) == pytest.approx(1, rel=0.02)
    assert float(problem.sigma_y * problem.scale) == pytest.approx(1, rel=1e-5)


def test_whitened_data_fit_the_target_to_the_noise(problem: Problem):
    inside = make_mask().array.copy()
    residual = (problem.A(problem.target) - problem.y)[:, inside] / problem.sigma_y
    assert (
        float(residual.abs().square().mean().sqrt()) < 1.4
    )  # the target shares the noise; maps are estimates


def test_nothing_comes_from_samples_outside_the_mask(problem: Problem):
    mask = make_mask()
    draws = 1e7 * np.random.default_rng(5).standard_normal((2, 6, *SHAPE))
    changed = np.where(mask.array, kspace_of(), draws[0] + 1j * draws[1]).astype(np.complex64)
    other = build(changed, mask)
    for name in ("y", "sigma_y", "scale", "coil_gain"):
        assert torch.equal(getattr(problem, name), getattr(other, name)), name
    assert torch.equal(problem.A.maps, other.A.maps)
    assert torch.equal(problem.A.mask, other.A.mask)
    assert problem.record["noise"] == other.record["noise"]
    assert not torch.equal(problem.target, other.target)


def test_infinities_outside_the_mask_would_not_be_multiplied_by_zero():
    kspace = kspace_of()
    kspace[0, 0, 0] = np.finfo(np.float32).max
    mask = make_mask()
    assert not mask.array[0, 0]
    assert torch.isfinite(build(kspace, mask, target="none").y.abs()).all()


def test_combined_target_is_the_coil_combination_of_full_data(problem: Problem):
    assert isinstance(problem.A, Sense)
    full = problem.A(problem.target)  # masked; its coil images combine to the target only with a full mask
    assert full.shape == problem.y.shape
    unmasked = replace(problem.A, mask=torch.ones(SHAPE))
    support = problem.coil_gain > 0
    again = unmasked.adjoint(unmasked(problem.target))
    torch.testing.assert_close(again[support], problem.target[support], rtol=0, atol=1e-4)


def test_rss_target_and_coil_gain_are_in_the_files_units():
    kspace = kspace_of(sigma=1e-4)
    rss = ifft2c(torch.from_numpy(kspace)).abs().square().sum(0).sqrt()
    problem = build(kspace, target="rss")
    assert problem.target_kind == "rss"
    torch.testing.assert_close(problem.target[0] * problem.scale, rss, rtol=1e-4, atol=1e-2)
    combined = build(kspace, target="combined")
    image = (combined.target.abs() * combined.coil_gain)[0] * combined.scale
    inside = object_image(SHAPE).abs() > 0.5
    assert float(((image - rss)[inside] / rss[inside]).abs().max()) < 0.02


@pytest.mark.parametrize("compression", [8, 0.999])
def test_compressed_coils(compression: float):
    kspace = kspace_of(coils=12, sigma=1e-3)
    noise = scanner_noise(10 * np.linspace(0.6, 1.4, 12))
    problem = build(kspace, settings=replace(NO_CACHE, compression=compression), noise=noise)
    virtual = problem.record["coils"]["virtual"]
    assert virtual == 8 if compression == 8 else 3 < virtual < 12
    assert problem.y.shape[0] == virtual
    assert 0.99 < problem.record["coils"]["energy"] <= 1
    rss = ifft2c(torch.from_numpy(kspace)).abs().square().sum(0).sqrt()
    image = (problem.target.abs() * problem.coil_gain)[0] * problem.scale
    inside = object_image(SHAPE).abs() > 0.5
    assert float(((image - rss)[inside] / rss[inside]).abs().median()) < 0.03


def scanner_noise(levels: np.ndarray, count: int = 3000) -> np.ndarray:
    draws = np.random.default_rng(0).standard_normal((2, len(levels), count))
    return (levels[:, None] * (draws[0] + 1j * draws[1]) / np.sqrt(2)).astype(np.complex64)


def test_noise_scan_is_preferred_and_compared_with_the_edge():
    levels = 100 * np.linspace(0.6, 1.4, 6)
    noise = scanner_noise(levels)
    record = build(noise=noise).record["noise"]
    assert (record["source"], record["samples"]) == ("noise scan", 3000)
    np.testing.assert_allclose(record["level"], levels, rtol=0.1)
    assert record["edge_over_scan"] == pytest.approx(1, abs=0.4)


def test_sigma_y_is_the_noise_of_y():
    shape = (96, 88)
    noisy, clean = (kspace_of(shape, sigma=s) for s in (0.02, 0.0))
    problem = build(noisy, make_mask(shape, 0.5))
    L = np.linalg.cholesky(np.diag((200 * np.linspace(0.6, 1.4, 6)) ** 2))
    difference = np.linalg.solve(L, (noisy - clean).reshape(6, -1))
    assert float(np.sqrt(np.mean(np.abs(difference) ** 2))) == pytest.approx(1, rel=0.02)  # what was put in
    np.testing.assert_allclose(problem.record["noise"]["level"], 200 * np.linspace(0.6, 1.4, 6), rtol=0.25)


@pytest.mark.parametrize("coil", [0, 4])
def test_a_dead_coil_is_left_out(coil: int):
    kspace = kspace_of()
    kspace[coil] = 0
    problem = build(kspace)
    assert problem.record["coils"] == {"stored": 6, "dropped": [coil], "used": 5}
    assert f"coil {coil} measures nothing and is left out" in problem.flags
    assert problem.y.shape[0] == 5
    assert torch.isfinite(problem.y.abs()).all()
    assert torch.isfinite(problem.A.maps.abs()).all()


@pytest.mark.parametrize(("factor", "said"), [(1.0, False), (50.0, True)])
def test_a_noise_scan_that_cannot_be_is_said(factor: float, said: bool):
    levels = 100 * np.linspace(0.6, 1.4, 6)
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((2, 6, 4000)) * np.sqrt(0.5)
    noise = (factor * levels[:, None] * (draws[0] + 1j * draws[1])).astype(np.complex64)
    problem = build(kspace_of(), noise=noise)
    assert any("quieter than the noise scan" in flag for flag in problem.flags) == said


def test_one_coil_needs_no_maps():
    problem = build(kspace_of(coils=1))
    assert isinstance(problem.A, FourierMask)
    assert problem.record["maps"] == "one coil"
    image = (problem.target.abs() * problem.coil_gain)[0] * problem.scale
    rss = ifft2c(torch.from_numpy(kspace_of(coils=1)))[0].abs()
    torch.testing.assert_close(image, rss, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("target", ["combined", "rss"])
def test_an_empty_slice_is_a_finite_problem(coils: int, target: str):
    problem = build(np.zeros((coils, *SHAPE), np.complex64), target=target)
    assert float(problem.scale) == 1
    assert float(problem.sigma_y) == 1
    assert not problem.y.any()
    assert problem.record["maps"] == ("one coil" if coils == 1 else "uniform")
    x = torch.randn(1, *SHAPE, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(problem.A.normal(x).abs()).all()
    assert float(problem.A.normal(x).abs().max()) > 0


@pytest.mark.parametrize("shape", [(96, 44), (94, 45)])
def test_oversampling_is_removed_before_the_mask(shape: tuple[int, int]):
    half = shape[0] // 2
    kspace = kspace_of(shape)
    small = make_mask((half, shape[1]))
    problem = build_problem(kspace, header(shape, unoversampled=half), small, settings=NO_CACHE, target="rss")
    assert problem.y.shape == (6, half, shape[1])
    assert problem.record["oversampling"] == f"removed: {shape[0]} → {half} readout samples"
    images = ifft2c(torch.from_numpy(kspace))
    start = shape[0] // 2 - half // 2
    rss = images[:, start : start + half].abs().square().sum(0).sqrt()
    torch.testing.assert_close(problem.target[0] * problem.scale, rss, rtol=1e-3, atol=0.1)


def test_a_mask_of_the_stored_grid_is_thinned_with_it():
    lines = np.random.default_rng(0).random(44) < 0.5
    lines[13:31] = True
    stored = Mask(np.broadcast_to(lines, (96, 44)), "lines", 2, (96, 18))
    final = Mask(np.broadcast_to(lines, (48, 44)), "lines", 2, (48, 18))
    pair = [
        build_problem(kspace_of((96, 44)), header((96, 44), unoversampled=48), mask, settings=NO_CACHE)
        for mask in (stored, final)
    ]
    assert torch.equal(pair[0].y, pair[1].y)
    assert torch.equal(pair[0].A.mask, pair[1].A.mask)


def test_padding_is_not_sampled_and_does_not_hinder_the_target():
    kspace = kspace_of()
    kspace[:, :, :4] = kspace[:, :, 40:] = 0
    about = replace(header(), padding=(4, 40))
    problem = build_problem(kspace, about, make_mask(), settings=NO_CACHE)
    assert problem.target is not None
    assert not problem.A.mask[:, :4].any()
    assert not problem.A.mask[:, 40:].any()


def test_undersampled_files_have_no_target_but_their_own_image():
    kspace = np.where(make_mask().array, kspace_of(), 0).astype(np.complex64)
    assert build(kspace).target is None
    assert build(kspace).target_kind == "none"
    assert build(kspace, target="rss").target is None
    reference = np.full((32, 30), 3.0, np.float32)
    problem = build(kspace, target="rss", reference=reference)
    assert problem.target_kind == "rss"
    image = problem.target[0] * problem.scale
    torch.testing.assert_close(image[8:40, 7:37], torch.full((32, 30), 3.0))
    assert not image[:8].any()


def test_maps_come_from_the_cache_the_second_time(tmp_path):
    settings = ProblemSettings(cache=tmp_path)
    first, second = build(settings=settings), build(settings=settings)
    assert (first.record["maps"], second.record["maps"]) == ("computed", "cache")
    assert torch.equal(first.A.maps, second.A.maps)


def nan_in(kspace: np.ndarray) -> np.ndarray:
    kspace[2, 3, 4] = np.nan
    return kspace


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(nan_in(kspace_of())), "1 values that are NaN"),
        (lambda: build(mask=make_mask((48, 40))), r"\(48, 40\).*\(48, 44\)"),
        (lambda: build(kspace_of()[None], make_mask()), "expects complex k-space"),
        (lambda: build(kspace_of().real), "expects complex k-space"),
        (lambda: build(noise=np.ones((5, 100), np.complex64)), r"\(5, 100\).*\(6, 48, 44\)"),
        (lambda: build(acquired=np.ones((3, 3), bool)), r"\(3, 3\)"),
        (lambda: build(acquired=~make_mask().array), "keeps none"),
        (lambda: build(mask=Mask(np.eye(48, 44, dtype=bool), "test", None, (1, 1))), "at least 6×6"),
    ],
)
def test_bad_input_is_one_line(make: Callable[[], Problem], message: str):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("coils", [1, 6])
def test_a_batch_equals_its_items(coils: int):
    items = [build(kspace_of(coils=coils, seed=s), make_mask(seed=s)) for s in (0, 1)]
    batch = collate(items)
    assert batch.y.shape == (2, coils, *SHAPE)
    assert batch.sigma_y.shape == batch.scale.shape == (2,)
    assert batch.target.shape == batch.coil_gain.shape == (2, 1, *SHAPE)
    assert batch.record["items"] == [p.record for p in items]
    for i, item in enumerate(items):
        x = batch.target
        torch.testing.assert_close(batch.A(x)[i], item.A(x[i]), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(batch.A.adjoint(batch.y)[i], item.A.adjoint(item.y), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(batch.A.normal(x)[i], item.A.normal(x[i]), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_stacked_is_refused(problem: Problem):
    with pytest.raises(InputError, match="same shapes"):
        collate([problem, build(kspace_of((40, 44)))])
    with pytest.raises(InputError, match="target"):
        collate([problem, build(target="none")])
    with pytest.raises(InputError, match="at least one"):
        collate([])


def test_to_keeps_everything(problem: Problem):
    moved = problem.to("cpu")
    assert torch.equal(moved.y, problem.y)
    assert moved.record is problem.record
    assert moved.target_kind == "combined"
