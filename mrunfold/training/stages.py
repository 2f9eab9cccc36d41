"""The two stages of training as LightningModules: the prior as a denoiser, then the unrolled network."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mrunfold.diffusion import complex_noise_like
from mrunfold.errors import InputError
from mrunfold.networks.peers import Peer, build_peer
from mrunfold.networks.posterior import SIGMA_OF_MEAN, PosteriorDenoiser
from mrunfold.networks.prior import build_prior
from mrunfold.protocols import Stage, TrainingProtocol
from mrunfold.training.callbacks import SIGNALS
from mrunfold.training.chance import log_uniform
from mrunfold.training.images import ImageBank
from mrunfold.training.muon import Muon
from mrunfold.training.natural_images import PhotoBank
from mrunfold.training.sampling import draw_size
from mrunfold.training.scenes import random_image
from mrunfold.training.simulate import TrainingProblem, draw_problem
from mrunfold.training.ssdu import SplitProblem, draw_split, split_loss

__all__ = [
    "HeldBackLoss",
    "PeerStage",
    "PriorStage",
    "SplitStage",
    "TrainingStage",
    "UnfoldStage",
    "peer_loss",
    "unfold_loss",
]

# Steps of a stage that time ends; the seeds of its batches stay apart from those of other protocols.
ENDLESS = 1 << 27
ERROR_MIN = 0.005  # of images of height about 1


class _Batches(IterableDataset):
    """Batches from number `first` on, each drawn from its own seed: a resumed run draws the next ones."""

    def __init__(self, stage: TrainingStage, first: int) -> None:
        self.draw, self.seed = stage.draw, stage.protocol.seed
        self.first, self.steps = first, stage.most_steps
        self.rank, self.world = stage.global_rank, stage.trainer.world_size

    def __len__(self) -> int:
        return self.steps  # of the whole run: Lightning counts the batches before `first` as done

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        # Workers take turns, and the loader asks them in turn: the order of batches stays that of the seeds.
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.first + offset, self.steps, stride):
            seed = (self.seed << 28) + step * self.world + self.rank
            yield self.draw(torch.Generator().manual_seed(seed))


def _let_the_trainer_end(worker: int) -> None:
    """Make a worker deaf to what a terminal or a job scheduler sends to the whole group.

    The trainer lets its step end and stops the workers itself; a worker that ends first is an error to it.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _optimiser(network: nn.Module, settings: Stage) -> torch.optim.Optimizer:
    if settings.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    kernels = [p for p in network.parameters() if p.ndim == 4]
    others = [p for p in network.parameters() if p.ndim != 4]
    groups: list[dict[str, Any]] = [{"params": kernels}]
    if others:
        groups.append({"params": others, "lr": settings.levels_rate, "matrices": False})
    return Muon(groups, lr=settings.learning_rate)


class TrainingStage(lightning.LightningModule):
    """What both stages share: the optimiser, its learning rate, EMA weights, seeded batches.

    workers: processes that draw batches ahead, 0 for none; the batches are the same.
    """

    network: nn.Module

    def __init__(
        self, protocol: TrainingProtocol, settings: Stage, bank: ImageBank | PhotoBank, workers: int = 0
    ) -> None:
        super().__init__()
        self.protocol, self.settings, self.workers = protocol, settings, workers
        self.bank: Any = bank  # the one that fits the protocol's images
        # The step at which this plan began, the share of the full rate there, and the steps or minutes it is
        # for.
        self.plan: tuple[int, float, float] = (0, 0.0, self.amount)
        self._before = 0.0  # minutes of earlier parts of the run
        self._began: float | None = None  # when this part began

    @property
    def amount(self) -> float:
        """What the stage is for: its minutes where they are given, else its steps."""
        return self.settings.steps if self.settings.minutes is None else self.settings.minutes

    @property
    def most_steps(self) -> int:
        """The number of steps that ends the stage; one that is never reached where time ends it."""
        return self.settings.steps if self.settings.minutes is None else ENDLESS

    @property
    def minutes(self) -> float:
        """Minutes that the training loop has run, those before it was resumed included."""
        return self._before + (0.0 if self._began is None else (time.monotonic() - self._began) / 60)

    def finished(self, step: int) -> bool:
        """Return whether all is done that was asked, after so many steps."""
        return step >= self.settings.steps if self.settings.minutes is None else self.minutes >= self.amount

    def on_train_start(self) -> None:
        self._began = time.monotonic()

    def on_train_end(self) -> None:
        self._before, self._began = self.minutes, None

    def _average(self) -> None:
        self.ema = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.settings.ema))
        self.ema.requires_grad_(False)  # else DDP waits for gradients that never come

    @property
    def averaged(self) -> nn.Module:
        """The network with the EMA weights."""
        return self.ema.module

    def start_from(self, state: dict[str, Tensor]) -> None:
        """Begin with the given weights of the network; RuntimeError where they do not fit."""
        self.network.load_state_dict(state)
        self.averaged.load_state_dict(state)

    def draw(self, generator: torch.Generator) -> Any:
        """Return one batch of the stage's problem."""
        raise NotImplementedError("abstract: a stage says what it draws")

    def train_dataloader(self) -> DataLoader:
        batches = _Batches(self, self.global_step)
        return DataLoader(
            batches, batch_size=None, num_workers=self.workers, worker_init_fn=_let_the_trainer_end
        )

    def rate(self, step: int) -> float:
        """Return the share of the full learning rate at a step: warm-up, constant, cosine cool-down.

        Until the cool-down it does not depend on the number of steps, so a run that is given more before
        then is the longer run; one that is given more later climbs back from the rate it had, over `warmup`.
        Of a stage that time ends, the cool-down goes by the minutes that have passed.
        """
        s = self.settings
        first, before, amount = self.plan
        passed = step if s.minutes is None else self.minutes
        cool = max(0.0, (passed - (1 - s.cooldown) * amount) / (s.cooldown * amount))
        shape = s.final_fraction + (1 - s.final_fraction) * 0.5 * (1 + math.cos(math.pi * min(1.0, cool)))
        climbed = min(1.0, (step - first + 1) / s.warmup)
        return before + (shape - before) * climbed

    def configure_optimizers(self) -> Any:
        optimiser = _optimiser(self.network, self.settings)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["plan"] = list(self.plan)
        checkpoint["minutes"] = self.minutes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        first, before, amount = checkpoint.get("plan", (0, 0.0, 0))
        if amount != self.amount:
            schedule = checkpoint["lr_schedulers"][0]
            first, before = checkpoint["global_step"], schedule["_last_lr"][0] / schedule["base_lrs"][0]
        self.plan = (int(first), float(before), self.amount)
        self._before = float(checkpoint.get("minutes", 0.0))


