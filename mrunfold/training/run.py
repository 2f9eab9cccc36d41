"""`mrunfold train`: both stages under a Lightning Trainer, resumed from where they stopped."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from mrunfold.errors import InputError, did_you_mean
from mrunfold.extras import require
from mrunfold.io.atomic import atomic_path
from mrunfold.networks.peers import Peer
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.precision import has_bfloat16
from mrunfold.networks.weights import save_peer, save_weights
from mrunfold.protocols import TrainingProtocol
from mrunfold.training.callbacks import Checkpoints, StepBar, Validate
from mrunfold.training.curve import write_curve
from mrunfold.training.images import ImageBank
from mrunfold.training.natural import NaturalPriorStage, NaturalUnfoldStage
from mrunfold.training.natural_images import PhotoBank
from mrunfold.training.record import claim_folder
from mrunfold.training.sampling import LINES, POINTS
from mrunfold.training.stages import (
    HeldBackLoss,
    PeerStage,
    PriorStage,
    SplitStage,
    TrainingStage,
    UnfoldStage,
)

__all__ = [
    "STAGES",
    "TrainingSettings",
    "TrainingState",
    "choose_precision",
    "load_bank",
    "start_from_file",
    "train",
    "untrained",
]

log = logging.getLogger(__name__)

STAGES = ("prior", "unfold")


@dataclass(frozen=True)
class TrainingSettings:
    """What a run depends on besides protocol and data, and its weights, up to rounding, do not.

    accelerator, devices, strategy, num_nodes: as Lightning's Trainer has them; precision: "auto" for
    `choose_precision`; workers: processes that draw batches ahead; checkpoint_every: steps; progress: show a
    bar; validate: averaged network of stage two → a number for the log, every validate_every steps, None for
    `HeldBackLoss` where the protocol holds subjects back; tensorboard: write its log beside the CSV.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    num_nodes: int = 1
    precision: str = "auto"
    workers: int = 0
    checkpoint_every: int = 100
    progress: bool = True
    validate: Callable[[Any], float] | None = None
    validate_every: int = 100
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands: the stage, its step, whether all that was asked is done, the files of weights."""

    stage: str
    step: int
    finished: bool
    weights: tuple[Path, ...]


def choose_precision(accelerator: str = "auto") -> str:
    """Return "bf16-mixed" where the hardware multiplies bfloat16 matrices itself, else "32-true"."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    fast = (on_gpu or accelerator in ("auto", "cpu")) and has_bfloat16("cuda" if on_gpu else "cpu")
    return "bf16-mixed" if fast else "32-true"


def train(
    protocol: TrainingProtocol,
    data: Path,
    out: Path,
    stages: Sequence[str] = STAGES,
    settings: TrainingSettings | None = None,
    init: Path | None = None,
) -> TrainingState:
    """Train what `protocol` describes in the folder `out`, from where a run in it stopped.

    stages: "prior", "unfold" or both, in this order, of those that the protocol has; the network of others
    (`protocol.peer`) has one, called by its kind, whatever `stages` says.  Without a prior stage, and without
    `init`, stage two begins from nothing; init: weights that stage two starts from, of a prior
    or of a whole network, instead of `out`/prior.safetensors.  Writes `out`/{stage}.safetensors with the
    averaged weights, and per stage last.ckpt, ema.safetensors, the CSV log and loss.png.
    InputError: unknown stage, no images, no prior for stage two, another protocol in `out`.
    """
    settings = settings or TrainingSettings()
    for stage in stages:
        if stage not in STAGES:
            raise InputError(f"unknown stage {stage!r}{did_you_mean(stage, STAGES)}")
    stages = _of_protocol(protocol, stages)
    if init is not None and protocol.peer is not None:
        raise InputError(f"`init` is for our own network, not for {protocol.peer.kind}; leave it out")
    if init is not None and "prior" in stages:
        raise InputError("`init` takes the place of stage one; give `stage='unfold'` with it")
    if settings.tensorboard:
        require("tensorboardX", what="the TensorBoard log")
    bank = load_bank(data, protocol)
    if settings.validate is None and stages[-1] != "prior" and any(s.held_back for s in protocol.images):
        settings = replace(settings, validate=_held_back_loss(data, protocol))
    out.mkdir(parents=True, exist_ok=True)
    claim_folder(out, protocol)
    state = TrainingState("prior", 0, False, ())
    for stage in stages:
        module = untrained(stage, protocol, bank, settings.workers)
        begins = isinstance(module, UnfoldStage) and not (out / stage / "last.ckpt").exists()
        if isinstance(module, UnfoldStage) and begins and (init or protocol.prior_stage is not None):
            start_from_file(module, init or out / "prior.safetensors")
        state = _fit(module, stage, out, settings, state.weights)
        if not state.finished:
            break
    return state


