"""Simulated training problems: their units, their noise, and that no draw fails."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
import tiny
import torch
from norms import operator_norm

from mrunfold.errors import InputError
from mrunfold.operators import fft2c, ifft2c
from mrunfold.problem import rescale
from mrunfold.protocols import Blind, ImageSet, Measurements, Stage
from mrunfold.training import scenes
from mrunfold.training.images import ImageBank
from mrunfold.training.sampling import LINES, POINTS, draw_mask
from mrunfold.training.scenes import random_image
from mrunfold.training.simulate import draw_problem


@pytest.fixture(scope="module")
def bank():
    return tiny.bank()


def stage(batch=2, sizes=(40, 48)):
    return Stage(steps=1, batch=batch, sizes=sizes, learning_rate=1e-3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(4))
def test_units_are_those_of_a_problem(bank, seed):
    p = draw_problem(bank, Measurements(dropout=0), stage(batch=3), generator(seed))
    _, _, scale = rescale(p.y, p.A, p.sigma_y)
    torch.testing.assert_close(scale, torch.ones(3), rtol=1e-4, atol=0)
    start = torch.randn(3, *p.A.domain.shape, dtype=torch.complex64, generator=generator(9))
    assert bool((operator_norm(p.A.normal, start, 3) <= 1 + 1e-4).all())
    assert p.x.shape == p.x_t.shape == (3, *p.A.domain.shape)
    assert p.y.shape == (3, *p.A.range.shape)


@pytest.fixture
def kept(monkeypatch):
    """What `_draw_item` returned: full k-space with its noise, maps, mask, σ of each item."""
    from mrunfold.training import simulate

    items = []
    original = simulate._draw_item

    def draw_item(*arguments):
        items.append(original(*arguments))
        return items[-1]

    monkeypatch.setattr(simulate, "_draw_item", draw_item)
    return items


def test_noise_has_the_level_that_is_told(bank, kept, monkeypatch):
    from mrunfold.training import simulate

    law = Measurements(coils=(1, 1), dropout=0, sigma_y=(0.02, 0.02), mean_fraction=1)
    p = draw_problem(bank, law, stage(batch=6, sizes=(64, 64)), generator(1))
    noisy, original = list(kept), simulate.complex_noise_like
    # The same draws with the noise silenced, the generator used as before.
    monkeypatch.setattr(simulate, "complex_noise_like", lambda *arguments: 0 * original(*arguments))
    draw_problem(bank, law, stage(batch=6, sizes=(64, 64)), generator(1))
    for i, ((_, maps, _, sigma), (clean, *_)) in enumerate(zip(noisy, kept[6:], strict=True)):
        scale = sigma / p.sigma_y[i]
        shown = fft2c(maps * p.x[i]) * scale  # one coil: the target's k-space is that of the full scan
        level = (shown - clean).abs().square().mean().sqrt()
        # The standard error of the root of a mean of n squares is 1/(2√n).
        assert abs(float(level / sigma) - 1) < 4 / (2 * math.sqrt(clean.numel()))
        acquired = p.A.mask[i][None] > 0
        torch.testing.assert_close(p.y[i][acquired] * scale, shown[acquired], rtol=1e-3, atol=1e-4)
        assert not bool(p.y[i][~acquired].any())


def test_target_is_full_sampling_combined_with_the_maps_of_A(bank, kept):
    p = draw_problem(bank, Measurements(coils=(4, 4), dropout=0, sigma_y=(1e-9, 1e-9)), stage(), generator(2))
    for i, (full, maps, mask, _) in enumerate(kept):
        combined = (maps.conj() * ifft2c(full)).sum(dim=0)
        zero_filled = (maps.conj() * ifft2c(full * mask)).sum(dim=0)
        scale = zero_filled.abs().flatten().sort().values[round(0.99 * zero_filled.numel()) - 1]
        torch.testing.assert_close(p.x[i, 0], combined / scale, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(p.A.maps[i, 0], maps)


def test_state_has_its_noise(bank):
    law = Measurements(mean_fraction=0.5, sigma_t=(0.3, 0.3), dropout=0)
    finite = 0
    for seed in range(4):
        p = draw_problem(bank, law, stage(batch=4), generator(seed))
        for x, x_t, sigma_t in zip(p.x, p.x_t, p.sigma_t, strict=True):
            if sigma_t.isinf():
                assert not bool(x_t.any())
                continue
            finite += 1
            assert float((x_t - x).abs().square().mean().sqrt()) == pytest.approx(0.3, rel=0.06)
    assert 0 < finite < 16


def test_dropout_measures_nothing_and_always_has_a_state(bank):
    p = draw_problem(bank, Measurements(dropout=1, mean_fraction=1), stage(batch=3), generator(3))
    assert not bool(p.y.any())
    assert not bool(p.A(p.x).any())
    assert bool(p.sigma_t.isfinite().all())
    assert float(p.A.measured_fraction().max()) == 0
    assert 0.5 < float(p.x.abs().amax()) < 10  # still of height about 1


def test_blind_batches_measure_nothing_and_reach_pure_noise(bank):
    blind = Blind(share=0.5, batch=5, sizes=(32, 40), sigma_t=(30.0, 40.0))
    law, g = Measurements(dropout=0, mean_fraction=1, blind=blind), generator(4)
    problems = [draw_problem(bank, law, stage(batch=2, sizes=(64, 64)), g) for _ in range(24)]
    none = [p for p in problems if float(p.A.measured_fraction().max()) == 0]
    assert 4 < len(none) < 20
    assert {len(p.x) for p in problems if p.A.measured_fraction().max() > 0} == {2}
    for p in none:
        assert len(p.x) == 5
        assert 32 <= min(p.x.shape[-2:]) <= max(p.x.shape[-2:]) <= 40
        assert not bool(p.y.any())
        assert bool(((p.sigma_t >= 30) & (p.sigma_t <= 40)).all())
        spread = (p.x_t - p.x).abs().square().mean(dim=(1, 2, 3)).sqrt()
        torch.testing.assert_close(spread, p.sigma_t, rtol=0.1, atol=0)
        assert 0.5 < float(p.x.abs().amax()) < 10


def test_a_seed_gives_the_same_problem(bank):
    a, b = (draw_problem(bank, Measurements(), stage(), generator(5)) for _ in range(2))
    assert torch.equal(a.y, b.y)
    assert torch.equal(a.x_t, b.x_t)
    assert not torch.equal(
        a.y, draw_problem(bank, Measurements(), stage(sizes=(40, 40)), generator(6)).y[:, :1]
    )


@pytest.mark.parametrize("kind", [*LINES, *POINTS])
def test_every_mask_of_the_law_can_be_drawn_at_small_sizes(kind):
    g = generator(7)
    for i in range(36):
        shape = (64 + 4 * (i % 9), 64 + 4 * (i // 4))
        mask = draw_mask(kind, shape, Measurements(accelerations=(2, 12)), g)
        assert mask.shape == shape
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert 1.3 < float(1 / mask.mean()) < 40


def test_two_hundred_problems_are_finite(bank):
    g = generator(8)
    law = Measurements(coils=(1, 6), accelerations=(2, 12), dropout=0.1)
    dark = 0
    for _ in range(50):
        p = draw_problem(bank, law, stage(batch=4, sizes=(64, 80)), g)
        for value in (p.x, p.x_t, p.y, p.sigma_y):
            assert bool(torch.isfinite(value).all())
        assert bool((p.sigma_y > 0).all())
        dark += int((p.A.measured_fraction() == 0).sum())
    assert 5 < dark < 40


def test_random_image_is_of_height_one_and_band_limited(bank):
    for seed in range(5):
        x = random_image(bank, (48, 40), generator(seed))
        assert x.shape == (48, 40)
        assert x.dtype == torch.complex64
        assert 0.75 < float(np.percentile(x.abs().numpy(), 99)) < 1.3
        assert float(x.imag.abs().max()) > 0.05
        assert bool(torch.isfinite(fft2c(x)).all())


# --- reading images ---


@pytest.mark.parametrize("side", [64, 96, 120])
def test_detail_reaches_the_border_of_kspace(side):
    """A slice of 96 is never blown up: the finest rows of k-space still hold detail at every matrix."""
    speckle = torch.rand(96, 96, generator=generator(3))
    one = ImageBank(((speckle,),), (1.0,))
    yy, xx = torch.meshgrid(*(torch.linspace(-1, 1, side),) * 2, indexing="ij")
    outer = (yy**2 + xx**2).sqrt().gt(0.8) & (yy**2 + xx**2).sqrt().lt(1.0)
    middle = (yy**2 + xx**2).sqrt().gt(0.3) & (yy**2 + xx**2).sqrt().lt(0.5)
    for seed in range(20):
        power = fft2c(random_image(one, (side, side), generator(seed))).abs().square()
        assert float(power[outer].mean()) > 0.03 * float(power[middle].mean()), seed


def test_tissue_has_a_phase_of_its_own_in_part_of_the_draws():
    image = torch.full((96, 96), 0.3)
    image[:, 48:] = 1.0
    one = ImageBank(((image,),), (1.0,))
    rough = []
    for seed in range(24):
        x = random_image(one, (96, 96), generator(seed))[16:-16, 16:-16]
        turn = (x[:, 2:] * x[:, :-2].conj()).angle(), (x[2:] * x[:-2].conj()).angle()
        # A slow phase turns by about as much everywhere; an edge of the tissue stands out.
        rough.append(max(float((t - t.median()).abs().quantile(0.995)) for t in turn))
    # Where it is dark beside the edge there is no phase to speak of, and the turn is near π.
    assert sum(0.25 < r < 1.5 for r in rough) >= 9
    assert sum(r < 0.25 for r in rough) >= 4


def test_the_signal_decays_along_kspace_in_part_of_the_draws():
    shape, fine = (32, 40), (40, 64)
    steep = []
    for seed in range(60):
        weights = scenes._decay(fine, shape, generator(seed))
        assert weights.shape == fine
        assert float(weights[20, 32]) == 1  # the centre of k-space keeps its signal
        slopes = [abs(math.log(float(line[-1]))) for line in (weights[:, 32], weights[20])]
        assert min(slopes) <= 0.2
        assert max(slopes) <= 1
        steep.append(max(slopes))
    assert 12 <= sum(s == 0 for s in steep) <= 32
    assert sum(s > 0.5 for s in steep) >= 10


def test_what_has_decayed_is_not_in_the_image(bank, monkeypatch):
    def gone(fine, shape, _):
        kept = torch.ones(fine)
        kept[: fine[0] // 2 - 5] = 0
        return kept

    monkeypatch.setattr(scenes, "_decay", gone)
    power = fft2c(random_image(bank, (48, 40), generator(1))).abs()
    assert float(power[: 24 - 5].max()) < 1e-4 * float(power.max())
    assert float(power[24 - 5 :].min()) > 0


def spec(**changes):
    return ImageSet(
        **({"pattern": "*.h5", "reader": "fastmri", "weight": 1, "licence": "generated"} | changes)
    )


def test_fastmri_slices_are_read_when_drawn(tmp_path):
    tiny.write_files(tmp_path, count=2)
    bank = ImageBank.load(tmp_path, [spec()])
    assert len(bank.sets[0]) == 4  # the empty first slices are left out
    assert not any(isinstance(s, torch.Tensor) for s in bank.sets[0])
    drawn = bank.draw(generator())
    assert drawn.shape == (72, 64)
    assert np.percentile(drawn.numpy(), 99) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"kspace": np.zeros((2, 8, 8), np.complex64)}, "no reconstruction_rss"),
        ({"reconstruction_rss": np.zeros((8, 8), np.float32)}, r"must be \(slice, y, x\)"),
        ({"reconstruction_rss": np.full((2, 8, 8), np.nan, np.float32)}, "NaN or infinity in slice 0"),
        ({"reconstruction_rss": np.zeros((2, 8, 8), np.float32)}, "no slice"),
    ],
)
def test_a_file_without_images_is_named(tmp_path, members, message):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        for name, value in members.items():
            h5[name] = value
    with pytest.raises(InputError, match=message):
        ImageBank.load(tmp_path, [spec()])


def test_labels_get_random_tissue(tmp_path):
    labels = np.zeros((40, 44, 8), np.uint8)
    labels[8:32, 8:36] = 1
    labels[16:24, 16:28] = 2
    np.savez(tmp_path / "a.npz", labels=labels)
    bank = ImageBank.load(tmp_path, [spec(pattern="*.npz", reader="labels")])
    a, b = bank.draw(generator(1)), bank.draw(generator(2))
    assert a.is_floating_point()
    assert not torch.allclose(a, b)
    assert float(a[0, 0]) == 0


def test_sets_are_drawn_by_weight():
    low, high = torch.zeros(4, 4), torch.ones(4, 4)
    bank = ImageBank(((low,), (high,)), (1.0, 3.0))
    g = generator()
    share = np.mean([float(bank.draw(g).mean()) for _ in range(1000)])
    assert abs(share - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 1000)


def test_a_share_of_batches_begins_at_the_networks_mean(bank):
    law = Measurements(dropout=0, fed_back=0.5)
    fed = [bool(draw_problem(bank, law, stage(batch=1), generator(n)).fed_back) for n in range(24)]
    assert 4 < sum(fed) < 20
    plain = Measurements(dropout=0)
    assert not any(bool(draw_problem(bank, plain, stage(batch=1), generator(n)).fed_back) for n in range(6))
