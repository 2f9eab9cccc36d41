"""Scans with what scanners do: each effect by itself, and all of them at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch

from mrunfold.operators import fft2c, ifft2c
from mrunfold.problem import rescale
from mrunfold.protocols import Large, Measurements, Scanner, Stage, load_protocol
from mrunfold.training import scanner
from mrunfold.training.receive import GRID, random_sensitivities
from mrunfold.training.sampling import LINES, POINTS
from mrunfold.training.scans import draw_scan, folded
from mrunfold.training.scenes import random_scene
from mrunfold.training.simulate import draw_problem


@pytest.fixture(scope="module")
def bank():
    return tiny.bank()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stage(batch=2, sizes=(64, 72)):
    return Stage(steps=1, batch=batch, sizes=sizes, learning_rate=1e-3)


def law(**changes):
    settings = {"coils": (4, 4), "dropout": 0, "sigma_y": (1e-6, 1e-6), "accelerations": (2, 4)}
    scan = {name: value for name, value in changes.items() if name not in Measurements.model_fields}
    settings |= {name: value for name, value in changes.items() if name in Measurements.model_fields}
    return Measurements(**settings, scanner=Scanner(**scan))


def scan(bank, seed=0, coils=4, kinds=POINTS, sets=1, shape=(64, 72), **changes):
    return draw_scan(bank, law(**changes), shape, coils, kinds, sets, generator(seed))


def everything():
    shares = load_protocol("mri-wide").measurements.scanner.model_dump()
    return Scanner(
        **shares | {"coils": "", "measured_coils": 0.0, "two_sets": 0.5, "spikes": 0.3, "motion": 0.3}
    )


# --- all at once ---


def test_a_hundred_batches_of_everything_are_finite(bank):
    many = Measurements(coils=(1, 6), dropout=0.02, large=Large(share=0.1, batch=1, sizes=(96, 100)))
    many = many.model_copy(update={"scanner": everything()})
    g, sets, single = generator(1), set(), 0
    for _ in range(100):
        p = draw_problem(bank, many, stage(sizes=(48, 64)), g)
        for value in (p.x, p.x_t, p.y, p.sigma_y, p.A.maps):
            assert bool(torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all())
        assert bool((p.sigma_y > 0).all())
        assert p.x.shape[1:] == p.A.domain.shape
        assert p.y.shape[1:] == p.A.range.shape
        sets.add(p.x.shape[1])
        single += len(p.x) == 1
        assert (len(p.x) == 1) == (max(p.x.shape[-2:]) > 64)
    assert sets == {1, 2}
    assert 2 < single < 25


def test_a_seed_gives_the_same_scan(bank):
    many = Measurements(coils=(1, 6), scanner=everything())
    a, b = (draw_problem(bank, many, stage(), generator(5)) for _ in range(2))
    for name in ("x", "x_t", "y", "sigma_y", "sigma_t"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert torch.equal(a.A.maps, b.A.maps)
    c = draw_problem(bank, many, stage(), generator(6))
    assert a.y.shape != c.y.shape or not torch.equal(a.y, c.y)


def test_measured_samples_are_those_of_the_mask(bank):
    for seed in range(12):
        many = Measurements(dropout=0, scanner=everything())
        s = draw_scan(bank, many, (64, 60), 3, LINES, 1, generator(seed))
        assert not bool(s.measured[:, s.mask == 0].any())
        assert bool(s.mask.any())


# --- target and maps ---


def test_the_target_is_the_full_scan_combined_with_the_maps(bank):
    """With true maps of norm 1 that see all, and no noise, the coil images are the maps times the target."""
    s = scan(bank, calibrated=0, uncropped=1, shape=(64, 64))
    norm = s.maps.abs().square().sum(dim=1)
    torch.testing.assert_close(norm, torch.ones_like(norm), rtol=1e-4, atol=0)
    again = (s.maps * s.target[:, None]).sum(dim=0)
    acquired = fft2c(again) * s.mask
    # Sampling cuts k-space of the product of a finer grid: the maps explain it up to ringing.
    left = (acquired - s.measured).abs().square().sum() / s.measured.abs().square().sum()
    assert 1e-8 < float(left) < 1e-2


def test_two_sets_come_from_what_was_measured(bank):
    s = scan(bank, sets=2, calibrated=1, uncropped=1, folded=1, seed=3)
    assert s.maps.shape == (2, 4, 64, 72)
    assert s.target.shape == (2, 64, 72)
    inner = (s.maps[0].conj() * s.maps[1]).sum(dim=0).abs()
    assert float(inner.max()) < 1e-3
    norm = s.maps.abs().square().sum(dim=1)
    assert float(norm[0].min()) > 0.99
    assert float(norm[1].mean()) > 0.02


def test_true_maps_leave_the_second_set_empty(bank):
    s = scan(bank, sets=2, calibrated=0, uncropped=1)
    assert not bool(s.maps[1].any())
    assert not bool(s.target[1].any())


def test_map_errors_move_maps_a_little(bank):
    right, wrong = (scan(bank, calibrated=0, uncropped=1, map_errors=share).maps[0] for share in (0, 1))
    agreement = (right.conj() * wrong).sum(dim=0).abs()
    assert 0.8 < float(agreement.min()) < float(agreement.mean()) < 1 - 1e-5


def test_one_coil_has_the_map_one(bank):
    s = scan(bank, coils=1)
    assert bool((s.maps == 1).all())


# --- coils ---


def spread(maps):
    size = maps.abs().square().sum(dim=0).sqrt()
    return float(size.max() / size.min()), float(size.max())


def test_shading_has_the_range_that_is_asked_for():
    for seed in range(8):
        g = generator(seed)
        ratio, top = spread(
            random_sensitivities((), 6, Scanner(shading=1, one_sided=1, shading_range=(8, 8)), g)
        )
        assert ratio == pytest.approx(8, rel=1e-3)
        assert top == pytest.approx(1, rel=1e-5)
        assert spread(random_sensitivities((), 6, Scanner(), g))[0] == pytest.approx(1, rel=1e-5)


def test_shading_is_in_the_image(bank):
    """The same scene under coils near one side: x carries the brightness, the maps do not."""
    flat, shaded = (
        scan(bank, calibrated=0, uncropped=1, one_sided=1, shading=share, shading_range=(20, 20), seed=4)
        for share in (0, 1)
    )
    norm = shaded.maps.abs().square().sum(dim=1)
    torch.testing.assert_close(norm, torch.ones_like(norm), rtol=1e-4, atol=0)
    inside = flat.target.abs() > 0.2 * flat.target.abs().max()
    ratio = (shaded.target.abs() / flat.target.abs().clamp_min(1e-6))[inside]
    assert float(ratio.quantile(0.98) / ratio.quantile(0.02)) > 3


def test_one_sided_arrays_see_one_side_best():
    g, off = generator(2), []
    for share in (0, 1):
        law_ = Scanner(one_sided=share, shading=1, shading_range=(10, 10))
        centres = []
        for _ in range(12):
            power = random_sensitivities((), 8, law_, g).abs().square().sum(dim=0)
            axis = torch.linspace(-1, 1, GRID)
            centres.append(
                math.hypot(*(float((power * a).sum() / power.sum()) for a in (axis, axis[:, None])))
            )
        off.append(np.mean(centres))
    assert off[1] > 2 * off[0]
    assert off[1] > 0.3


# --- field of view ---


def test_folding_is_what_coarser_sampling_of_kspace_gives():
    image = torch.randn(2, 16, 48, dtype=torch.complex64, generator=generator())
    every = fft2c(image)[..., ::2]  # half the field of view: every second line
    torch.testing.assert_close(folded(image, 24), ifft2c(every) * math.sqrt(2), rtol=1e-4, atol=1e-5)
    with_rest = folded(torch.ones(1, 30), 24)
    assert float(with_rest.sum()) == 30
    assert with_rest.unique().tolist() == [1, 2]


def test_cut_objects_reach_the_edges_more_often(bank):
    def edge(share):
        found = 0
        for seed in range(24):
            x = random_scene(bank, (48, 48), Scanner(cut=share), generator(seed)).abs()
            border = torch.cat([x[0], x[-1], x[:, 0], x[:, -1]])
            found += int(float((border > 0.1 * x.max()).float().mean()) > 0.1)
        return found

    assert edge(1) > edge(0) + 5


def test_bright_parts_set_the_percentile(bank):
    def typical(share):
        ratios = []
        for seed in range(12):
            x = random_scene(bank, (64, 64), Scanner(bright=share), generator(seed)).abs()
            ratios.append(float(x[x > 0.05 * x.max()].median() / x.flatten().quantile(0.99)))
        return np.mean(ratios)

    assert typical(1) < 0.75 * typical(0)


def test_off_resonance_turns_the_phase_quickly(bank):
    def steps(share: float) -> float:
        """Return the mean turn in radians from pixel to pixel where there is tissue."""
        found = []
        for seed in range(6):
            scene = random_scene(
                bank, (64, 64), Scanner(off_resonance=share, off_resonance_phase=(12, 12)), generator(seed)
            )
            turn = (scene[1:] * scene[:-1].conj()).angle().abs()
            found.append(float(turn[(scene[1:].abs() > 0.2) & (scene[:-1].abs() > 0.2)].mean()))
        return float(np.mean(found))

    assert steps(1.0) > 2 * steps(0.0)


def test_fat_is_moved_along_the_readout(bank):
    still, moved = (random_scene(bank, (64, 64), Scanner(fat_shift=s), generator(7)) for s in (0, 1))
    changed = (still - moved).abs() > 1e-3
    assert 0.001 < float(changed.float().mean()) < 0.5


# --- heights and levels ---


def test_heights_scale_everything_alike(bank):
    p = draw_problem(bank, law(rescaled=1, heights=(0.25, 0.25)), stage(batch=3), generator(2))
    q = draw_problem(bank, law(rescaled=1, heights=(2.0, 2.0)), stage(batch=3), generator(2))
    for name in ("x", "y", "sigma_y"):
        torch.testing.assert_close(8 * getattr(p, name), getattr(q, name), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(rescale(p.y, p.A, p.sigma_y)[2], torch.full((3,), 0.25), rtol=1e-4, atol=0)


def test_sigma_is_told_wrong_by_the_factor_that_is_allowed(bank):
    factors = [scan(bank, seed, misjudged=1, sigma_y=(0.02, 0.02)).sigma / 0.02 for seed in range(40)]
    assert 1 / 3 <= min(factors) < 0.5
    assert 2 < max(factors) <= 3
    assert scan(bank, sigma_y=(0.02, 0.02)).sigma == pytest.approx(0.02)


def test_whitened_noise_is_about_white_and_of_its_level(bank):
    k, errors = torch.zeros(6, 48, 48, dtype=torch.complex64), []
    for seed in range(12):
        noise, whitening = scanner.noise_and_whitening(k, 0.1, Scanner(correlated=1), generator(seed))
        raw = noise.reshape(6, -1)
        flat = whitening @ raw
        before, after = (z @ z.mH / z.shape[1] / 0.01 for z in (raw, flat))
        eye = torch.eye(6)
        errors.append([float((z - eye).abs().max()) for z in (before, after)])
        assert 0.5 < float(after.diagonal().real.mean()) < 2.5
    before, after = np.median(errors, axis=0)
    assert after < 0.6 * before
    noise, whitening = scanner.noise_and_whitening(k, 0.1, Scanner(), generator())
    assert whitening is None
    assert float(noise.abs().square().mean().sqrt()) == pytest.approx(0.1, rel=0.05)


def test_maps_are_those_of_the_whitened_coils(bank):
    """Without noise, whitened coil images are still explained by the maps that A is given."""
    s = scan(bank, seed=2, correlated=1, calibrated=0, uncropped=1, sigma_y=(1e-7, 1e-7))
    again = fft2c((s.maps * s.target[:, None]).sum(dim=0)) * s.mask
    left = (again - s.measured).abs().square().sum() / s.measured.abs().square().sum()
    assert float(left) < 1e-2


# --- k-space ---


def test_windows_lie_between_zero_and_one_around_the_centre():
    kinds = set()
    for seed in range(60):
        w = scanner.random_window((48, 40), Scanner(filtered=1), generator(seed))
        assert float(w.min()) >= 0
        assert 0.9 < float(w[24, 20]) <= 1
        assert float(w[24, 20]) == float(w.max())
        assert float(w[0, 0]) < 0.3  # corners go
        kinds.add((round(float(w[24, 2]), 1), round(float(w[4, 4]), 1)))
        box = scanner.random_window((48, 40), Scanner(zero_padded=1), generator(seed))
        assert set(box.unique().tolist()) == {0.0, 1.0}
        assert 0.3 < float(box.mean()) < 0.97
    assert len(kinds) > 4
    assert scanner.random_window((48, 40), Scanner(), generator()) is None


def test_what_a_window_makes_zero_was_not_acquired(bank):
    late = 0
    for seed in range(16):
        s = scan(bank, seed, coils=1, zero_padded=1, sigma_y=(0.01, 0.01))
        empty = fft2c(s.target)[0].abs() < 1e-5
        assert not bool(s.mask[empty].any())
        late += int(float(empty.float().mean()) > 0.02)
    assert 2 < late < 16


def test_partial_fourier_leaves_one_side_out():
    sides = set()
    for seed in range(24):
        kept = scanner.half_left_out((48, 40), Scanner(partial_fourier=1), generator(seed))
        assert 0.55 < float(kept.mean()) < 0.92
        assert bool(kept[20:28, 18:22].all())
        sides.add(tuple(bool(kept[i].any()) for i in ((0, 20), (-1, 20), (24, 0), (24, -1))))
    assert len(sides) == 4
    assert scanner.half_left_out((48, 40), Scanner(), generator()) is None


def test_motion_turns_phases_between_lines_and_rests_in_the_middle():
    k = torch.randn(3, 32, 40, dtype=torch.complex64, generator=generator())
    for seed in range(6):
        moved = scanner.displaced_lines(k, Scanner(motion=1), generator(seed))
        torch.testing.assert_close(moved.abs(), k.abs())
        torch.testing.assert_close(moved[..., 20], k[..., 20])
        assert not torch.allclose(moved, k, atol=1e-3)
        # At most two pixels a line against the middle one: a phase of π·2 at the edge of k-space an axis.
        turn = (moved[:, 17, :] * k[:, 17, :].conj()).angle().abs()
        assert float(turn[:, 18:23].max()) < 2 * math.pi * 2 * (1 / 32 + 3 / 40)
    assert scanner.displaced_lines(k, Scanner(), generator()) is k


def test_spikes_are_few_and_acquired():
    k = torch.randn(3, 32, 40, dtype=torch.complex64, generator=generator())
    mask = torch.zeros(32, 40)
    mask[:, ::4] = 1
    hit = scanner.with_spikes(k, mask, Scanner(spikes=1), generator(1))
    places = (hit != k).any(dim=0)
    assert 1 <= int(places.sum()) <= 4
    assert bool(mask[places].all())
    assert scanner.with_spikes(k, mask, Scanner(), generator()) is k
    assert scanner.with_spikes(k, 0 * mask, Scanner(spikes=1), generator()) is k


def test_spikes_and_motion_are_not_in_the_target(bank):
    """Same seed and maps: only what was measured changes."""
    still, hit = (scan(bank, 8, calibrated=0, uncropped=1, spikes=share) for share in (0, 1))
    assert not torch.allclose(still.measured, hit.measured)
    torch.testing.assert_close(still.target.abs(), hit.target.abs(), rtol=1e-3, atol=1e-4)
