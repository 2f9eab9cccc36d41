"""The loss of a mean is that of the image in use: with its measured samples put back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.protocols import Measurements, NetworkSpec, PriorSpec, Stage
from mrunfold.training.simulate import draw_problem
from mrunfold.training.stages import ERROR_MIN, unfold_loss

NETWORK = NetworkSpec(
    blocks=2, shared=False, cg_iterations=2, x0_has_noise=True, prior=PriorSpec(widths=(8, 12), blocks=1)
)
FIELDS = {
    "steps": 2, "batch": 4, "sizes": (40, 48), "learning_rate": 1e-3, "warmup": 1, "loss": "relative",
}  # fmt: skip


def drawn(mean_fraction, seed=0):
    rules = Measurements(coils=(2, 4), accelerations=(3, 5), mean_fraction=mean_fraction, dropout=0)
    generator = torch.Generator().manual_seed(seed)
    return draw_problem(tiny.bank(), rules, Stage(**FIELDS), generator)


def network():
    torch.manual_seed(5)
    return PosteriorDenoiser.from_spec(NETWORK)


def relative(x, b):
    return torch.log1p((x - b.x).abs().square().mean(dim=(-3, -2, -1)).sqrt() / ERROR_MIN)


@pytest.mark.parametrize("fed_back", [0, 1])
def test_it_is_the_loss_of_what_mean_of_returns(fed_back):
    net, b = network(), drawn(1.0)
    b = replace(b, fed_back=torch.tensor(fed_back))
    with torch.no_grad():
        mean = net.mean_of(b.y, b.A, b.sigma_y, passes=1 + fed_back)
        found = unfold_loss(net, b, Stage(**FIELDS, samples_stay=True))
        before = unfold_loss(net, b, Stage(**FIELDS))
    torch.testing.assert_close(found, relative(mean, b).mean())
    assert float(found) != float(before)


def test_states_of_samplers_keep_theirs():
    net, b = network(), drawn(0.0)
    assert bool(b.sigma_t.isfinite().all())
    with torch.no_grad():
        assert torch.equal(
            unfold_loss(net, b, Stage(**FIELDS, samples_stay=True)), unfold_loss(net, b, Stage(**FIELDS))
        )


def test_a_batch_of_both_has_both():
    net, b = network(), drawn(0.5, seed=1)
    means = b.sigma_t.isinf()
    assert 0 < int(means.sum()) < len(means)
    with torch.no_grad():
        x = net(b.x_t, b.sigma_t, b.y, b.A, b.sigma_y)
        put_back = torch.where(means[:, None, None, None], net.with_samples(x, b.y, b.A), x)
        found = unfold_loss(net, b, Stage(**FIELDS, samples_stay=True))
    torch.testing.assert_close(found, relative(put_back, b).mean())


def test_it_is_refused_without_noise_in_x0():
    with pytest.raises(ValueError, match=r"samples_stay needs .*x0_has_noise"):
        tiny.protocol(unfold_stage=Stage(**FIELDS, samples_stay=True))
    tiny.protocol(unfold_stage=Stage(**FIELDS, samples_stay=True), network=NETWORK)
