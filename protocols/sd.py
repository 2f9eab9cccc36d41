"""The head that predicts standard deviations, and how it is trained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["SdSpec"]


class SdSpec(BaseModel):
    """See mrunfold.networks.sd_head.SdHead, and mrunfold.training.sd for its training.

    examples: batches of problems of which the frozen network's mean, what it leaves and its error are kept
    before training; steps, batch, crop: of the head's training, pixels a side of each example;
    learning_rate: of Adam, it falls to 0 by a cosine; background: weight of pixels below a twentieth of the
    maximum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(32, 48), min_length=1, max_length=6)
    blocks: int = Field(default=1, ge=1, le=16)
    examples: int = Field(default=112, ge=1)
    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=8, ge=1)
    crop: int = Field(default=96, ge=32)
    learning_rate: float = Field(default=2e-3, gt=0)
    background: float = Field(default=0.1, ge=0, le=1)
