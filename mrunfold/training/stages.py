"""The two stages of training as LightningModules: the prior as a denoiser, then the unrolled network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import IterableDataset

from mrunfold.diffusion import complex_noise_like
from mrunfold.priors import Prior
from mrunfold.protocols import Stage, TrainingProtocol
from mrunfold.training.images import ImageBank, random_image, uniform
from mrunfold.training.simulate import draw_problem
from mrunfold.unfold import PosteriorDenoiser

__all__ = ["PriorStage", "UnfoldStage"]


def draw_size(sizes: tuple[int, int], generator: torch.Generator) -> tuple[int, int]:
    """Return a random (height, width), multiples of 4 so that convolutions stay quick."""
    height, width = (4 * round(uniform(*sizes, generator) / 4) for _ in range(2))
    return height, width


def log_uniform(low: float, high: float, generator: torch.Generator) -> float:
    return math.exp(uniform(math.log(low), math.log(high), generator))


class _Batches(IterableDataset):
    """Batches numbered from `first`, each drawn from its own seed, so that a resumed run draws the next ones."""

    def __init__(self, stage: _TrainingStage, first: int) -> None:
        self.stage, self.first = stage, first

    def __iter__(self) -> Iterator[Any]:
        rank, world = self.stage.global_rank, self.stage.trainer.world_size
        for step in range(self.first, self.stage.settings.steps):
            seed = (self.stage.protocol.seed << 28) + step * world + rank
            yield self.stage.draw(torch.Generator().manual_seed(seed))


class _TrainingStage(lightning.LightningModule):
    """What both stages share: Adam, warm-up and cosine decay, EMA weights, seeded batches."""

    network: nn.Module

    def __init__(self, protocol: TrainingProtocol, settings: Stage, bank: ImageBank) -> None:
        super().__init__()
        self.protocol, self.settings, self.bank = protocol, settings, bank

    def _average(self) -> None:
        self.ema = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.settings.ema))

    def draw(self, generator: torch.Generator) -> Any:
        """Return one batch of the stage's problem."""
        raise NotImplementedError("abstract: a stage says what it draws")

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(_Batches(self, self.global_step), batch_size=None)

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimiser = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate)

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / s.warmup)
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / s.steps)))
            return warm * (s.final_fraction + (1 - s.final_fraction) * cosine)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.network)


class PriorStage(_TrainingStage):
    """Stage one: R_θ(x₀ + τ·ε, τ) ≈ x₀, loss ‖R − x₀‖ / (τ·√n) per item, τ log-uniform."""

    def __init__(self, protocol: TrainingProtocol, bank: ImageBank) -> None:
        super().__init__(protocol, protocol.prior_stage, bank)
        self.network = Prior(**protocol.network.prior.model_dump())
        self._average()

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        shape = draw_size(self.settings.sizes, generator)
        images = [random_image(self.bank, shape, generator) for _ in range(self.settings.batch)]
        x = torch.stack(images)[:, None]
        tau = torch.tensor([log_uniform(*self.protocol.noise_levels, generator) for _ in images])
        return x, tau, complex_noise_like(x, [generator] * len(images))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        x, tau, noise = batch
        error = self.network(x + tau[:, None, None, None] * noise, tau) - x
        loss = (error.abs().square().mean(dim=(-3, -2, -1)).sqrt() / tau).mean()
        self.log("loss", loss, prog_bar=True)
        return loss


class UnfoldStage(_TrainingStage):
    """Stage two: the conditional denoising loss of D(x_t; y, A, σ_y, σ_t), σ_t = ∞ for part of the items.

    Loss: root mean squared error over an item's pixels.  An item's minimiser is still its conditional mean up to
    the spread of that root between draws, and hard and easy measurements pull alike.
    """

    def __init__(self, protocol: TrainingProtocol, bank: ImageBank, prior: dict[str, Tensor] | None) -> None:
        super().__init__(protocol, protocol.unfold_stage, bank)
        spec = protocol.network
        network = PosteriorDenoiser.from_spec(spec)
        if prior is not None:
            network.load_prior(prior)
        self.network: PosteriorDenoiser = network
        self._average()

    def draw(self, generator: torch.Generator) -> Any:
        return draw_problem(self.bank, self.protocol.measurements, self.settings, generator)

    def training_step(self, batch: Any, index: int) -> Tensor:
        b = batch.to(self.device)
        estimate = self.network(b.x_t, b.sigma_t, b.y, b.A, b.sigma_y)
        error = (estimate - b.x).abs().square().mean(dim=(-3, -2, -1)).sqrt()
        loss = error.mean()
        self.log("loss", loss, prog_bar=True)
        return loss
