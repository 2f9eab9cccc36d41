"""Fine-tuning on undersampled scans: what is split, what is learned, what is written and what is not."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from tiny import ellipses
from torch import nn
from typer.testing import CliRunner
from volumefiles import fft3c, letters, noisy, write_bart

from mrunfold.cli.adapt import adapt as command
from mrunfold.cli.main import app
from mrunfold.errors import InputError
from mrunfold.io.cfl import write_cfl
from mrunfold.masks import calibration_region, draw
from mrunfold.methods.held_out import Prediction
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import load_weights, save_weights
from mrunfold.operators import Sense
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.pipeline import ReconSettings, reconstruct
from mrunfold.pipeline.adapt import adapt, adapt_problems, state_file
from mrunfold.problem import Problem, rescale
from mrunfold.protocols import NetworkSpec, PriorSpec
from mrunfold.training.adapt import WAYS, Adaptation, AdaptSettings, keep_out

SPEC = NetworkSpec(blocks=2, shared=False, cg_iterations=3, prior=PriorSpec(widths=(8, 12), blocks=1))
SHAPE = (72, 64)
QUICK = AdaptSettings(steps=12, every=4, learning_rate=1e-3, levels_rate=5e-2, warmup=1)


class Gain(nn.Module):
    """R(x) = g x, with g far too large: what is not measured grows from block to block."""

    def __init__(self):
        super().__init__()
        self.g = nn.Parameter(torch.tensor(1.6))

    def forward(self, x, tau):
        return self.g * x


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PosteriorDenoiser.from_spec(SPEC)
        for prior in net.priors:
            nn.init.normal_(prior.tail.weight, std=0.05)
    return net.eval().requires_grad_(False)


def problem(kind="random", accel=3.0, seed=0, sigma=0.02):
    generator = torch.Generator().manual_seed(seed)
    maps = simulated_maps(4, SHAPE, generator)[None]
    mask = torch.from_numpy(draw(kind, SHAPE, accel, seed=seed).array.copy())
    A = Sense(maps, mask.float())
    y = A(torch.from_numpy(ellipses(seed, SHAPE)).to(torch.complex64)[None])
    y = (y + sigma * torch.randn(y.shape, dtype=y.dtype, generator=generator)) * mask
    y, sigma_y, scale = rescale(y, A, torch.tensor(sigma))
    return Problem(y, A, sigma_y, scale)


def scan(folder, accel=3.0, seed=0, name="scan"):
    """Write an undersampled scan as BART has it, and return its stem's path with `.cfl`."""
    made = problem(accel=accel, seed=seed)
    write_cfl(folder / name, made.y.numpy().transpose(1, 2, 0)[:, :, None])
    return folder / f"{name}.cfl"


@pytest.mark.parametrize(("kind", "accel"), [("random", 3.0), ("poisson", 4.0)])
def test_no_sample_is_in_two_parts_and_the_centre_is_in_none(kind, accel):
    one = problem(kind, accel)
    (held,), refused = keep_out([one], QUICK)
    given = held.kept.A.observed().any(dim=0)
    assert not refused
    assert not bool((given & held.there).any())
    assert bool(((given | held.there) == one.A.observed().any(dim=0)).all())
    height, width = calibration_region(one.A.observed().any(dim=0).numpy())
    y, x = SHAPE[0] // 2 - height // 2, SHAPE[1] // 2 - width // 2
    assert not bool(held.there[y : y + height, x : x + width].any())
    assert float(held.kept.y[:, held.there].abs().max()) == 0
    if kind == "random":  # whole lines
        assert bool((held.there.any(dim=0) == held.there.all(dim=0)).all())


@pytest.mark.parametrize(("kind", "accel"), [("random", 3.0), ("poisson", 4.0)])
def test_the_kept_out_error_falls_and_so_does_the_true_one(kind, accel):
    one, network = problem(kind, accel), PosteriorDenoiser(3, prior=Gain).eval()
    run, found = adapt_problems([one], network, replace(QUICK, learning_rate=0.1))
    truth = torch.from_numpy(ellipses(0, SHAPE)).to(torch.complex64) / one.scale

    def error(net):
        with torch.no_grad():
            return float((net.mean(one) - truth).abs().square().mean())

    assert found.state.best < 0.9 * found.state.before
    assert error(run.best) < 0.9 * error(network)
    ours = run.predictions(run.best)[0]
    assert found.after["slices"]["0"]["explained"] == pytest.approx(ours.explained, abs=1e-3)


