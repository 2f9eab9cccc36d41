"""`mrunfold bench optimiser`: what stage two gains with one optimiser and another, over the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.store import about
from mrunfold.protocols import TrainingProtocol
from mrunfold.training.run import load_bank, start_from_file, untrained
from mrunfold.training.stages import UnfoldStage

__all__ = ["Arm", "markdown", "measure"]

WARMUP = 20
EMA = 0.97
UNSEEN = 2_000_000  # seeds of the batches that are measured on, far from those that are trained on


@dataclass(frozen=True)
class Arm:
    """An optimiser and its learning rate, what it gained in dB, and seconds a step."""

    optimiser: str
    rate: float
    gain: float = 0.0
    seconds: float = 0.0


def measure(
    protocol: TrainingProtocol,
    data: Path,
    init: Path,
    arms: Sequence[Arm],
    steps: int = 120,
    unseen: int = 40,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train stage two from `init` for `steps` with each arm, at a constant rate for half of them, then less.

    The gain is that of the averaged weights: 20·log₁₀ of the root mean square error, mean over the items of
    `unseen` further batches.  Batches are the same for all, and drawn before the clock starts.
    """
    bank = load_bank(data, protocol)

    def stage(arm: Arm) -> UnfoldStage:
        changed = {"optimiser": arm.optimiser, "learning_rate": arm.rate, "steps": steps, "warmup": WARMUP}
        settings = protocol.unfold_stage.model_copy(update=changed | {"ema": EMA, "cooldown": 0.5})
        module = untrained("unfold", protocol.model_copy(update={"unfold_stage": settings}), bank)
        assert isinstance(module, UnfoldStage)
        start_from_file(module, init)
        module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        return module

    first = stage(arms[0])
    batches = [first.draw(torch.Generator().manual_seed(1_000_000 + i)) for i in range(steps)]
    held_out = [first.draw(torch.Generator().manual_seed(UNSEEN + i)) for i in range(unseen)]
    before = _decibels(first, held_out)
    rows = []
    for arm in arms:
        module = stage(arm)
        seconds = _train(module, batches)
        rows.append(Arm(arm.optimiser, arm.rate, before - _decibels(module, held_out), seconds))
        report(f"{arm.optimiser} {arm.rate:g}: {rows[-1].gain:+.3f} dB, {seconds:.2f} s a step")
    return {
        **about("optimiser"), "protocol": protocol.name, "steps": steps, "batch": protocol.unfold_stage.batch,
        "unseen": unseen, "rows": [asdict(row) for row in rows],
    }  # fmt: skip


def _train(module: UnfoldStage, batches: Sequence[Any]) -> float:
    """Return the mean seconds of a step; without Lightning, so that nothing but the step is timed."""
    plan = module.configure_optimizers()
    optimiser, schedule = plan["optimizer"], plan["lr_scheduler"]["scheduler"]
    begun = time.perf_counter()
    for i, batch in enumerate(batches):
        optimiser.zero_grad()
        module.training_step(batch, i).backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), module.settings.clip)
        optimiser.step()
        schedule.step()
        module.ema.update_parameters(module.network)
    return (time.perf_counter() - begun) / len(batches)


@torch.no_grad()
def _decibels(module: UnfoldStage, batches: Sequence[Any]) -> float:
    found = []
    for b in batches:
        error = module.averaged(b.x_t, b.sigma_t, b.y, b.A, b.sigma_y) - b.x
        found.append(10 * error.abs().square().mean(dim=(-3, -2, -1)).log10())
    return float(torch.cat(found).mean())


def markdown(found: dict[str, Any]) -> str:
    """Return the arms as a Markdown table."""
    rows = [
        [r["optimiser"], f"{r['rate']:g}", f"{r['gain']:+.2f}", f"{r['seconds']:.2f}"] for r in found["rows"]
    ]
    return rows_markdown(["optimiser", "learning rate", "gain, dB", "seconds a step"], rows)
