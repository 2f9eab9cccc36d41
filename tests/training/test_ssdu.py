"""Training on undersampled k-space: what is given and predicted, the loss, the protocol, a short run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from rawfiles import coil_kspace, write_fastmri

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region, draw
from mrunfold.networks.weights import load_weights
from mrunfold.protocols import ImageSet, Measurements, Splits, Stage, load_protocol
from mrunfold.training.curve import read_log
from mrunfold.training.images import ImageBank
from mrunfold.training.run import TrainingSettings, train
from mrunfold.training.ssdu import draw_split, split_loss

STAGE = Stage(steps=1, batch=2, sizes=(32, 48), learning_rate=1e-3)
RULES = Measurements(coils=(2, 8), mean_fraction=1.0, dropout=0.0)
SPLITS = Splits(shares=(0.3,))
SET = ImageSet(pattern="**/*.h5", reader="acquired", weight=1, licence="generated")
NOISE = 0.01


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_scan(path: Path, seed: int = 0, coils: int = 4, accel: float = 2.5) -> np.ndarray:
    """Write a fastMRI-like file of which lines were left out; return its mask (readout, phase)."""
    images = np.stack([tiny.ellipses(seed + i) for i in range(2)])
    path.parent.mkdir(parents=True, exist_ok=True)
    kspace = coil_kspace(images, coils, NOISE, seed=seed)
    mask = np.asarray(draw("random", (72, 64), accel, seed=seed, center_fraction=0.2).array)
    write_fastmri(path, kspace * mask)
    return mask


def drawn(folder: Path, seed: int = 0):
    return draw_split(ImageBank.load(folder, [SET]), RULES, STAGE, SPLITS, generator(seed))


def test_what_is_given_and_what_is_predicted_make_what_was_acquired(tmp_path):
    lines = write_scan(tmp_path / "a.h5").any(axis=0)
    for seed in range(3):
        b = drawn(tmp_path, seed)
        given, there = (A.observed().any(dim=1) for A in (b.A, b.B))
        assert not (given & there).any()
        assert (given | there).all(dim=-2).equal(torch.from_numpy(lines).expand(2, -1))
        middle = calibration_region(np.broadcast_to(lines, (72, 64)))[1]
        assert given[..., 32 - middle // 2 : 32 - middle // 2 + middle].all()
        share = there.sum() / (there.sum() + given.sum() - 2 * middle * given.shape[-2])
        assert float(share) == pytest.approx(0.3, abs=0.06)
        assert float((b.weight * ~there).abs().max()) == 0
        assert float((b.y * ~given[:, None]).abs().max()) == 0
        assert float(b.other[there[:, None].expand_as(b.other)].abs().min()) > 0
        assert 32 <= b.y.shape[-2] <= 48, "the readout is cut"


def test_another_seed_splits_otherwise(tmp_path):
    write_scan(tmp_path / "a.h5")
    one, same, other = (drawn(tmp_path, seed) for seed in (1, 1, 2))
    assert torch.equal(one.y, same.y)
    assert one.y.shape != other.y.shape or not torch.equal(one.y, other.y)


def test_the_loss_by_hand(tmp_path):
    write_scan(tmp_path / "a.h5")
    b = drawn(tmp_path)
    x = 0.3 * b.A.adjoint(b.y)
    expected = []
    for i in range(2):
        there = b.B.mask[i].bool()
        w = b.weight[i][there].numpy()
        y = b.other[i][:, there].numpy()
        miss = y - b.B(x)[i][:, there].numpy()
        second = np.sqrt((w * abs(miss) ** 2).sum() / (w * abs(y) ** 2).sum())
        expected.append((second + (w * abs(miss)).sum() / (w * abs(y)).sum()) / 2)
    found = split_loss(lambda *_: x, b)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(split_loss(lambda *_: torch.zeros_like(x), b)) == pytest.approx(1, rel=1e-5)


def test_the_network_sees_none_of_what_it_predicts(tmp_path):
    write_scan(tmp_path / "a.h5")
    b = drawn(tmp_path)
    seen = []

    def network(x_t, sigma_t, y, A, sigma_y):
        seen.extend([y, A.observed()])
        assert x_t is None
        assert bool(sigma_t.isinf().all())
        return A.adjoint(y)

    split_loss(network, b)
    y, kept = seen
    assert not (kept & b.B.observed()).any()
    assert float((y * b.B.mask[:, None]).abs().max()) == 0


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*num_workers.*")
def test_a_run_from_nothing_learns_from_undersampled_scans(tmp_path):
    for i in range(3):
        write_scan(tmp_path / "data" / "multicoil_train" / f"a{i}.h5", seed=10 * i)
    write_scan(tmp_path / "data" / "multicoil_val" / "b.h5", seed=50)
    held = SET.model_copy(update={"held_back": ("**/multicoil_val/**/*.h5",)})
    plan = tiny.protocol(images=(held,), measurements=RULES, prior_stage=None, splits=SPLITS)
    plan = plan.with_steps(unfold=24)
    settings = TrainingSettings("cpu", 1, precision="32-true", progress=False, validate_every=8)
    state = train(plan, tmp_path / "data", tmp_path / "run", settings=settings)
    assert state.finished
    assert [file.name for file in state.weights] == ["unfold.safetensors"]
    values = [value for _, value in read_log(tmp_path / "run" / "unfold" / "log", "validation")]
    assert len(values) == 3
    assert values[-1] < values[0] < 1.5
    _, facts = load_weights(str(state.weights[0]))
    assert facts["protocol"] == "tiny"


def test_scans_that_cannot_be_trained_on_are_said_before(tmp_path, caplog):
    write_scan(tmp_path / "one.h5", coils=1)
    with pytest.raises(InputError, match="has k-space of several coils on a grid"):
        ImageBank.load(tmp_path, [SET])
    kspace = coil_kspace(np.stack([tiny.ellipses(0)] * 2), 4, NOISE)
    kspace[..., ::2] = 0  # no centre: no maps
    write_fastmri(tmp_path / "gaps.h5", kspace)
    write_scan(tmp_path / "two.h5")
    with caplog.at_level(logging.WARNING):
        bank = ImageBank.load(tmp_path, [SET])
    assert [file.file.name for file in bank.raw[0]] == ["two.h5"]
    assert "2 of 3 files are left out, their k-space is of one coil or has no centre" in caplog.text
    assert "gaps.h5, one.h5" in caplog.text


def test_a_file_with_too_few_lines_is_named(tmp_path):
    kspace = coil_kspace(np.stack([tiny.ellipses(0)] * 2), 4, NOISE)
    kspace[..., :24] = 0
    kspace[..., 40:] = 0  # nothing outside of the centre
    write_fastmri(tmp_path / "b.h5", kspace)
    with pytest.raises(InputError, match=r"b\.h5: no slices that can be split \(only 0 lines"):
        drawn(tmp_path)


def test_the_protocol_that_ships_has_the_network_of_the_shipped_weights():
    plan, wide = load_protocol("mri-ssdu"), load_protocol("mri-wide")
    assert plan.splits is not None
    assert plan.prior_stage is None
    assert plan.network.prior == wide.network.prior
    assert plan.network.blocks == wide.network.blocks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": None}, "go together"),
        ({"images": (SET.model_copy(update={"reader": "kspace"}),)}, "go together"),
        ({"prior_stage": STAGE}, "no use for prior_stage"),
        ({"measurements": Measurements(fed_back=0.5)}, "no use for measurements.fed_back, measurements.mean"),
        ({"unfold_stage": STAGE.model_copy(update={"samples_stay": True})}, "no use for .*samples_stay"),
    ],
)
def test_what_has_no_part_in_it_is_refused(changes, message):
    fields = {"images": (SET,), "measurements": RULES, "prior_stage": None, "splits": SPLITS}
    with pytest.raises(ValueError, match=message):
        tiny.protocol(**(fields | changes))