def test_only_the_levels_move_where_asked(network):
    run, _ = adapt_problems([problem()], network, replace(QUICK, part="levels", steps=4))
    before, after = network.state_dict(), run.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("levels.") for name in moved)


def test_what_steps_never_see_does_not_move_them(network):
    """The part kept out for stopping may hold anything: the weights after some steps are the same."""
    (held,), _ = keep_out([problem()], QUICK)
    other = replace(held, whole=replace(held.whole, y=held.whole.y + 5.0 * held.there))
    found = []
    for one in (held, other):
        run = Adaptation(network, [one], QUICK)
        run._usual = [1.0]
        for step in range(3):
            run._step(step)
        found.append(run.network.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["levels.mlp.2.bias"], network.state_dict()["levels.mlp.2.bias"])


def test_a_resumed_run_ends_as_one_that_was_not_stopped(network, tmp_path):
    held, _ = keep_out([problem(seed=0), problem(seed=1)], QUICK)
    whole = Adaptation(network, held, QUICK)
    whole.run()

    def stop(state):
        if state.step == 6:
            raise KeyboardInterrupt

    part = Adaptation(network, held, QUICK)
    with pytest.raises(KeyboardInterrupt):
        part.run(stop, kept=lambda: part.save(tmp_path / "state", {"scans": "a"}))
    again = Adaptation(network, held, QUICK)
    again.load(tmp_path / "state", {"scans": "a"})
    assert again.state.step == 4
    again.run()
    assert again.state == whole.state
    for name, value in whole.best.state_dict().items():
        assert torch.equal(value, again.best.state_dict()[name]), name
    with pytest.raises(InputError, match="other scans, weights or settings"):
        Adaptation(network, held, QUICK).load(tmp_path / "state", {"scans": "b"})
    with pytest.raises(InputError, match="other scans, weights or settings"):
        Adaptation(network, held, replace(QUICK, seed=1)).load(tmp_path / "state", {"scans": "a"})
    (tmp_path / "state").write_bytes(b"torn")
    with pytest.raises(InputError, match="not a run of adapt that can go on"):
        Adaptation(network, held, QUICK).load(tmp_path / "state", {"scans": "a"})


def test_where_it_gets_worse_it_goes_back_and_goes_on_more_slowly(network, monkeypatch):
    (held,), _ = keep_out([problem()], QUICK)
    run = Adaptation(network, [held], replace(QUICK, patience=2))
    missed = iter((4.0, 3.0, 5.0, 2.0, *(9.0 for _ in WAYS)))
    monkeypatch.setattr(
        Adaptation, "predictions", lambda self, net: [Prediction(next(missed), 10.0, 0.1, 1.0)]
    )
    seen = {}
    run.run(lambda state: seen.update({state.step: (state.rate, copy.deepcopy(run.network))}))
    assert [seen[step][0] for step in (0, 4, 8, 12)] == [1.0, 1.0, 0.3, 0.3]
    assert run.state.errors == (0.4, 0.3, 0.5, 0.2)
    rounded = seen[8][1].state_dict()  # back at what was best at step 4, as it would be written
    assert all(torch.equal(v, v.half().float()) for k, v in rounded.items() if k.startswith("priors."))
    assert not all(torch.equal(v, rounded[k]) for k, v in seen[12][1].state_dict().items())


@pytest.mark.parametrize(
    ("missed", "way"),
    [
        ((8.0, 4.0, 7.0, 6.0, 5.0), 1.0),  # as far as it goes, nothing nearer is nearly as good
        ((8.0, 4.0, 7.0, 4.3, 4.1), 0.5),  # of 4, 3.7 are gained half-way
        ((8.0, 4.0, 5.0, 3.0, 3.4), 0.5),  # the best weights went too far
    ],
)
def test_weights_stay_near_the_first_ones_where_most_is_gained_early(network, monkeypatch, missed, way):
    (held,), _ = keep_out([problem()], QUICK)
    run = Adaptation(network, [held], replace(QUICK, steps=4))
    errors = iter(missed)
    monkeypatch.setattr(
        Adaptation, "predictions", lambda self, net: [Prediction(next(errors), 10.0, 0.1, 1.0)]
    )
    best = []
    run.run(kept=lambda: best.append(run.best.state_dict()))
    assert run.state.way == way
    assert run.state.best == missed[{1.0: 1, 0.25: 2, 0.5: 3, 0.75: 4}[way]] / 10
    first, found = network.state_dict(), run.best.state_dict()
    name = "levels.mlp.2.weight"  # not rounded, as priors are
    assert not torch.equal(best[-1][name], first[name])
    torch.testing.assert_close(found[name], first[name].lerp(best[-1][name], way))