class PriorStage(TrainingStage):
    """Stage one: R_θ(x₀ + τ·ε, τ) ≈ x₀, loss ‖R − x₀‖ / (τ·√n) per item, τ log-uniform."""

    def __init__(self, protocol: TrainingProtocol, bank: ImageBank | PhotoBank, workers: int = 0) -> None:
        assert protocol.prior_stage is not None
        assert protocol.network is not None
        super().__init__(protocol, protocol.prior_stage, bank, workers)
        self.network = build_prior(protocol.network.prior)
        self._average()

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        shape = draw_size(self.settings.sizes, generator)
        images = [random_image(self.bank, shape, generator) for _ in range(self.settings.batch)]
        x = torch.stack(images)[:, None]
        tau = torch.tensor([log_uniform(self.protocol.noise_levels, generator) for _ in images])
        return x, tau, complex_noise_like(x, [generator] * len(images))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        x, tau, noise = batch
        error = self.network(x + tau[:, None, None, None] * noise, tau) - x
        loss = (error.abs().square().mean(dim=(-3, -2, -1)).sqrt() / tau).mean()
        self.log("loss", loss, prog_bar=True)
        return loss


class UnfoldStage(TrainingStage):
    """Stage two: the conditional denoising loss of D(x_t; y, A, σ_y, σ_t), σ_t = ∞ for part of the items.

    Loss "rms": root mean squared error e over an item's pixels, times 1 + 0.03/σ_t.  An item's minimiser is
    still its conditional mean up to the spread of that root between draws.  The error is at most about σ_t:
    without the factor the last steps of a sampler would hardly be trained.
    Loss "relative": log(1 + e/0.005).  An item counts by the share of its error that is taken away, as in
    decibels, so measurements of little noise pull as hard as others; below 0.005 there is nothing to gain.
    Where nothing is measured it is (e/ē)²/2 instead, ē = σ_t/(1 + 4σ_t), about what is left there: items then
    differ most in how much they hold, and the logarithm, ruled by those that are nearly empty, would make D
    nearly empty instead of the mean.
    """

    def __init__(
        self,
        protocol: TrainingProtocol,
        bank: ImageBank | PhotoBank,
        prior: dict[str, Tensor] | None = None,
        workers: int = 0,
    ) -> None:
        assert protocol.network is not None
        super().__init__(protocol, protocol.unfold_stage, bank, workers)
        network = PosteriorDenoiser.from_spec(protocol.network, protocol.unfold_stage.checkpointing)
        if prior is not None:
            network.load_prior(prior)
        self.network: PosteriorDenoiser = network
        self._average()

    def draw(self, generator: torch.Generator) -> Any:
        return draw_problem(self.bank, self.protocol.measurements, self.settings, generator)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = unfold_loss(self.network, batch.to(self.device), self.settings)
        self.log("loss", loss, prog_bar=True)
        return loss


class SplitStage(UnfoldStage):
    """Stage two without ground truth: acquired samples that the network is not given, `split_loss`."""

    def draw(self, generator: torch.Generator) -> Any:
        return _drawn_split(self.protocol, self.bank, generator)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = split_loss(self.network, batch.to(self.device))
        self.log("loss", loss, prog_bar=True)
        return loss


