"""Draw scenes of chance, and the training images that are simulated from such scenes.

python docs/pictures/leaves.py docs/pictures/leaves.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from mrunfold.protocols import ImageSet
from mrunfold.training.images import ImageBank
from mrunfold.training.leaves import DeadLeaves
from mrunfold.training.scenes import random_image

COUNT = 6


def main(picture: str) -> None:
    generator = torch.Generator().manual_seed(1)
    bank = ImageBank.load(Path(), [ImageSet(reader="leaves", weight=1, licence="made by chance")])
    rows = [
        [DeadLeaves()(generator) for _ in range(COUNT)],
        [random_image(bank, (144, 144), generator).abs() for _ in range(COUNT)],
    ]
    figure, axes = plt.subplots(2, COUNT, figsize=(2.0 * COUNT, 4.2), layout="constrained")
    for line, images in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1.2)
            axis.set(xticks=[], yticks=[])
    figure.savefig(picture, dpi=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
