"""`mrunfold bench maps`, `check`, `adapt`, `samples`: what maps, checks, fine-tuning and draws are worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mrunfold.errors import InputError

__all__ = ["COMMANDS", "mask_of", "spread"]

# Their number and that of the conditions have no common factor: each condition meets each mask.
CHECK_MASKS = ("random:2", "random:4", "random:6", "equispaced:4", "poisson:4", "poisson:8", "poisson:16")


def maps(
    coils: Annotated[int, typer.Option(min=2, help="Receive coils.")] = 15,
    size: Annotated[int, typer.Option(min=48, help="Matrix size, square.")] = 320,
    calibration: Annotated[int, typer.Option(min=12, max=32, help="Calibration region, square.")] = 24,
    explain: Annotated[
        list[Path] | None,
        typer.Option(help="Fully sampled data, folders, or `bodies`: what maps explain of them, not time."),
    ] = None,
    mask: Annotated[list[str] | None, typer.Option(help="With --explain: mask and acceleration.")] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="With --explain: slices at most.")] = None,
    shading: Annotated[float | None, typer.Option(min=1.01, help="With --explain: as `quality`.")] = None,
) -> None:
    """Time coil calibration against SigPy's and, where installed, BART's; or say what the maps explain."""
    if explain:
        _explain(explain, mask or ["random:4", "poisson:8"], slices, shading)
        return
    from mrunfold.benchmarks.speed.maps import MapsRow, measure

    def report(row: MapsRow) -> None:
        print(
            f"{row.name}: {row.seconds:.3f} s, peak memory {row.memory_mib:.0f} MiB, agreement with SigPy "
            f"at least {row.overlap:.5f}, support differs in {100 * row.support:.2f} %"
        )

    rows = measure(coils, size, calibration, report)
    ours = next(row for row in rows if row.name == "torch")
    for row in rows:
        print(f"torch is {row.seconds / ours.seconds:.1f}× as fast as {row.name}")


def _explain(paths: list[Path], masks: list[str], slices: int | None, shading: float | None) -> None:
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.explained import ExplainedRow, bodies, markdown, measure

    def report(row: ExplainedRow) -> None:
        print(f"{row.data} {row.mask} R={row.accel:g} {row.program}: {row.left:.1f} dB", flush=True)

    # Noise of 0.4 %: with more, noise is nearly all that any maps leave.
    found = [
        piece
        for path in paths
        for piece in (bodies() if str(path) == "bodies" else full_slices(path, 8, 0.004, shading))
    ]
    print("\n" + markdown(measure(spread(found, slices), [mask_of(text) for text in masks], report)))


def check(
    data: Annotated[
        list[Path], typer.Argument(help="Fully sampled data, as for `quality`; photographs too.")
    ],
    mask: Annotated[
        list[str] | None, typer.Option(help="Mask and acceleration; repeatable: scans take them in turn.")
    ] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices at most, spread over the data.")] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="What is done to each slice; repeatable. All by default.")
    ] = None,
    shading: Annotated[float | None, typer.Option(min=1.01, help="As `quality`.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    splits: Annotated[int, typer.Option(min=1, help="How many times samples are held out.")] = 2,
    out: Annotated[Path | None, typer.Option(help="JSON of rows; with the same file a run goes on.")] = None,
) -> None:
    """Measure how well held-out samples rank methods, and what choosing by them costs."""
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.conditions import CONDITIONS, condition_of
    from mrunfold.benchmarks.quality.verdicts import CheckRow, load, markdown, measure, save

    chosen = [condition_of(name) for name in condition or CONDITIONS]
    found = spread([p for path in data for p in full_slices(path, 8, 0.004, shading)], slices)
    earlier = load(out) if out is not None and out.exists() else []
    so_far: list[CheckRow] = []

    def report(row: CheckRow) -> None:
        so_far.append(row)
        if out is not None:
            save(so_far, out, earlier)
        print(f"{row.condition}: {row.data} {row.mask} R={row.accel:g}: {row.verdict}", flush=True)

    masks = [mask_of(text) for text in mask or CHECK_MASKS]
    scans = [(piece, one) for piece in found for one in chosen]
    rows = measure(scans, masks, weights=weights, splits=splits, report=report, done=earlier)
    print("\n" + markdown({"rows": [asdict(row) for row in rows]}))


def samples(
    data: Annotated[list[Path], typer.Argument(help="Fully sampled data, as for `quality`.")],
    mask: Annotated[list[str] | None, typer.Option(help="Mask and acceleration; repeatable.")] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices at most, spread over the data.")] = None,
    draws: Annotated[int, typer.Option(min=2, help="Draws of each slice.")] = 16,
    way: Annotated[list[str] | None, typer.Option(help="One of the rows of the table; repeatable.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    held_back: Annotated[
        str | None, typer.Option(help="A protocol: DATA is its folder, of which it holds subjects back.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON of rows; with the same file a run goes on.")] = None,
) -> None:
    """Compare draws and the predicted SD: coverage, CRPS, evaluations, and time against the mean's own."""
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.draws import ALL_WAYS, DrawsRow, load, markdown, measure, summary
    from mrunfold.benchmarks.quality.seen import training_slices
    from mrunfold.benchmarks.store import merged, save_measured
    from mrunfold.protocols import load_protocol

    earlier = load(out) if out is not None and out.exists() else []
    so_far: list[DrawsRow] = []

    def report(row: DrawsRow) -> None:
        so_far.append(row)
        if out is not None:
            save_measured(summary(merged(so_far, earlier, lambda one: one.key)), out)
        print(
            f"{row.data} {row.mask} R={row.accel:g} {row.way}: {row.evaluations} evaluations, "
            f"{row.seconds / row.mean_seconds:.2f} × the mean, coverage {row.coverage:.3f}, "
            f"CRPS {row.crps:.3f} %, width {row.width:.2f} %",
            flush=True,
        )

    found = [
        piece
        for path in data
        for piece in (
            training_slices(path, load_protocol(held_back), 4, held_back=True)
            if held_back
            else full_slices(path)
        )
    ]
    masks = [mask_of(text) for text in mask or ["random:4", "poisson:8"]]
    rows = measure(
        *(spread(found, slices), masks, draws),
        ways=tuple(way or ALL_WAYS),
        weights=weights,
        report=report,
        done=earlier,
    )
    measured = summary(merged(rows, earlier, lambda one: one.key))
    print("\n" + markdown(measured))
    if out is not None:
        save_measured(measured, out)


