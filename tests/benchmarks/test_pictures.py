"""Draws without a measurement: seeded, of the network's prior alone, one by one what they are together."""

import pytest
import torch

from mrunfold.benchmarks.pictures import draw_prior, write_prior
from mrunfold.protocols import NetworkSpec, PriorSpec
from mrunfold.unfold import PosteriorDenoiser
from mrunfold.weights import save_weights

SPEC = NetworkSpec(blocks=2, shared=True, prior=PriorSpec(widths=(8, 8), blocks=1))


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    network = PosteriorDenoiser.from_spec(SPEC)
    torch.nn.init.normal_(network.prior(0).tail.weight, std=0.02)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network, SPEC)
    return str(path)


def test_a_seed_gives_its_draws_whatever_their_number(weights):
    three = draw_prior(weights, count=3, size=24, steps=5, seed=4)
    assert three.shape == (3, 24, 24)
    assert bool(torch.isfinite(three.abs()).all())
    torch.testing.assert_close(draw_prior(weights, count=1, size=24, steps=5, seed=4)[0], three[0])
    assert float((three[0] - three[1]).abs().max()) > 0.01
    assert not torch.allclose(draw_prior(weights, count=1, size=24, steps=5, seed=5)[0], three[0])


def test_draws_hold_less_noise_than_they_began_with(weights):
    # From σ = 2 to 0.005: whatever the prior, the state's noise is gone at the end.
    x = draw_prior(weights, count=4, size=32, steps=8)
    assert float(x.abs().square().mean().sqrt()) < 1.9


def test_the_picture_is_written_whole(weights, tmp_path):
    path = tmp_path / "prior.png"
    write_prior(path, weights, count=2, size=16)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.glob("*.png*")] == ["prior.png"]
