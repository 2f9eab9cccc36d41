"""A protocol and images small enough to train on in a test."""

from __future__ import annotations

import h5py
import numpy as np
import torch

from mrunfold.protocols import ImageSet, Measurements, NetworkSpec, PriorSpec, Stage, TrainingProtocol
from mrunfold.training.images import ImageBank


def ellipses(seed: int, shape: tuple[int, int] = (72, 64)) -> np.ndarray:
    """A head of sorts: ellipses of random brightness in a large one, float32 (y, x)."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    image = 0.4 * ((x / 0.75) ** 2 + (y / 0.85) ** 2 < 1)
    for _ in range(8):
        cy, cx, a, b = rng.uniform(-0.4, 0.4, 2).tolist() + rng.uniform(0.05, 0.35, 2).tolist()
        image = image + rng.uniform(-0.2, 0.6) * (((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1)
    return np.maximum(image, 0).astype(np.float32)


def bank(count: int = 6) -> ImageBank:
    images = [ellipses(seed) for seed in range(count)]
    return ImageBank((tuple(torch.from_numpy(i / np.percentile(i, 99)) for i in images),), (1.0,))


def write_files(folder, count: int = 3) -> None:
    """fastMRI-like files with an empty first slice in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        volume = np.stack([np.zeros((72, 64), np.float32), ellipses(2 * i), ellipses(2 * i + 1)]) * 1e-4
        with h5py.File(folder / f"file{i}.h5", "w") as h5:
            h5["reconstruction_rss"] = volume


def protocol(**changes) -> TrainingProtocol:
    stage = {"steps": 12, "batch": 2, "sizes": (40, 48), "learning_rate": 2e-3, "warmup": 5, "ema": 0.8}
    settings = {
        "name": "tiny",
        "seed": 3,
        "images": (ImageSet(pattern="**/*.h5", reader="fastmri", weight=1, licence="generated"),),
        "network": NetworkSpec(
            blocks=2, shared=False, cg_iterations=3, prior=PriorSpec(widths=(8, 12), blocks=1)
        ),
        "prior_stage": Stage(**stage),
        "unfold_stage": Stage(**stage, optimiser="muon"),
        "measurements": Measurements(coils=(1, 4), accelerations=(2, 6)),
    }
    return TrainingProtocol(**(settings | changes))


def write_protocol(file):
    """The same as `protocol()`, as a TOML file."""
    stage = "steps = 12\nbatch = 2\nsizes = [40, 48]\nlearning_rate = 2e-3\nwarmup = 5\nema = 0.8\n"
    file.write_text(
        'name = "tiny"\nseed = 3\n'
        "[network]\nblocks = 2\nshared = false\ncg_iterations = 3\n"
        "[network.prior]\nwidths = [8, 12]\nblocks = 1\n"
        f'[prior_stage]\n{stage}[unfold_stage]\n{stage}optimiser = "muon"\n'
        "[measurements]\ncoils = [1, 4]\naccelerations = [2, 6]\n"
        '[[images]]\npattern = "**/*.h5"\nreader = "fastmri"\nweight = 1\nlicence = "generated"\n',
        encoding="utf-8",
    )
    return file
