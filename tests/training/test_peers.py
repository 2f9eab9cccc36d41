"""Networks of others: trained on the same scans, for minutes, resumed, refused where a part has no use."""

from __future__ import annotations

import json

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from mrunfold.cli.main import app
from mrunfold.errors import InputError
from mrunfold.networks.peers import build_peer
from mrunfold.networks.weights import load_peer, load_weights
from mrunfold.protocols import (
    Blind,
    Measurements,
    ModlSpec,
    NetworkSpec,
    Scanner,
    Stage,
    UnetSpec,
    VarNetSpec,
    load_protocol,
)
from mrunfold.training.run import TrainingSettings, train
from mrunfold.training.simulate import draw_problem
from mrunfold.training.stages import PeerStage, UnfoldStage, peer_loss

QUIET = TrainingSettings(
    accelerator="cpu", devices=1, precision="32-true", progress=False, checkpoint_every=2
)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*num_workers.*")
SPECS = {
    "varnet": VarNetSpec(kind="varnet", cascades=2, chans=2, pools=2, sens_chans=2, sens_pools=2),
    "unet": UnetSpec(kind="unet", chans=4, pools=2),
    "modl": ModlSpec(kind="modl", iterations=2, cg_iterations=2, layers=2, features=4),
}
SCANS = {"coils": (2, 3), "accelerations": (2, 3), "mean_fraction": 1.0, "dropout": 0.0, "points": 0.0}
STAGE = {"batch": 2, "sizes": (40, 48), "learning_rate": 2e-3, "warmup": 2, "ema": 0.5, "loss": "relative"}


