"""`mrunfold train`: both stages under a Lightning Trainer, resumed from where they stopped."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from mrunfold.errors import InputError
from mrunfold.protocols import TrainingProtocol
from mrunfold.training.images import ImageBank
from mrunfold.training.stages import PriorStage, UnfoldStage, _TrainingStage

__all__ = ["train"]


def train(
    protocol: TrainingProtocol,
    data: Path,
    out: Path,
    stage: str = "all",
    trainer: dict[str, Any] | None = None,
) -> Path:
    """Train what `protocol` describes and return the folder that holds the weights."""
    out.mkdir(parents=True, exist_ok=True)
    bank = ImageBank.load(data, protocol.images)
    if stage in ("all", "prior"):
        _fit(PriorStage(protocol, bank), out / "prior", trainer)
    if stage in ("all", "unfold"):
        prior = torch.load(out / "prior" / "ema.pt", weights_only=True)
        _fit(UnfoldStage(protocol, bank, prior), out / "unfold", trainer)
    return out


class _Ema(Callback):
    def __init__(self, file, every=100): self.file, self.every = file, every
    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step % self.every == 0 or trainer.global_step == module.settings.steps:
            torch.save(module.ema.module.state_dict(), str(self.file) + ".part")
            Path(str(self.file) + ".part").rename(self.file)


def _fit(module: _TrainingStage, folder: Path, options: dict[str, Any] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    trainer = lightning.Trainer(
        max_steps=module.settings.steps,
        gradient_clip_val=module.settings.clip,
        logger=CSVLogger(folder, name="log", flush_logs_every_n_steps=20),
        callbacks=[
            ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=100),
            TQDMProgressBar(refresh_rate=20), _Ema(folder / "ema.pt"),
        ],
        log_every_n_steps=20,
        **(options or {}),
    )
    trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=False)