def adapt(
    data: Annotated[list[Path], typer.Argument(help="Fully sampled data, as for `quality`.")],
    mask: Annotated[list[str] | None, typer.Option(help="Mask and acceleration; repeatable.")] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices at most, spread over the data.")] = None,
    part: Annotated[str, typer.Option(help="What is tuned: all or levels.")] = "all",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps at most; as `mrunfold adapt`.")] = None,
    crop: Annotated[int | None, typer.Option(min=48, help="Cut the field of view to its middle.")] = None,
    hann: Annotated[bool, typer.Option("--hann", help="As `quality`.")] = False,
    shading: Annotated[float | None, typer.Option(min=1.01, help="As `quality`.")] = None,
    shifted: Annotated[
        bool, typer.Option("--shifted", help="These scans are unlike those of training.")
    ] = False,
    weights: Annotated[str | None, typer.Option(help="Weights to begin with.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON of rows; with the same file a run goes on.")] = None,
) -> None:
    """Measure what `mrunfold adapt` gains on one undersampled slice alone; the full data score it only."""
    from mrunfold.benchmarks.datasets import full_slices, windowed
    from mrunfold.benchmarks.quality.adapted import AdaptRow, cut, load, markdown, measure, save
    from mrunfold.training.adapt import AdaptSettings

    found = spread([p for path in data for p in full_slices(path, shading=shading)], slices)
    found = [piece if crop is None else cut(piece, crop) for piece in found]
    found = [windowed(piece) for piece in found] if hann else found
    earlier = load(out) if out is not None and out.exists() else []
    so_far: list[AdaptRow] = []

    def report(row: AdaptRow) -> None:
        so_far.append(row)
        if out is not None:
            save(so_far, out, earlier)
        print(
            f"{row.data} {row.mask} R={row.accel:g}: PSNR {row.psnr[0]:.2f} → {row.psnr[1]:.2f} dB, RSS "
            f"{row.rss[0]:.2f} → {row.rss[1]:.2f} dB, held-out error {row.held[0]:.4f} → {row.held[1]:.4f}, "
            f"{row.steps} steps, {row.seconds[1] / 60:.1f} CPU minutes",
            flush=True,
        )

    given = {} if steps is None else {"steps": steps}
    how = AdaptSettings(part=part, **given)  # type: ignore[arg-type]
    unlike = shifted or hann or shading is not None
    masks = [mask_of(text) for text in mask or ["random:4", "poisson:8"]]
    rows = measure(found, masks, how, unlike, weights, report, earlier)
    print("\n" + markdown({"rows": [asdict(row) for row in rows]}))


def spread(found: list[Any], count: int | None) -> list[Any]:
    """Return `count` of a list, spread over it; all for None."""
    import numpy as np

    if count is None or count >= len(found):
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, count).round().astype(int)]


def mask_of(text: str) -> tuple[str, float]:
    """Return the kind and the acceleration of `poisson:8`."""
    kind, _, accel = text.partition(":")
    try:
        return kind, float(accel)
    except ValueError:
        raise InputError(f"--mask is a kind and an acceleration, as poisson:8, got {text!r}") from None


COMMANDS = (maps, check, adapt, samples)
