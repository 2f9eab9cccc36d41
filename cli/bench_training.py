"""The commands of `mrunfold bench` about training: optimisers, images seen, windows, noise, learned peers."""

from __future__ import annotations

from dataclasses import asdict
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
    mask: Annotated[list[str] | None, typer.Option(help="Mask and acceleration; repeatable.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    out: Out = None,
) -> None:
    """Measure the gain over L1-wavelet on images that were trained on, and on others: what was memorised.

    Subjects that the protocol holds back are measured too.
    """
    from itertools import islice

    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.seen import MASKS, markdown, measure_seen, training_slices
    from mrunfold.cli.bench_evidence import mask_of
    from mrunfold.protocols import load_protocol

    plan = load_protocol(protocol)
    slices = list(training_slices(data, plan, each))
    if any(images.held_back for images in plan.images):
        slices += training_slices(data, plan, each, held_back=True)
    for path in unseen:
        slices += islice(full_slices(path), each)
    kinds = [mask_of(text) for text in mask] if mask else MASKS
    found = measure_seen(slices, weights, kinds, report=say)
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


def learned(
    data: Annotated[list[Path], typer.Argument(help="Fully sampled data, as for `quality`.")],
    weights: Annotated[
        list[Path], typer.Option(help="Weights to compare, whose file tells the method; repeatable.")
    ],
    mask: Annotated[list[str] | None, typer.Option(help="Mask and acceleration; repeatable.")] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices of each DATA, spread over it.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Masks of each kind.")] = 1,
    coils: Annotated[int, typer.Option(min=1, help="Simulated coils, of images.")] = 8,
    shading: Annotated[float | None, typer.Option(min=1.01, help="As `quality`.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON of rows; with the same file a run goes on.")] = None,
) -> None:
    """Compare learned networks, VarNet, U-Net, MoDL and ours, within and outside of their training."""
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.learned import LearnedRow, contestants, load, measure, save, tables
    from mrunfold.cli.bench_evidence import mask_of, spread

    networks = contestants(weights)
    masks = [mask_of(text) for text in mask or ["random:4", "poisson:8"]]
    found = [p for path in data for p in spread(list(full_slices(path, coils, shading=shading)), slices)]
    earlier = load(out) if out is not None and out.exists() else []
    so_far: list[LearnedRow] = []

    def report(row: LearnedRow) -> None:
        so_far.append(row)
        if out is not None:
            save(so_far, out, earlier)
        outside = "" if not row.outside else f", outside training by {', '.join(row.outside)}"
        print(
            f"{row.data} {row.coils} coils {row.mask} R={row.accel:g} seed {row.seed} {row.method}: "
            f"{row.psnr:.2f} dB, RSS {row.rss:.2f} dB, {row.seconds:.2f} s{outside}",
            flush=True,
        )

    rows = measure(found, masks, networks, seeds=range(seeds), report=report, done=earlier)
    print("\n" + "\n".join(tables({"rows": [asdict(row) for row in rows]})))


COMMANDS = (optimiser, seen, windows, noise, learned)
