"""Training on measured k-space: batches are what the files hold; what cannot be trained on is named."""

from __future__ import annotations

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny
import torch
from rawfiles import coil_kspace, write_fastmri

from mrunfold.errors import InputError
from mrunfold.protocols import ImageSet, Measurements, Stage, load_protocol
from mrunfold.training.curve import read_log
from mrunfold.training.images import ImageBank
from mrunfold.training.run import TrainingSettings, train
from mrunfold.training.simulate import draw_problem

NOISE = 0.01
STAGE = Stage(steps=1, batch=2, sizes=(32, 48), learning_rate=1e-3)
RULES = Measurements(coils=(1, 4), accelerations=(2, 4), mean_fraction=1.0)
SET = ImageSet(pattern="**/*.h5", reader="kspace", weight=1, licence="generated")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_scan(path: Path, seed: int = 0, coils: int = 4, slices: int = 3, noise: float = NOISE) -> Path:
    """A fastMRI-like file, its readout oversampled twice; the first slice holds noise alone."""
    images = np.stack([tiny.ellipses(seed + i) * (i > 0) for i in range(slices)])
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_fastmri(path, coil_kspace(images, coils, noise, seed=seed, readout=144), crop=(72, 64))


def test_what_is_drawn_explains_what_was_measured(tmp_path):
    write_scan(tmp_path / "a.h5")
    bank = ImageBank.load(tmp_path, [SET])
    assert [file.slices for file in bank.raw[0]] == [(1, 2)], "the empty slice is left out"
    for seed in range(4):
        problem = draw_problem(bank, RULES, STAGE, generator(seed))
        assert problem.y.shape[:2] == (2, 4)
        assert 32 <= problem.y.shape[-2] <= 48
        assert problem.y.shape[-1] == 64, "lines are as they were sampled"
        kept = problem.A.observed()
        assert float(problem.y[~kept.expand_as(problem.y)].abs().max()) == 0
        residual = (problem.y - problem.A(problem.x))[kept.expand_as(problem.y)].abs().square().mean().sqrt()
        # The target has the noise that the maps see, and maps of a few lines are off by some per cent.
        assert float(residual) < 4 * float(problem.sigma_y.mean())
        assert 0.5 < float(problem.x.abs().amax()) < 4


def test_the_noise_level_is_that_of_the_file(tmp_path):
    write_scan(tmp_path / "a.h5", noise=0.1)
    bank = ImageBank.load(tmp_path, [SET])
    found = []
    for seed in range(4):
        problem = draw_problem(bank, RULES, STAGE, generator(seed))
        energy = problem.x.abs().square().sum(dim=-3).mean(dim=(-2, -1)).sqrt()
        found += (problem.sigma_y / energy).tolist()
    # Noise over signal, whatever the whitening and the scale are; the median, as slice 0 is noise alone.
    expected = 0.1 / np.sqrt(np.mean([(tiny.ellipses(seed) ** 2).mean() for seed in (1, 2)]))
    assert np.median(found) == pytest.approx(expected, rel=0.25)