def _of_protocol(protocol: TrainingProtocol, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the asked stages that the protocol has, in their order."""
    if protocol.peer is not None:
        return (protocol.peer.kind,)
    found = tuple(s for s in STAGES if s in stages and getattr(protocol, f"{s}_stage") is not None)
    if not found:
        raise InputError(f"the protocol {protocol.name} has no stage prior; give `stage='unfold'`")
    return found


def _held_back_loss(data: Path, protocol: TrainingProtocol) -> HeldBackLoss | None:
    if protocol.degradations is not None:
        return None
    scanner = protocol.measurements.scanner
    coils = scanner.coils if scanner is not None else ""
    try:
        return HeldBackLoss(protocol, ImageBank.load(data, protocol.images, coils, held_back=True))
    except InputError as error:  # training needs none of them
        log.warning("no validation loss: %s", error)
        return None


def load_bank(data: Path, protocol: TrainingProtocol) -> ImageBank | PhotoBank:
    """Return the protocol's images below the folder `data`; InputError where some are missing."""
    if protocol.degradations is None:
        scanner = protocol.measurements.scanner
        return ImageBank.load(data, protocol.images, scanner.coils if scanner is not None else "")
    stages = (protocol.prior_stage, protocol.unfold_stage)
    largest = max(stage.sizes[1] for stage in stages if stage is not None)
    return PhotoBank.load(data, protocol.images, largest)


def untrained(
    stage: str, protocol: TrainingProtocol, bank: ImageBank | PhotoBank, workers: int = 0
) -> TrainingStage:
    """Return a stage whose first weights follow from the protocol's seed."""
    second = UnfoldStage if protocol.splits is None else SplitStage
    mri: type[TrainingStage] = PriorStage if stage == "prior" else second
    photo: type[TrainingStage] = NaturalPriorStage if stage == "prior" else NaturalUnfoldStage
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(protocol.seed)
        if protocol.peer is not None:
            return PeerStage(protocol, bank, workers=workers)
        made: Any = mri if protocol.degradations is None else photo
        return made(protocol, bank, workers=workers)


def start_from_file(module: UnfoldStage, file: Path) -> None:
    """Give stage two the weights of a prior, or of a whole network; InputError where they do not fit.

    Weights of a network whose priors have fewer residual blocks a stage are grown: the blocks that they lack
    begin without effect, so that what was learned is where training goes on from.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise InputError(
            f"stage two needs a trained prior, and there is no {file}; train it (`stage='prior'`) or `init`"
        )
    try:
        state = {name: value.float() for name, value in load_file(file).items()}
        if not any(name.startswith("priors.") for name in state):
            network = module.network
            network.load_prior(state)
            state = network.state_dict()
        module.start_from(_grown(state, module.network))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{file} does not fit the protocol's network ({reason}); train its prior first"
        ) from None


def _grown(state: dict[str, Tensor], network: PosteriorDenoiser) -> dict[str, Tensor]:
    """Return weights with the residual blocks that only `network` has, the last convolution of each zero."""
    own = network.state_dict()
    added = {name: own[name] for name in own.keys() - state.keys() if name.startswith("priors.")}
    ends = {name: torch.zeros_like(value) for name, value in added.items() if name.endswith(".second.weight")}
    # A residual block has two convolutions; what else is missing is no block, and does not fit.
    begins = {name: added[name] for name in added if name.replace(".first.", ".second.") in ends}
    return state | begins | ends


def _fit(
    module: TrainingStage, stage: str, out: Path, settings: TrainingSettings, done: tuple[Path, ...]
) -> TrainingState:
    folder, last = out / stage, out / stage / "last.ckpt"
    folder.mkdir(exist_ok=True)
    keeper = Checkpoints(last, settings.checkpoint_every, lambda m: _export(m, folder / "ema.safetensors"))
    callbacks: list[Callback] = []
    if settings.validate is not None and not isinstance(module, PriorStage | NaturalPriorStage):
        callbacks.append(Validate(settings.validate, settings.validate_every))
    callbacks.append(keeper)
    if settings.progress:
        callbacks.append(StepBar(f"stage {stage}"))
    trainer = _trainer(module, folder, callbacks, settings)
    reached = _reached(last, module, stage)
    if module.settings.minutes is not None and trainer.world_size > 1:
        raise InputError("minutes end a stage of one process; give `steps` to more than one, or `devices=1`")
    if reached is not None and module.settings.minutes is not None and reached[1] >= module.amount:
        return _written(stage, reached[0], out, done)
    try:
        with warnings.catch_warnings():
            # Batches are numbered, so the loader goes on where the checkpoint was, in any number of workers.
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
            warnings.filterwarnings("ignore", message=".*`__len__` could be inaccurate")
            warnings.filterwarnings("ignore", message=".*does not have many workers")
            trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    finally:
        if trainer.is_global_zero:
            write_curve(folder / "log", folder / "loss.png", f"{module.protocol.name}: stage {stage}")
    step = trainer.global_step
    if not module.finished(step):
        return TrainingState(stage, step, False, done)
    state = TrainingState(stage, step, True, (*done, out / f"{stage}.safetensors"))
    if trainer.is_global_zero:
        _export(module, folder / "ema.safetensors")
        state = _written(stage, step, out, done)
    trainer.strategy.barrier()  # stage two of every process reads the file
    return state


def _written(stage: str, step: int, out: Path, done: tuple[Path, ...]) -> TrainingState:
    """Copy the averaged weights of a stage that is done beside the run."""
    with atomic_path(out / f"{stage}.safetensors") as part:
        shutil.copyfile(out / stage / "ema.safetensors", part)
    return TrainingState(stage, step, True, (*done, out / f"{stage}.safetensors"))


def _trainer(
    module: TrainingStage, folder: Path, callbacks: list[Callback], settings: TrainingSettings
) -> lightning.Trainer:
    precision = settings.precision
    if precision == "auto":
        precision = choose_precision(settings.accelerator)
    options: Mapping[str, Any] = {
        "accelerator": settings.accelerator,
        "devices": settings.devices,
        "strategy": settings.strategy,
        "num_nodes": settings.num_nodes,
        "precision": precision,
    }
    loggers: list[Logger] = [CSVLogger(folder, name="log", flush_logs_every_n_steps=20)]
    if settings.tensorboard:
        loggers.append(TensorBoardLogger(folder, name="tensorboard"))
    try:
        return lightning.Trainer(
            max_steps=module.most_steps,
            gradient_clip_val=module.settings.clip,
            logger=loggers,
            callbacks=callbacks,
            log_every_n_steps=1,
            enable_checkpointing=False,  # callbacks.Checkpoints does it
            enable_progress_bar=False,  # callbacks.StepBar instead
            enable_model_summary=False,
            **options,
        )
    except (ValueError, RuntimeError) as error:
        asked = ", ".join(f"{name} {value}" for name, value in options.items())
        raise InputError(f"cannot train with {asked}: {' '.join(str(error).split())}") from error


def _reached(last: Path, module: TrainingStage, stage: str) -> tuple[int, float] | None:
    """Return the step and the minutes of the checkpoint, None without one; InputError beyond the steps."""
    if not last.exists():
        return None
    held = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
    step = int(held["global_step"])
    if step > module.most_steps:
        raise InputError(
            f"{last} is already at step {step} of stage {stage}, asked {module.most_steps}; "
            f"give `steps={step}` or more"
        )
    return step, float(held.get("minutes", 0.0))


def _export(module: TrainingStage, path: Path) -> None:
    """Write the averaged weights with what they were made by, whole or not at all."""
    protocol = module.protocol
    metadata = {
        "protocol": protocol.name,
        "protocol_digest": protocol.digest(),
        "step": str(module.global_step),
        "minutes": f"{module.minutes:.2f}",
        "torch": torch.__version__,
        "images": json.dumps({s.pattern: s.licence for s in protocol.images}),
        "range": json.dumps(_range(protocol)),
    }
    network: nn.Module = module.averaged
    if isinstance(network, Peer):
        assert protocol.peer is not None
        save_peer(path, network, protocol.peer, metadata)
        return
    assert protocol.network is not None
    if isinstance(network, PosteriorDenoiser):
        save_weights(path, network, protocol.network, metadata)
        return
    from safetensors.torch import save_file

    state: dict[str, Tensor] = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    with atomic_path(path) as part:
        save_file(state, part, {"prior": protocol.network.prior.model_dump_json(), **metadata})


def _range(protocol: TrainingProtocol) -> dict[str, Any]:
    """Return which scans training shows: kinds of masks, least and most acceleration and coils."""
    if protocol.degradations is not None or protocol.splits is not None:
        return {}
    m = protocol.measurements
    points = 0.5 if m.points is None else m.points
    masks = (*(LINES if points < 1 else ()), *(POINTS if points > 0 else ()))
    return {"masks": masks, "accelerations": m.accelerations, "coils": m.coils}