def weights(folder, network):
    file = folder / "base.safetensors"
    save_weights(file, network, SPEC, {"protocol": "tiny"})
    return file


def test_written_weights_serve_recon_and_say_where_they_come_from(network, tmp_path):
    files = [scan(tmp_path, name="anna_smith"), scan(tmp_path, seed=1, name="second")]
    base, out = weights(tmp_path, network), tmp_path / "ours.safetensors"
    call = ["adapt", *map(str, files), "--out", str(out), "--weights", str(base), "--steps", "10"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert f"written: {out}" in result.output
    assert "check before: " in result.output
    assert "check after: " in result.output
    assert "step 10 of 10: held-out error" in result.output
    assert not state_file(out).exists()
    _, facts = load_weights(out)
    assert facts["adapted_from"] == load_weights(base)[1]["sha256"]
    assert (facts["adapted_files"], facts["adapted_slices"], facts["protocol"]) == ("2", "2", "tiny")
    assert float(facts["held_out_error_after"]) < float(facts["held_out_error_before"])
    with safe_open(out, framework="pt") as opened:
        assert "smith" not in str(opened.metadata())
    summary = reconstruct(files[0], tmp_path / "r", ReconSettings(parameters={"weights": str(out)}))
    assert summary.record["slices"][0]["method"]["weights_sha256"] == facts["sha256"]
    with pytest.raises(InputError, match="exists already"):
        adapt(files, out, ReconSettings(), QUICK, weights=str(base))


def test_positions_of_a_3d_scan_are_its_slices(network, tmp_path):
    image = letters((20, 32, 28))
    maps = simulated_maps(4, (32, 28), torch.Generator().manual_seed(0)).numpy()
    mask = draw("poisson", (32, 28), 2.5, seed=0, calibration=12).array
    file = write_bart(tmp_path / "volume", noisy(fft3c(maps[:, None] * image)) * mask)
    base, out = weights(tmp_path, network), tmp_path / "ours.safetensors"
    found = adapt([file], out, ReconSettings(), replace(QUICK, steps=4), weights=str(base), most=5)
    assert found.slices + len(found.refused) == 5
    assert found.slices > 0


def test_nothing_is_written_where_nothing_better_is_found(network, tmp_path, monkeypatch):
    file, base = scan(tmp_path), weights(tmp_path, network)
    worse = iter(range(1, 100))
    monkeypatch.setattr(
        Adaptation, "predictions", lambda self, net: [Prediction(float(next(worse)), 1e3, 0.1, 1.0)]
    )
    out = tmp_path / "ours.safetensors"
    call = ["adapt", str(file), "--out", str(out), "--weights", str(base), "--steps", "12"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 3, result.output
    assert "nothing better was found: no weights are written" in result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base.safetensors", "scan.cfl", "scan.hdr"]


def test_rounding_to_the_files_precision_is_what_is_judged(network):
    (held,), _ = keep_out([problem()], QUICK)
    run = Adaptation(copy.deepcopy(network), [held], QUICK)
    run.run()
    for name, value in run.best.state_dict().items():
        if name.startswith("priors."):
            assert torch.equal(value, value.half().float()), name


def test_what_cannot_be_learned_from_is_refused(network, tmp_path):
    full, noisy = problem(), problem(sigma=50.0)
    full = replace(full, A=Sense(full.A.maps, torch.ones(SHAPE)))
    with pytest.raises(InputError, match="nothing can be learned from these scans: only 0"):
        keep_out([full], QUICK)
    with pytest.raises(InputError, match="mostly noise"):
        keep_out([noisy], QUICK)
    held, refused = keep_out([problem(), noisy], QUICK)
    assert (len(held), refused) == (1, ["the samples that were kept out are mostly noise"])
    with pytest.raises(InputError, match="for photographs"):
        adapt([scan(tmp_path)], tmp_path / "o.safetensors", ReconSettings(), QUICK, weights="natural-compact")
    with pytest.raises(InputError, match="weights are a"):
        adapt([scan(tmp_path)], tmp_path / "o.pt", ReconSettings(), QUICK)
    with pytest.raises(InputError, match="`part` is one of"):
        AdaptSettings(part="some")


def test_the_command_has_the_settings_of_the_api():
    given = inspect.signature(command).parameters
    for name in ("steps", "part", "seed"):
        assert given[name].default == getattr(AdaptSettings(), name), name