def _drawn_split(protocol: TrainingProtocol, bank: ImageBank, generator: torch.Generator) -> SplitProblem:
    assert protocol.splits is not None
    return draw_split(bank, protocol.measurements, protocol.unfold_stage, protocol.splits, generator)


class PeerStage(TrainingStage):
    """A network of others on the scans of stage two, none with a state: the loss of its own target."""

    network: Peer

    def __init__(self, protocol: TrainingProtocol, bank: ImageBank | PhotoBank, workers: int = 0) -> None:
        assert protocol.peer is not None
        super().__init__(protocol, protocol.unfold_stage, bank, workers)
        self.network = build_peer(protocol.peer)
        self._average()

    def draw(self, generator: torch.Generator) -> Any:
        return draw_problem(self.bank, self.protocol.measurements, self.settings, generator)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = peer_loss(self.network, batch.to(self.device), self.settings.loss)
        self.log("loss", loss, prog_bar=True)
        return loss


def peer_loss(network: Peer, b: TrainingProblem, kind: str) -> Tensor:
    """Return the loss of a batch, "rms" or "relative" as UnfoldStage has them for σ_t = ∞."""
    target = b.rss if network.target == "rss" else b.x
    if target is None:
        raise InputError("these scans have no root sum of squares to train on; give the protocol a scanner")
    error = (network(b.y, b.A) - target).abs().square().mean(dim=(-3, -2, -1)).sqrt()
    return (torch.log1p(error / ERROR_MIN) if kind == "relative" else error).mean()


def unfold_loss(network: PosteriorDenoiser, b: TrainingProblem, settings: Stage) -> Tensor:
    """Return the loss of a batch, "rms" or "relative" as UnfoldStage has them."""
    means = b.sigma_t.isinf()
    if int(b.fed_back):
        b = _fed_back(network, b)
    estimate = network(b.x_t, b.sigma_t, b.y, b.A, b.sigma_y)
    if settings.samples_stay:
        # States keep what the blocks made of the samples; only a mean ends with the samples themselves.
        put_back = network.with_samples(estimate, b.y, b.A)
        estimate = torch.where(means[:, None, None, None], put_back, estimate)
    error = (estimate - b.x).abs().square().mean(dim=(-3, -2, -1)).sqrt()
    if settings.loss == "relative":
        usual = b.sigma_t / (1 + 4 * b.sigma_t)
        blind = b.A.measured_fraction().to(error) == 0
        # σ_t = ∞ comes with a measurement only; the branch that is not taken must be finite too.
        squared = (error / torch.where(blind, usual, 1.0)).square() / 2
        return torch.where(blind, squared, torch.log1p(error / ERROR_MIN)).mean()
    return (error * (1 + 0.03 / b.sigma_t)).mean()


def _fed_back(network: PosteriorDenoiser, b: TrainingProblem) -> TrainingProblem:
    """Return the batch with the network's own mean as the state of items that had none."""
    nothing = b.sigma_t.isinf()
    with torch.no_grad():
        state = network.state_of_mean(b.y, b.A, b.sigma_y, int(b.fed_back))
    x_t = torch.where(nothing[:, None, None, None], state, b.x_t)
    return replace(b, x_t=x_t, sigma_t=b.sigma_t.masked_fill(nothing, SIGMA_OF_MEAN))


class HeldBackLoss:
    """The loss of stage two on fixed batches of the subjects that a protocol holds back.

    bank: of what is held back (`ImageBank.load(…, held_back=True)`); batches: how many, drawn when first
    asked for, from seeds that training does not have.
    """

    def __init__(self, protocol: TrainingProtocol, bank: ImageBank, batches: int = 4) -> None:
        self.protocol, self.bank, self.count = protocol, bank, batches
        self._batches: list[TrainingProblem | SplitProblem] = []

    def __call__(self, network: PosteriorDenoiser | Peer) -> float:
        stage, measurements = (
            self.protocol.unfold_stage,
            self.protocol.measurements.model_copy(update={"blind": None}),
        )
        while len(self._batches) < self.count:
            generator = torch.Generator().manual_seed(len(self._batches))
            if self.protocol.splits is None:
                self._batches.append(draw_problem(self.bank, measurements, stage, generator))
            else:
                self._batches.append(_drawn_split(self.protocol, self.bank, generator))
        device = next(network.parameters()).device
        with torch.no_grad():
            losses = [float(_loss(network, b.to(device), stage)) for b in self._batches]
        return sum(losses) / len(losses)


def _loss(network: PosteriorDenoiser | Peer, b: TrainingProblem | SplitProblem, settings: Stage) -> Tensor:
    if isinstance(b, SplitProblem):
        assert isinstance(network, PosteriorDenoiser)
        return split_loss(network, b)
    if isinstance(network, Peer):
        return peer_loss(network, b, settings.loss)
    return unfold_loss(network, b, settings)
