"""Training: it learns, it resumes as if undisturbed, it refuses what cannot go on."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file

from mrunfold.errors import InputError
from mrunfold.networks.weights import load_weights
from mrunfold.protocols import Measurements, Stage
from mrunfold.training.curve import read_log
from mrunfold.training.run import TrainingSettings, choose_precision, start_from_file, train, untrained

QUIET = TrainingSettings(
    accelerator="cpu", devices=1, precision="32-true", progress=False, checkpoint_every=5
)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*num_workers.*")


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


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(tiny.protocol(), data, out, settings=QUIET), out


def interrupt_at(step):
    """Settings whose run gets Ctrl-C at a step of stage two."""

    def measure(network):
        os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    return TrainingSettings(**(vars(QUIET) | {"validate": measure, "validate_every": step}))


def same(a, b):
    a, b = load_file(a), load_file(b)
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_writes_weights_log_and_curve(undisturbed):
    state, out = undisturbed
    assert state.finished
    assert [f.name for f in state.weights] == ["prior.safetensors", "unfold.safetensors"]
    network, metadata = load_weights(out / "unfold.safetensors")
    assert network.blocks == 2
    assert metadata["protocol_digest"] == tiny.protocol().digest()
    assert metadata["step"] == "12"
    for stage in ("prior", "unfold"):
        assert [step for step, _ in read_log(out / stage / "log")] == list(range(12))
        assert (out / stage / "loss.png").stat().st_size > 1000
    assert not list(out.rglob("*.part"))


def test_interrupted_and_resumed_is_the_same_as_undisturbed(data, undisturbed, tmp_path):
    out = tmp_path / "run"
    handler = signal.getsignal(signal.SIGINT)
    state = train(tiny.protocol(), data, out, settings=interrupt_at(7))
    assert signal.getsignal(signal.SIGINT) is handler
    assert (state.stage, state.step, state.finished) == ("unfold", 7, False)
    assert not (out / "unfold.safetensors").exists()
    assert (out / "unfold" / "loss.png").exists()
    state = train(tiny.protocol(), data, out, settings=QUIET)
    assert state.finished
    assert same(out / "unfold.safetensors", undisturbed[1] / "unfold.safetensors")
    assert read_log(out / "unfold" / "log") == read_log(undisturbed[1] / "unfold" / "log")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_the_trainers(number, data, undisturbed, tmp_path):
    """A job scheduler tells each process of a job, those that draw batches too."""
    alive = []

    def measure(network):
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)
        time.sleep(0.5)  # a worker that is not deaf is gone by now
        alive.extend(child.is_alive() for child in multiprocessing.active_children())
        os.kill(os.getpid(), number)
        return 0.0

    changes = {"validate": measure, "validate_every": 7, "workers": 1}
    state = train(tiny.protocol(), data, tmp_path, settings=TrainingSettings(**(vars(QUIET) | changes)))
    assert (state.stage, state.step, state.finished) == ("unfold", 7, False)
    assert alive == [True]
    assert train(tiny.protocol(), data, tmp_path, settings=QUIET).finished
    assert same(tmp_path / "unfold.safetensors", undisturbed[1] / "unfold.safetensors")


def test_a_killed_run_resumes_from_its_checkpoint(data, undisturbed, tmp_path):
    class Killed(BaseException):
        pass

    def die(network):
        raise Killed  # as a crash would: nothing is saved on the way out

    settings = TrainingSettings(**(vars(QUIET) | {"validate": die, "validate_every": 9}))
    with pytest.raises(Killed):
        train(tiny.protocol(), data, tmp_path, settings=settings)
    held = torch.load(tmp_path / "unfold" / "last.ckpt", weights_only=True)
    assert held["global_step"] == 5
    train(tiny.protocol(), data, tmp_path, settings=QUIET)
    assert same(tmp_path / "unfold.safetensors", undisturbed[1] / "unfold.safetensors")


def test_a_run_may_grow_but_not_shrink(data, undisturbed, tmp_path):
    changed = tiny.protocol().with_steps(prior=6)
    train(tiny.protocol().with_steps(prior=6, unfold=1), data, tmp_path, ("prior",), QUIET)
    with pytest.raises(InputError, match="only grows"):
        train(changed.with_steps(prior=5), data, tmp_path, ("prior",), QUIET)
    state = train(tiny.protocol(), data, tmp_path, ("prior",), QUIET)
    assert state.step == 12
    history = json.loads((tmp_path / "protocol.json").read_text())["history"]
    assert [h["prior"] for h in history] == [6, 12]
    held = torch.load(tmp_path / "prior" / "last.ckpt", weights_only=True)
    first, before, steps = held["plan"]
    assert (first, steps) == (6, 12)
    assert 0 < before < 0.2  # the first plan had cooled down


def test_another_protocol_in_the_same_folder_is_refused(data, tmp_path):
    small = tiny.protocol().with_steps(prior=1, unfold=1)
    train(small, data, tmp_path, ("prior",), QUIET)
    other = small.model_copy(update={"seed": 4})
    with pytest.raises(InputError, match=r"another protocol \(seed: 3 then, 4 now\).*choose another `out`"):
        train(other, data, tmp_path, ("prior",), QUIET)


def test_stage_two_needs_a_prior(data, undisturbed, tmp_path):
    with pytest.raises(InputError, match=r"`init`"):
        train(tiny.protocol(), data, tmp_path, ("unfold",), QUIET)
    with pytest.raises(InputError, match="takes the place of stage one"):
        train(tiny.protocol(), data, tmp_path, settings=QUIET, init=undisturbed[1] / "prior.safetensors")
    one = tiny.protocol().with_steps(unfold=1)
    for name in ("prior", "unfold"):
        init = undisturbed[1] / f"{name}.safetensors"
        assert train(one, data, tmp_path / name, ("unfold",), QUIET, init).finished
    wide = tiny.protocol(network=tiny.protocol().network.model_copy(update={"blocks": 3}))
    with pytest.raises(InputError, match="does not fit"):
        train(wide, data, tmp_path / "w", ("unfold",), QUIET, undisturbed[1] / "unfold.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="does not fit"):
        train(one, data, tmp_path / "j", ("unfold",), QUIET, tmp_path / "junk.safetensors")
    with pytest.raises(InputError, match=r"unknown stage 'unfolt'.*unfold"):
        train(one, data, tmp_path / "s", ("unfolt",), QUIET)


def test_a_deeper_network_goes_on_from_where_a_shallow_one_was(data, undisturbed):
    protocol = tiny.protocol()
    deep = protocol.network.model_copy(
        update={"prior": protocol.network.prior.model_copy(update={"blocks": 3})}
    )
    module = untrained("unfold", protocol.model_copy(update={"network": deep}), tiny.bank())
    file = undisturbed[1] / "unfold.safetensors"
    start_from_file(module, file)
    x = torch.randn(2, 1, 24, 20, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    tau = torch.tensor([0.05, 0.2])
    with torch.inference_mode():
        grown, shallow = (n.prior(1)(x, tau) for n in (module.network, load_weights(str(file))[0]))
        averaged = module.averaged.prior(1)(x, tau)
    assert torch.equal(grown, shallow)
    assert torch.equal(averaged, shallow)
    # What is new can learn: the first convolution is random, so the zero after it has a gradient.
    module.network.prior(0)(x, tau).abs().sum().backward()
    new = module.network.prior(0).body[2]
    assert bool(new.first.weight.any())
    assert float(new.second.weight.grad.abs().max()) > 0


def test_a_network_of_another_width_is_refused(data, undisturbed):
    protocol = tiny.protocol()
    wide = protocol.network.model_copy(
        update={"prior": protocol.network.prior.model_copy(update={"widths": (12, 16), "blocks": 2})}
    )
    module = untrained("unfold", protocol.model_copy(update={"network": wide}), tiny.bank())
    with pytest.raises(InputError, match="does not fit"):
        start_from_file(module, undisturbed[1] / "unfold.safetensors")


def test_no_images_is_said(tmp_path):
    with pytest.raises(InputError, match=r"no training images at .*`data"):
        train(tiny.protocol(), tmp_path, tmp_path / "out", settings=QUIET)
    assert not (tmp_path / "out").exists()


def test_fifty_steps_lower_the_loss(data, tmp_path):
    settings = Stage(steps=50, batch=4, sizes=(40, 48), learning_rate=2e-3, warmup=5, ema=0.8)
    law = Measurements(accelerations=(3, 3), coils=(4, 4), sigma_y=(0.1, 0.1), mean_fraction=1, dropout=0)
    protocol = tiny.protocol(
        prior_stage=settings, unfold_stage=settings, measurements=law, noise_levels=(0.2, 0.4)
    )
    train(protocol, data, tmp_path, settings=QUIET)
    trained = {s: load_file(tmp_path / f"{s}.safetensors") for s in ("prior", "unfold")}

    def mean_loss(stage, start):
        """The same batches before and after: the spread between draws would hide what was learned."""
        module = untrained(stage, protocol, tiny.bank())
        start(module.network)
        module.log = lambda *_, **__: None
        with torch.no_grad():
            batches = (module.draw(torch.Generator().manual_seed(1000 + i)) for i in range(10))
            return float(np.mean([float(module.training_step(b, 0)) for b in batches]))

    before = {
        "prior": mean_loss("prior", lambda network: None),
        "unfold": mean_loss("unfold", lambda network: network.load_prior(trained["prior"])),
    }
    for stage, first in before.items():
        loss = [value for _, value in read_log(tmp_path / stage / "log")]
        assert len(loss) == 50
        assert np.isfinite(loss).all()
        state = trained[stage]
        last = mean_loss(stage, lambda network, state=state: network.load_state_dict(state))
        assert last < 0.9 * first, f"{stage}: {first:.4f} → {last:.4f}"


def test_workers_draw_the_same_batches(data, undisturbed, tmp_path):
    settings = TrainingSettings(**(vars(QUIET) | {"workers": 2}))
    train(tiny.protocol(), data, tmp_path, ("prior",), settings)
    assert same(tmp_path / "prior.safetensors", undisturbed[1] / "prior.safetensors")


def test_precision_follows_the_hardware(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for has in units:
        for name in units:
            monkeypatch.setattr(torch.cpu, name, lambda yes=name == has: yes, raising=False)
        assert choose_precision() == "bf16-mixed"
    for name in units:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert choose_precision() == choose_precision("cpu") == "32-true"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_precision() == "bf16-mixed"
    assert choose_precision("cpu") == "32-true"


@pytest.mark.slow
def test_two_processes_train_one_network(data, undisturbed, tmp_path):
    """DDP by the Trainer's flags, through the command line: other batches, the same weights everywhere."""
    file = tiny.write_protocol(tmp_path / "tiny.toml")
    command = [
        str(Path(sys.executable).with_name("mrunfold")), "train", str(file), "--data", str(data),
        "--out", str(tmp_path / "run"), "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp",
        "--threads", "1", "--quiet",
    ]  # fmt: skip
    for _ in range(2):  # the second time there is nothing left to do
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
    network, metadata = load_weights(tmp_path / "run" / "unfold.safetensors")
    assert metadata["step"] == "12"
    assert network.blocks == 2
    losses = dict(read_log(tmp_path / "run" / "prior" / "log"))
    assert len(losses) == 12
    # Twice the batches: not what one process makes of the same protocol.
    assert not same(tmp_path / "run" / "prior.safetensors", undisturbed[1] / "prior.safetensors")


