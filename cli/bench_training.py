"""The commands of `mrunfold bench` about training: optimisers, what was seen, calibration windows, noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrunfold.cli.bench_speed import Out, finish, say

__all__ = ["COMMANDS"]


def optimiser(
    data: Annotated[Path, typer.Option(help="Folder of the training images.")],
    init: Annotated[Path, typer.Option(help="Weights to start from, .safetensors.")],
    protocol: Annotated[str, typer.Argument(help="A protocol's name, or FILE.toml.")] = "mri-compact",
    arm: Annotated[list[str] | None, typer.Option(help="optimiser:rate, repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of each.")] = 120,
    unseen: Annotated[int, typer.Option(min=1, help="Further batches to measure on.")] = 40,
    out: Out = None,
) -> None:
    """Train a little with each optimiser, over the same batches: what it gains, and seconds a step."""
    from mrunfold.benchmarks.quality.optimiser import Arm, markdown, measure
    from mrunfold.protocols import load_protocol

    arms = [Arm(*_arm(text)) for text in arm or ["adam:3e-4", "muon:3e-4", "muon:1e-3"]]
    found = measure(load_protocol(protocol), data, init, arms, steps, unseen, say)
    finish(found, markdown(found), out)


def _arm(text: str) -> tuple[str, float]:
    from mrunfold.errors import InputError

    name, _, rate = text.partition(":")
    try:
        value = float(rate)
    except ValueError:
        value = 0.0
    if name not in ("adam", "muon") or not 0 < value < 1:
        raise InputError(f"--arm takes adam or muon and a learning rate, as muon:3e-4, got {text!r}")
    return name, value


def seen(
    data: Annotated[Path, typer.Option(help="Folder of the training images.")],
    unseen: Annotated[
        list[Path], typer.Argument(help="Fully sampled raw files, .mat files, or folders, not trained on.")
    ],
    protocol: Annotated[str, typer.Option(help="A protocol's name, or FILE.toml.")] = "mri-compact",
    each: Annotated[int, typer.Option(min=1, help="Slices of each set of images.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    out: Out = None,
) -> None:
    """Measure the gain over L1-wavelet on images that were trained on, and on others: what was memorised.

    Subjects that the protocol holds back are measured too.
    """
    from itertools import islice

    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.seen import markdown, measure_seen, training_slices
    from mrunfold.protocols import load_protocol

    plan = load_protocol(protocol)
    slices = list(training_slices(data, plan, each))
    if any(images.held_back for images in plan.images):
        slices += training_slices(data, plan, each, held_back=True)
    for path in unseen:
        slices += islice(full_slices(path), each)
    found = measure_seen(slices, weights, report=say)
    finish(found, markdown(found), out)


def windows(
    data: Annotated[Path, typer.Option(help="Folder of the training images of `mri-compact`.")],
    scans: Annotated[int, typer.Option(min=1, help="Simulated scans.")] = 8,
) -> None:
    """Measure maps from few calibration lines against true ones, by the zeros around them."""
    from mrunfold.benchmarks.speed.maps import window_errors
    from mrunfold.protocols import load_protocol
    from mrunfold.training.images import ImageBank

    bank = ImageBank.load(data, load_protocol("mri-compact").images)
    print("| lines | window | error | object kept | air kept |\n|---|---|---|---|---|")
    for lines in (8, 10, 13, 16, 20):
        for width, error, kept, air in window_errors(bank, lines, (lines, 14, 16, 18, 24), scans):
            if width >= lines:
                print(f"| {lines} | {width} | {error:.3f} | {kept:.2f} | {air:.2f} |", flush=True)


def noise(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Fully sampled raw files or .mat files; none: simulated only.")
    ] = None,
    coils: Annotated[list[int] | None, typer.Option(min=1, help="Simulated coils; repeatable.")] = None,
    size: Annotated[list[int] | None, typer.Option(min=32, help="Matrix sizes; repeatable.")] = None,
    out: Out = None,
) -> None:
    """Measure the noise level found, over the one put in, or over that of the corners of measured images."""
    from itertools import islice

    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.noise import markdown, measure

    slices = [full for path in data or [] for full in islice(full_slices(path), 1)]
    found = measure(slices, coils or [1, 2, 4, 8, 16, 32], size or [64, 160, 320], say)
    finish(found, markdown(found), out)


COMMANDS = (optimiser, seen, windows, noise)