def test_a_seed_is_a_batch(tmp_path):
    write_scan(tmp_path / "a.h5")
    write_scan(tmp_path / "b.h5", seed=7)
    bank = ImageBank.load(tmp_path, [SET])
    one, same, other = (draw_problem(bank, RULES, STAGE, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.y, same.y)
    assert torch.equal(one.x, same.x)
    assert one.y.shape != other.y.shape or not torch.equal(one.y, other.y)


def test_more_coils_than_the_protocol_has_are_compressed(tmp_path):
    write_scan(tmp_path / "a.h5", coils=6)
    problem = draw_problem(ImageBank.load(tmp_path, [SET]), RULES, STAGE, generator())
    assert problem.y.shape[1] == 4


def test_images_and_scans_are_drawn_by_weight(tmp_path):
    write_scan(tmp_path / "raw" / "a.h5")
    tiny.write_files(tmp_path / "images", count=1)
    images = SET.model_copy(update={"pattern": "images/*.h5", "reader": "fastmri", "weight": 3.0})
    bank = ImageBank.load(tmp_path, [SET.model_copy(update={"pattern": "raw/*.h5"}), images])
    g = generator()
    share = np.mean([bool(bank.scans(g)) for _ in range(400)])
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)
    image = bank.sets[0][0](g)
    assert image.shape == (72, 64)
    assert np.percentile(image.numpy(), 99) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_file_with_nan_is_named_before_training(tmp_path, value):
    path = write_scan(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["kspace"][2, 1, 5, 5] = value
    with pytest.raises(InputError, match=r"a\.h5: slice 2 has NaN or infinite k-space"):
        ImageBank.load(tmp_path, [SET])


def test_files_without_full_kspace_are_said(tmp_path, caplog):
    write_scan(tmp_path / "a.h5")
    write_scan(tmp_path / "single.h5", coils=1)
    kspace = coil_kspace(np.stack([tiny.ellipses(0)] * 2), 4, NOISE)
    kspace[..., ::2] = 0
    write_fastmri(tmp_path / "under.h5", kspace)
    with caplog.at_level(logging.WARNING):
        bank = ImageBank.load(tmp_path, [SET])
    assert [file.file.name for file in bank.raw[0]] == ["a.h5"]
    assert "2 of 3 files are left out" in caplog.text
    assert "single.h5, under.h5" in caplog.text


def test_without_any_kspace_the_images_are_taken_and_it_is_said(tmp_path, caplog):
    tiny.write_files(tmp_path, count=1)
    write_scan(tmp_path / "single.h5", coils=1)
    (tmp_path / "file0.h5").unlink()
    with caplog.at_level(logging.WARNING):
        bank = ImageBank.load(tmp_path, [SET])
    assert bank.raw == ()
    assert "simulated for their root-sum-of-squares images" in caplog.text
    assert draw_problem(bank, RULES, STAGE, generator()).y.shape[0] == 2


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*num_workers.*")
def test_both_stages_train_with_a_validation_loss_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install '.[train]'")
    for i in range(2):
        write_scan(tmp_path / "data" / "multicoil_train" / f"a{i}.h5", seed=10 * i)
    write_scan(tmp_path / "data" / "multicoil_val" / "b.h5", seed=50)
    held = SET.model_copy(update={"held_back": ("**/multicoil_val/**/*.h5",)})
    plan = tiny.protocol(images=(held,), measurements=Measurements(coils=(1, 4), accelerations=(2, 4)))
    settings = TrainingSettings(
        *("cpu", 1),
        precision="32-true",
        progress=False,
        checkpoint_every=6,
        validate_every=6,
        tensorboard=True,
    )
    state = train(plan, tmp_path / "data", tmp_path / "run", settings=settings)
    assert state.finished
    log = read_log(tmp_path / "run" / "unfold" / "log", "validation")
    assert [step for step, _ in log] == [6, 12]
    assert all(0 < value < 10 for _, value in log)
    events = list((tmp_path / "run" / "unfold" / "tensorboard").rglob("events.out.*"))
    assert events
    assert b"validation" in events[0].read_bytes()


def test_nothing_held_back_is_said_and_trains_all_the_same(tmp_path, caplog):
    tiny.write_files(tmp_path / "data", count=1)
    held = SET.model_copy(update={"reader": "fastmri", "held_back": ("val/*.h5",)})
    plan = tiny.protocol(images=(held,)).with_steps(prior=1, unfold=1)
    settings = TrainingSettings("cpu", 1, precision="32-true", progress=False)
    with caplog.at_level(logging.WARNING):
        assert train(plan, tmp_path / "data", tmp_path / "run", settings=settings).finished
    assert "no validation loss" in caplog.text


def test_the_protocol_that_ships_reads_kspace():
    plan = load_protocol("mri-fastmri-kspace")
    assert [images.reader for images in plan.images] == ["kspace"]
    assert plan.images[0].held_back == ("**/multicoil_val/**/*.h5",)


def test_a_part_of_the_readout_is_that_part_of_the_image(tmp_path):
    from mrunfold.io import open_scan
    from mrunfold.operators import ifft2c
    from mrunfold.training.raw import cropped

    path = write_scan(tmp_path / "a.h5", noise=0.0)
    with open_scan(path) as scan:
        whole, header = cropped(scan.kspace(1), scan.header)
        assert header.matrix == whole.shape[1:] == (72, 64)
        for seed in range(3):
            g = generator(seed)
            first = int(torch.randint(72 - 40 + 1, (1,), generator=generator(seed)))
            part, cut = cropped(scan.kspace(1), scan.header, 40, g)
            assert cut.matrix == part.shape[1:] == (40, 64)
            images = ifft2c(torch.from_numpy(whole))[:, first : first + 40]
            torch.testing.assert_close(ifft2c(torch.from_numpy(part)), images, atol=1e-5, rtol=0)
