"""Draws without a measurement: seeded, of the network's prior alone, one by one what they are together."""

import pytest
import torch

from mrunfold.benchmarks.quality.pictures import draw_prior, write_prior
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.prior import Prior
from mrunfold.networks.weights import save_weights
from mrunfold.protocols import NetworkSpec, PriorSpec

SPEC = NetworkSpec(blocks=2, shared=True, prior=PriorSpec(widths=(8, 8), blocks=1))


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    network = PosteriorDenoiser.from_spec(SPEC)
    torch.nn.init.normal_(network.prior(0).tail.weight, std=0.002)
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


def test_the_noise_of_the_state_is_gone_at_the_end(weights, monkeypatch):
    # A prior for which every image is empty: from σ = 32 nothing is left.
    monkeypatch.setattr(Prior, "forward", lambda self, x, tau: torch.zeros_like(x))
    x = draw_prior(weights, count=4, size=32, steps=12)
    assert float(x.abs().square().mean().sqrt()) < 0.02


def test_a_draw_begins_above_the_longest_wave_of_an_image(weights, monkeypatch):
    begun = []

    def recorded(denoiser, x, sigmas, generators):
        begun.append((x, float(sigmas[0])))
        return x

    monkeypatch.setattr("mrunfold.benchmarks.quality.pictures.sample_ancestral", recorded)
    draw_prior(weights, count=2, size=24)
    x, sigma = begun[0]
    longest = torch.fft.fft2(torch.ones(24, 24), norm="ortho").abs().max()
    assert sigma >= float(longest)
    assert float(x.abs().square().mean().sqrt()) == pytest.approx(sigma, rel=0.1)


def test_the_picture_is_written_whole(weights, tmp_path):
    path = tmp_path / "prior.png"
    write_prior(path, weights, count=2, size=16)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.glob("*.png*")] == ["prior.png"]
