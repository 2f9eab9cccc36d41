"""`bench adapt`: rows of what was gained, scored by the full data; the field of view cut to its middle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrunfold.benchmarks import tables
from mrunfold.benchmarks.datasets import scanned
from mrunfold.benchmarks.quality import adapted
from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.masks import draw
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import load_weights, save_weights
from mrunfold.operators import ifft2c
from mrunfold.prepare import build_problem
from mrunfold.protocols import NetworkSpec, PriorSpec
from mrunfold.training.adapt import AdaptSettings

QUICK = AdaptSettings(steps=8, every=4, learning_rate=2e-3, levels_rate=2e-2, warmup=1, precision="float32")
SPEC = NetworkSpec(blocks=2, shared=False, cg_iterations=3, prior=PriorSpec(widths=(8, 12), blocks=1))


def slice_(size=64):
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    image = (x**2 + y**2 < 0.6) + 0.5 * ((x - 0.2) ** 2 + y**2 < 0.2)
    return scanned(image.astype(np.complex64), "disc", coils=4)


@pytest.fixture
def weights(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PosteriorDenoiser.from_spec(SPEC)
        for prior in network.priors:
            torch.nn.init.normal_(prior.tail.weight, std=0.05)
    save_weights(tmp_path / "w.safetensors", network, SPEC)
    return str(tmp_path / "w.safetensors")


def test_a_row_says_what_the_weights_before_are_worth_and_what_was_gained(weights, tmp_path):
    full = slice_()
    (row,) = adapted.measure([full], [("poisson", 3.0)], QUICK, True, weights)
    mask = draw("poisson", (64, 64), 3.0, seed=0)
    problem = build_problem(full.kspace, full.header, mask, acquired=np.ones((64, 64), bool))
    with torch.no_grad():
        before = load_weights(weights)[0].mean(problem)
    judge = Judge.of(full.kspace, problem)
    assert row.psnr[0] == pytest.approx(judge.psnr(before), abs=0.01)
    assert row.rss[0] == pytest.approx(judge.rss(before), abs=0.01)
    assert row.held[1] < row.held[0]
    assert row.psnr[1] != row.psnr[0]
    adapted.save([row], tmp_path / "rows.json")
    assert adapted.load(tmp_path / "rows.json") == [row]

    again = adapted.measure([full], [("poisson", 3.0)], QUICK, True, weights, done=[replace(row, steps=77)])
    assert again[0].steps == 77  # taken as it was, not measured again

    other = replace(row, mask="random", psnr=(30.0, 29.5), rss=(20.0, 21.0))
    adapted.save([other], tmp_path / "rows.json", earlier=[row])
    (table,) = tables.markdown([tmp_path / "rows.json"])
    gains = (row.psnr[1] - row.psnr[0] - 0.5) / 2
    assert f"mean, shifted, n = 2 |  |  | all |  | {gains:+.2f} (least -0.50)" in table


def test_what_cannot_be_split_is_said_and_left_out(weights, capsys):
    assert adapted.measure([slice_()], [("random", 24.0)], QUICK, True, weights) == []
    assert "disc random R=24" in capsys.readouterr().out


def test_the_field_of_view_is_cut_to_its_middle():
    full = slice_(64)
    small = adapted.cut(full, 48)
    whole, part = (ifft2c(torch.from_numpy(one.kspace)) for one in (full, small))
    assert torch.allclose(part, whole[:, 8:56, 8:56], atol=1e-5)
    assert small.header.matrix == small.header.crop == (48, 48)
    assert adapted.cut(full, 100).kspace.shape == full.kspace.shape
