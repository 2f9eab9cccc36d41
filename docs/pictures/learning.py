"""Draw learning curves: simulated images, raw k-space of the same images, and undersampled k-space alone.

python docs/pictures/learning.py ~/mri work docs/pictures/learning.png --steps 80

Writes raw files made from images below ~/mri to `work`, trains one small network per arm from nothing, with
the same steps, and draws the PSNR on scans of another data set that no arm sees.  The same command goes on
where it was stopped.  Arms: `simulated` draws coils, noise and mask for an image at each step, `kspace`
undersamples the raw files, `ssdu` has undersampled raw files only; `simulated 2` and `kspace 2` have other
first weights and batches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.diffusion import complex_noise_like
from mrunfold.io import open_scan
from mrunfold.masks import draw
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.phantoms.header import simulated_header
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.protocols import (
    ImageSet,
    Measurements,
    NetworkSpec,
    PriorSpec,
    Splits,
    Stage,
    TrainingProtocol,
)
from mrunfold.training.chance import log_uniform
from mrunfold.training.curve import read_log
from mrunfold.training.images import ImageBank
from mrunfold.training.run import TrainingSettings, train
from mrunfold.training.sampling import LINES, draw_kind, draw_size, drawn_mask
from mrunfold.training.scenes import random_image

SEEN, UNSEEN = "ixi/*.mat", "wide/brain/openms/patient03_*.nii.gz"
FILES, SLICES, TESTED = 60, 4, 8
ARMS = ("simulated", "kspace", "ssdu", "simulated 2", "kspace 2")
RULES = Measurements(
    accelerations=(3.0, 5.0), coils=(4, 8), sigma_y=(0.005, 0.03), mean_fraction=1.0, dropout=0.0, points=0.0,
    calibrated=1.0,
)  # fmt: skip
STAGE = Stage(
    steps=1, batch=4, sizes=(64, 72), learning_rate=1e-3, warmup=10, ema=0.9, optimiser="muon"
)  # fmt: skip
NETWORK = NetworkSpec(
    blocks=3, shared=False, cg_iterations=3, start_iterations=16, x0_has_noise=True,
    prior=PriorSpec(widths=(20, 32, 48), blocks=1),
)  # fmt: skip
EVERY = 10
WIDE = 8  # lines in the centre of undersampled files


def write_files(bank: ImageBank, folder: Path, count: int, seed: int, undersampled: Path | None) -> None:
    """Write `count` raw files of what the bank draws, and the same without most of their lines."""
    for place in range(count):
        file = folder / f"{place:03d}.h5"
        generator = torch.Generator().manual_seed((seed << 16) + place)
        shape = draw_size(STAGE.sizes, generator)
        coils = round(log_uniform((RULES.coils[0], RULES.coils[1]), generator))
        slices = []
        for _ in range(SLICES):
            full = fft2c(simulated_maps(coils, shape, generator) * random_image(bank, shape, generator))
            sigma = log_uniform(RULES.sigma_y, generator)
            slices.append((full + sigma * complex_noise_like(full[None], [generator])[0]).numpy())
        mask = drawn_mask(draw_kind(LINES, RULES, generator), shape, RULES, generator)
        while min(mask.calibration) < WIDE:
            mask = drawn_mask(draw_kind(LINES, RULES, generator), shape, RULES, generator)
        _write(file, np.stack(slices))
        if undersampled is not None:
            _write(undersampled / file.name, np.stack(slices) * mask.array)


def _write(file: Path, kspace: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    matrix = (kspace.shape[2], kspace.shape[3])
    mm = (float(matrix[0]), float(matrix[1]))
    with h5py.File(file, "w") as h5:
        h5["kspace"] = kspace.astype(np.complex64)
        lines = (matrix[1], matrix[1] // 2)
        h5["ismrmrd_header"] = simulated_header(kspace.shape[1], matrix, mm, matrix, mm, 3.0, lines)


def protocol(arm: str, steps: int) -> TrainingProtocol:
    """Return what an arm is trained by: all alike but for what is read, and how it is learned from."""
    name, _, other = arm.partition(" ")
    pattern = {"simulated": SEEN, "kspace": "full/*.h5", "ssdu": "undersampled/*.h5"}[name]
    reader = {"simulated": "mat", "kspace": "kspace", "ssdu": "acquired"}[name]
    return TrainingProtocol(
        name=f"learning-{arm}", seed=20261127 + bool(other), network=NETWORK, measurements=RULES,
        images=(ImageSet(pattern=pattern, reader=reader, weight=1, licence="see the data's own"),),
        unfold_stage=STAGE.model_copy(update={"steps": steps}), splits=Splits() if name == "ssdu" else None,
    )  # fmt: skip


class Tested:
    """PSNR of the mean by one evaluation, over the first slices of files that no arm sees, random R = 4."""

    def __init__(self, folder: Path) -> None:
        self.judges, self.problems = [], []
        settings = ProblemSettings(cache=None)
        for file in sorted(folder.glob("*.h5")):
            with open_scan(file) as scan:
                kspace, header = scan.kspace(0), scan.header
            mask = draw("random", kspace.shape[1:], 4.0, seed=0, center_fraction=0.1)
            everything = np.ones(kspace.shape[1:], bool)
            problem = build_problem(kspace, header, mask, acquired=everything, settings=settings)
            self.problems.append(problem)
            self.judges.append(Judge.of(kspace, problem))

    def __call__(self, network: object) -> float:
        found = [
            judge.psnr(network.mean(problem, 1))
            for judge, problem in zip(self.judges, self.problems, strict=True)
        ]
        return float(np.mean(found))

    def empty(self) -> float:
        """Return the same of Aᴴy."""
        found = [judge.psnr(p.A.adjoint(p.y)) for judge, p in zip(self.judges, self.problems, strict=True)]
        return float(np.mean(found))


def main(data: Path, work: Path, picture: Path, steps: int, arms: list[str]) -> None:
    if not (work / "tested").exists():
        seen = ImageBank.load(data, [ImageSet(pattern=SEEN, reader="mat", weight=1, licence="IXI")])
        unseen = ImageBank.load(data, [ImageSet(pattern=UNSEEN, reader="nifti", weight=1, licence="CC BY")])
        write_files(seen, work / "full", FILES, 1, work / "undersampled")
        write_files(unseen, work / "tested", TESTED, 2, None)
    tested = Tested(work / "tested")
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    print(f"zero-filled: {tested.empty():.2f} dB")
    for arm in arms:
        out = work / arm.replace(" ", "-")
        settings = TrainingSettings(
            "cpu", 1, progress=False, checkpoint_every=50, validate=tested, validate_every=EVERY
        )
        torch.manual_seed(0)
        state = train(protocol(arm, steps), data if arm.startswith("sim") else work, out, settings=settings)
        curve = read_log(out / "unfold" / "log", "validation")
        held = torch.load(out / "unfold" / "last.ckpt", map_location="cpu", weights_only=True)
        print(
            f"{arm}: {curve[-1][1]:.2f} dB after {state.step} steps, {held['minutes']:.1f} minutes",
            flush=True,
        )
        line = "--" if arm.endswith("2") else "-"
        axes.plot(*zip(*curve, strict=True), line, color=f"C{ARMS.index(arm) % 3}", label=arm)
    axes.set(xlabel="steps", ylabel="PSNR on other scans, random R = 4, dB")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--arm", action="append", choices=ARMS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    main(given.data, given.work, given.picture, given.steps, given.arm or list(ARMS))