def protocol(kind, steps=3, minutes=None, **changes):
    stage = Stage(steps=steps, minutes=minutes, **STAGE)
    given = {
        "network": None, "prior_stage": None, "peer": SPECS[kind], "unfold_stage": stage,
        "measurements": Measurements(scanner=Scanner(two_sets=0.5), **SCANS),
    }  # fmt: skip
    return tiny.protocol(**(given | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    tiny.write_files(folder / "knee")
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", SPECS)
def test_a_peer_is_trained_and_its_file_says_what_it_is(kind, data, tmp_path):
    state = train(protocol(kind), data, tmp_path, settings=QUIET)
    assert (state.finished, state.step) == (True, 3)
    assert [file.name for file in state.weights] == [f"{kind}.safetensors"]
    network, metadata = load_peer(kind, str(state.weights[0]))
    assert (metadata["kind"], metadata["version"], metadata["step"]) == (kind, "1", "3")
    assert json.loads(metadata["range"])["accelerations"] == [2.0, 3.0]
    assert float(metadata["minutes"]) >= 0
    untouched = build_peer(SPECS[kind]).state_dict()
    assert {n: v.shape for n, v in network.state_dict().items()} == {n: v.shape for n, v in untouched.items()}


@pytest.mark.parametrize("kind", SPECS)
def test_a_few_steps_on_one_batch_lower_its_loss(kind):
    stage = PeerStage(protocol(kind), tiny.bank(2))
    batch = stage.draw(torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(stage.network.parameters(), lr=5e-3)
    losses = []
    for _ in range(15):
        loss = peer_loss(stage.network, batch, "relative")
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.97 * losses[0]


def test_all_are_shown_the_scans_of_ours():
    same = {"measurements": protocol("unet").measurements, "prior_stage": None}
    ours = UnfoldStage(tiny.protocol(unfold_stage=protocol("unet").unfold_stage, **same), tiny.bank(2))
    drawn = [
        s.draw(torch.Generator().manual_seed(5)) for s in (ours, PeerStage(protocol("unet"), tiny.bank(2)))
    ]
    assert torch.equal(drawn[0].y, drawn[1].y)
    assert torch.equal(drawn[0].x, drawn[1].x)


def test_the_root_sum_of_squares_is_that_of_the_full_coil_images():
    """With two true maps and all samples it is what the measured coil images show."""
    m = Measurements(scanner=Scanner(), **(SCANS | {"accelerations": (2, 2.01)}))
    b = draw_problem(tiny.bank(2), m, Stage(steps=1, **STAGE), torch.Generator().manual_seed(0))
    inside = b.rss > 0.3
    ratio = b.x.abs().square().sum(dim=1, keepdim=True).sqrt()[inside] / b.rss[inside]
    # The maps combine the same coils: never more than all of them, and nearly all where they are right.
    assert float(ratio.max()) < 1.001
    assert float(ratio.median()) > 0.9


def test_minutes_end_a_run_and_more_of_them_go_on_with_it(data, tmp_path):
    short = protocol("modl", steps=0, minutes=0.01)
    first = train(short, data, tmp_path, settings=QUIET)
    assert first.finished
    assert first.step >= 1
    held = torch.load(tmp_path / "modl" / "last.ckpt", weights_only=True)
    assert held["minutes"] >= 0.01
    (tmp_path / "modl.safetensors").unlink()
    again = train(short, data, tmp_path, settings=QUIET)
    assert (again.finished, again.step) == (True, first.step)
    assert (tmp_path / "modl.safetensors").exists()
    longer = train(short.with_minutes(unfold=held["minutes"] + 0.01), data, tmp_path, settings=QUIET)
    assert longer.finished
    assert longer.step > first.step
    with pytest.raises(InputError, match="a run only grows"):
        train(short, data, tmp_path, settings=QUIET)
    with pytest.raises(InputError, match="minutes: "):
        train(protocol("modl"), data, tmp_path, settings=QUIET)


def test_the_rate_falls_by_the_share_of_minutes_that_has_passed():
    module = PeerStage(protocol("modl", steps=0, minutes=10), tiny.bank(1))
    rates = []
    for minutes in (0.0, 4.9, 7.5, 10.0):
        module._before = minutes
        rates.append(module.rate(100))
    assert rates == pytest.approx([1.0, 1.0, 0.525, 0.05])


def test_minutes_are_of_one_process(data, tmp_path):
    two = TrainingSettings(**(vars(QUIET) | {"devices": 2, "strategy": "ddp"}))
    with pytest.raises(InputError, match="one process"):
        train(protocol("unet", steps=0, minutes=1), data, tmp_path, settings=two)


def test_ours_begins_from_nothing_without_a_prior_stage(data, tmp_path):
    plan = tiny.protocol(prior_stage=None, unfold_stage=Stage(steps=1, **STAGE))
    state = train(plan, data, tmp_path, settings=QUIET)
    assert [file.name for file in state.weights] == ["unfold.safetensors"]
    assert load_weights(state.weights[0])[1]["step"] == "1"
    with pytest.raises(InputError, match="no stage prior"):
        train(plan, data, tmp_path / "other", stages=("prior",), settings=QUIET)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prior_stage": Stage(steps=1, **STAGE)}, "prior_stage"),
        ({"network": NetworkSpec(blocks=1, shared=True)}, "takes the place"),
        ({"peer": None}, r"\[network\]"),
        ({"noise_levels": (0.1, 1.0)}, "noise_levels"),
        ({"unfold_stage": Stage(steps=1, **(STAGE | {"optimiser": "muon"}))}, "muon"),
        ({"measurements": Measurements(**SCANS)}, "scanner"),
        ({"measurements": Measurements(scanner=Scanner(), **(SCANS | {"dropout": 0.1}))}, "dropout"),
        ({"measurements": Measurements(scanner=Scanner(), fed_back=0.5, **SCANS)}, "fed_back"),
        (
            {
                "measurements": Measurements(
                    scanner=Scanner(),
                    blind=Blind(share=0.1, batch=1, sizes=(32, 32), sigma_t=(1, 2)),
                    **SCANS,
                )
            },
            "blind",
        ),
    ],
)
def test_what_a_peer_has_no_use_for_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        protocol("unet", **changes)


def test_a_field_of_another_network_is_refused():
    with pytest.raises(ValueError, match="features"):
        UnetSpec(kind="unet", chans=4, pools=2, features=3)


def test_a_stage_has_an_end():
    with pytest.raises(ValueError, match="steps, at least 1, or minutes"):
        Stage(**STAGE)


def test_files_of_another_network_or_version_are_refused(data, tmp_path):
    file = train(protocol("modl", steps=1), data, tmp_path, settings=QUIET).weights[0]
    with pytest.raises(InputError, match=r"^modl.safetensors holds a network of modl, not of unet"):
        load_peer("unet", str(file))
    with pytest.raises(InputError, match=r"^modl.safetensors holds a network of modl"):
        load_weights(file)
    with pytest.raises(InputError, match="a network of unfold, not of modl"):
        load_peer("modl", "mrunfold/networks/weights/mri-compact.safetensors")
    with safe_open(file, framework="pt") as held:
        state = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        metadata = dict(held.metadata())
    save_file(state, tmp_path / "new.safetensors", metadata | {"version": "9"})
    with pytest.raises(InputError, match="version 9"):
        load_peer("modl", str(tmp_path / "new.safetensors"))
    first = next(iter(state))
    save_file(state | {first: state[first] * torch.nan}, tmp_path / "nan.safetensors", metadata)
    with pytest.raises(InputError, match="not finite"):
        load_peer("modl", str(tmp_path / "nan.safetensors"))


@pytest.mark.parametrize("name", ["mri-varnet", "mri-unet", "mri-modl"])
def test_the_protocols_that_ship_show_the_same_scans_for_the_same_minutes(name):
    peer, ours = load_protocol(name), load_protocol("mri-unfold-lines")
    assert peer.measurements == ours.measurements
    assert peer.images == ours.images
    assert peer.seed == ours.seed
    assert peer.unfold_stage.minutes == ours.unfold_stage.minutes
    assert (peer.unfold_stage.batch, peer.unfold_stage.sizes) == (
        ours.unfold_stage.batch,
        ours.unfold_stage.sizes,
    )
    wide = load_protocol("mri-wide")
    assert (ours.measurements.scanner, ours.images) == (wide.measurements.scanner, wide.images)
    assert peer.peer.kind == name.removeprefix("mri-")


def test_the_command_refuses_two_ends():
    asked = ["train", "mri-unet", "--steps", "3", "--minutes", "1"]
    for arguments, said in ((asked, "give one of them"), (asked[:4], "give --minutes")):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
