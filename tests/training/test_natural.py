"""Training on photographs: what is drawn, and that both stages run, resume and can be used."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.io.images import write_photo
from mrunfold.networks.weights import load_weights
from mrunfold.problem import Problem
from mrunfold.protocols import (
    Degradations,
    ImageSet,
    NetworkSpec,
    PriorSpec,
    Stage,
    TrainingProtocol,
    load_protocol,
)
from mrunfold.training.natural import draw_natural_problem
from mrunfold.training.natural_images import PhotoBank, random_photo
from mrunfold.training.natural_operators import draw_measurement
from mrunfold.training.run import TrainingSettings, train

QUIET = TrainingSettings(
    accelerator="cpu", devices=1, precision="32-true", progress=False, checkpoint_every=2
)
LAW = load_protocol("natural-compact").degradations
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*num_workers.*")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for n in range(3):
        coarse = torch.from_numpy(rng.random((1, 3, 9, 12), np.float32))
        image = torch.nn.functional.interpolate(coarse, (90, 120), mode="bicubic").clamp(0, 1)[0].numpy()
        write_photo(folder / f"{n}.png", image)
    write_photo(folder / "small.png", np.zeros((3, 20, 20)))
    return folder


def protocol(**changes):
    stage = Stage(steps=4, batch=3, sizes=(40, 48), learning_rate=1e-3, warmup=2, ema=0.8)
    settings = {
        "name": "tiny",
        "seed": 3,
        "images": (ImageSet(pattern="*.png", reader="photo", weight=1, licence="generated"),),
        "network": NetworkSpec(
            blocks=2, shared=False, cg_iterations=3,
            prior=PriorSpec(kind="real", channels=3, widths=(8, 12), blocks=1),
        ),
        "prior_stage": stage,
        "unfold_stage": stage,
        "degradations": LAW,
    }  # fmt: skip
    return TrainingProtocol(**(settings | changes))


@pytest.fixture(scope="module")
def bank(data):
    return PhotoBank.load(data, protocol().images, 48)


def test_small_images_are_left_out_and_missing_ones_said(data, bank, tmp_path):
    assert [f.name for f in bank.sets[0]] == ["0.png", "1.png", "2.png"]
    with pytest.raises(InputError, match="smaller than 500"):
        PhotoBank.load(data, protocol().images, 500)
    with pytest.raises(InputError, match="`data=FOLDER`"):
        PhotoBank.load(tmp_path, protocol().images, 48)


def test_patches_are_in_range_and_some_are_grey(bank):
    patches = [random_photo(bank, LAW, (40, 44), generator(seed)) for seed in range(60)]
    assert all(p.shape == (3, 40, 44) and p.min() >= 0 and p.max() <= 1 for p in patches)
    grey = sum(bool((p == p[:1]).all()) for p in patches)
    assert 1 <= grey <= 20
    assert torch.equal(patches[5], random_photo(bank, LAW, (40, 44), generator(5)))


@pytest.mark.parametrize("task", [*LAW.tasks, "nothing"])
def test_measurements_are_those_of_their_operator(bank, task):
    exact = LAW.model_copy(update={"misjudged": 0.0, "real_borders": 0.0})
    for seed in range(3):
        item = draw_measurement(task, bank, exact, (40, 44), generator(seed))
        assert item.x.shape == item.A.domain.shape == (3, 40, 44)
        torch.testing.assert_close(item.A(item.x), item.clean, rtol=1e-4, atol=1e-5)
        gain = item.A.normal(item.x).norm() / item.x.norm()
        assert gain <= 1.01


def test_what_lies_beyond_the_border_blurs_in(bank):
    law = LAW.model_copy(update={"misjudged": 0.0, "real_borders": 1.0})
    item = draw_measurement("motion", bank, law, (40, 44), generator(4))
    off = (item.A(item.x) - item.clean).abs()
    assert off[:, 14:-14, 14:-14].max() < 1e-5  # half of the longest kernel from the border
    assert off.max() > 1e-3


def test_problems_have_the_noise_that_they_say(bank):
    stage = Stage(steps=1, batch=6, sizes=(48, 48), learning_rate=1e-3)
    law = LAW.model_copy(update={"misjudged": 0.0, "real_borders": 0.0})
    kinds, without_state = Counter(), 0
    for seed in range(25):
        b = draw_natural_problem(bank, law, stage, generator(seed))
        seen = b.A.observed()
        assert not bool(b.y[~seen].any())
        count = seen.sum(dim=-1)
        residual = (b.y - b.A(b.x)).square().sum(dim=-1)
        ratio = (residual / (count * b.sigma_y**2))[count > 0]
        assert bool(((ratio - 1).abs() < 0.25).all())
        finite = b.sigma_t.isfinite()
        without_state += int((~finite).sum())
        assert not bool(b.x_t[~finite].any())
        spread = ((b.x_t - b.x)[finite] / b.sigma_t[finite][:, None, None, None]).std(dim=(1, 2, 3))
        assert bool(((spread - 1).abs() < 0.1).all())
        assert not bool((count == 0)[~finite].any()), "nothing measured and no state: nothing to learn"
        kinds.update(type(flat.of).__name__ for flat in b.A.operators)
    assert len(kinds) == 6
    assert without_state / 150 == pytest.approx(0.6 * (1 - LAW.dropout), abs=0.12)


def test_both_stages_run_and_the_weights_are_used(data, tmp_path):
    first = train(protocol().with_steps(unfold=2), data, tmp_path / "a", settings=QUIET)
    assert first.finished
    grown = train(protocol(), data, tmp_path / "a", settings=QUIET)
    assert (grown.stage, grown.step, grown.finished) == ("unfold", 4, True)
    network, metadata = load_weights(tmp_path / "a" / "unfold.safetensors")
    assert metadata["protocol_digest"] == protocol().digest()
    A = draw_measurement("denoise", PhotoBank.load(data, protocol().images, 48), LAW, (33, 47), generator()).A
    y = torch.rand(3, 33, 47, generator=generator())
    with torch.inference_mode():
        mean = network.mean(Problem(y, A, torch.tensor(0.1), torch.tensor(1.0)))
    assert mean.shape == y.shape
    assert bool(mean.isfinite().all())


def test_photographs_and_scans_are_not_mixed():
    scan = ImageSet(pattern="*.h5", reader="fastmri", weight=1, licence="generated")
    with pytest.raises(ValueError, match="are of photographs"):
        protocol(images=(scan,))
    with pytest.raises(ValueError, match="3 channels"):
        protocol(network=NetworkSpec(blocks=1, shared=True, prior=PriorSpec()))
    with pytest.raises(ValueError, match="tasks"):
        Degradations(tasks={"sharpen": 1.0})


def test_a_law_of_scans_has_no_degradations():
    assert load_protocol("mri-compact").degradations is None
