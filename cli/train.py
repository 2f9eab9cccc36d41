"""`mrunfold train`: trains the prior and the unrolled network that a protocol describes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrunfold.cli.options import MAX_THREADS
from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.protocols import TrainingProtocol
    from mrunfold.training.run import TrainingState

__all__ = ["train"]

INTERRUPTED = 130
INIT = (
    "Start stage two from this .safetensors: a prior or a whole network.  Of sd: the network whose standard "
    "deviation is learned, or a name that ships."
)


def train(
    protocol: Annotated[str, typer.Argument(help="A name, or your own .toml.")] = "mri-compact",
    data: Annotated[Path, typer.Option(help="Folder where the protocol's patterns are.")] = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/PROTOCOL.")] = None,
    stage: Annotated[str, typer.Option(help="prior, unfold, all (these two), or sd.")] = "all",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the trained stages instead of the protocol's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train each stage for so long instead.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help=INIT)] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, as Lightning has it.")] = "auto",
    devices: Annotated[str, typer.Option(help="Processes or GPUs of each node, or auto.")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="Nodes; start the same command on each.")] = 1,
    strategy: Annotated[str, typer.Option(help="auto, ddp, …, as Lightning has it.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, 32-true or bf16-mixed.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes that simulate batches ahead.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, max=MAX_THREADS, help="CPU threads.")] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write a log for TensorBoard beside the CSV.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a network.  The same command again goes on from the last checkpoint.

    Example: mrunfold train mri-compact --data ~/mri --out runs/mine
    """
    from mrunfold.cli.console import note
    from mrunfold.protocols import load_protocol

    if stage == "sd":
        _take_threads(threads)
        return _sd(protocol, data, out, init, steps, quiet)
    stages = _stages(stage)
    plan = _lasting(load_protocol(protocol), stages, steps, minutes)
    folder = out or Path("runs") / plan.name

    from mrunfold.training.run import TrainingSettings, choose_precision
    from mrunfold.training.run import train as run

    # Lightning tells of devices it did not find and of products; its import sets the level.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    _take_threads(threads)
    settings = TrainingSettings(
        accelerator=accelerator,
        devices=int(devices) if devices.isdecimal() else devices,
        strategy=strategy,
        num_nodes=num_nodes,
        precision=choose_precision(accelerator) if precision == "auto" else precision,
        workers=workers,
        checkpoint_every=checkpoint_every,
        progress=not quiet,
        tensorboard=tensorboard,
    )
    note(f"{plan.name}, {settings.precision}, in {folder}; Ctrl-C stops after the step and keeps it", quiet)
    _report(run(plan, data, folder, stages, settings, init))


def _sd(
    protocol: str, data: Path, out: Path | None, init: Path | None, steps: int | None, quiet: bool
) -> None:
    """Train the head that predicts standard deviations; Ctrl-C keeps what is done."""
    from mrunfold.cli.console import counted, note
    from mrunfold.protocols import SdSpec, load_protocol
    from mrunfold.training.sd import train_sd

    plan = load_protocol(protocol)
    spec = plan.sd or SdSpec()
    spec = spec if steps is None else spec.model_copy(update={"steps": steps})
    folder = out or Path("runs") / plan.name
    note(f"{plan.name}, SD head, in {folder}; Ctrl-C stops, the same command goes on", quiet)
    with counted(quiet) as progress:
        file = train_sd(plan, data, folder, init, spec, progress)
    note(f"written: {file}", quiet)


def _stages(stage: str) -> tuple[str, ...]:
    if stage not in ("prior", "unfold", "all"):
        raise InputError(f"--stage is prior, unfold, all or sd, got {stage!r}")
    return ("prior", "unfold") if stage == "all" else (stage,)


def _lasting(
    plan: TrainingProtocol, stages: tuple[str, ...], steps: int | None, minutes: float | None
) -> TrainingProtocol:
    """Return the protocol with the length of its stages that was asked for."""
    if steps is not None and minutes is not None:
        raise InputError("--steps and --minutes both end a stage; give one of them")
    if steps is not None and any(s and s.minutes for s in (plan.prior_stage, plan.unfold_stage)):
        raise InputError(f"{plan.name} is trained for minutes; give --minutes instead of --steps")
    return plan.with_steps(**dict.fromkeys(stages, steps)).with_minutes(**dict.fromkeys(stages, minutes))


def _take_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _report(state: TrainingState) -> None:
    from mrunfold.cli.console import note

    for file in state.weights:
        note(f"written: {file}")
    if not state.finished:
        note(f"stopped at step {state.step} of stage {state.stage}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED)