@pytest.mark.parametrize("loss", ["rms", "relative"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_loss_is_what_the_protocol_names(loss, dropout):
    stage = tiny.protocol().unfold_stage.model_copy(update={"loss": loss, "batch": 8})
    law = tiny.protocol().measurements.model_copy(update={"dropout": dropout})
    module = untrained("unfold", tiny.protocol(unfold_stage=stage, measurements=law), tiny.bank())
    module.log = lambda *args, **kwargs: None
    b = module.draw(torch.Generator().manual_seed(5))
    with torch.no_grad():
        found = float(module.training_step(b, 0))
        error = module.network(b.x_t, b.sigma_t, b.y, b.A, b.sigma_y) - b.x
    rms = np.sqrt((error.abs().numpy() ** 2).mean(axis=(-3, -2, -1)))
    sigma_t = b.sigma_t.numpy()
    if loss == "rms":
        expected = rms * (1 + 0.03 / sigma_t)
    else:
        expected = np.log(1 + rms / 0.005)
        blind = b.A.measured_fraction().numpy() == 0
        assert blind.any() == (dropout > 0)
        usual = sigma_t[blind] / (1 + 4 * sigma_t[blind])
        expected[blind] = (rms[blind] / usual) ** 2 / 2
    assert found == pytest.approx(float(expected.mean()), rel=1e-4)


def test_the_relative_loss_has_a_gradient_without_a_diffusion_state():
    stage = tiny.protocol().unfold_stage.model_copy(update={"loss": "relative"})
    law = tiny.protocol().measurements.model_copy(update={"mean_fraction": 1.0, "dropout": 0.0})
    module = untrained("unfold", tiny.protocol(unfold_stage=stage, measurements=law), tiny.bank())
    module.log = lambda *args, **kwargs: None
    b = module.draw(torch.Generator().manual_seed(5))
    assert bool(b.sigma_t.isinf().all())
    module.training_step(b, 0).backward()
    assert all(bool(p.grad.isfinite().all()) for p in module.network.parameters() if p.grad is not None)
    assert any(p.grad is not None and bool(p.grad.any()) for p in module.network.parameters())
