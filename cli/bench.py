"""`mrunfold bench`: measure this machine, each figure against a peer in the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure speed and quality here, each figure against a peer in the same run.",
)


@app.command()
def operators(
    coils: Annotated[int, typer.Option(min=1, help="Receive coils.")] = 15,
    size: Annotated[int, typer.Option(min=1, help="Matrix size, square.")] = 320,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements; their median counts.")] = 41,
) -> None:
    """Time the normal operator of Sense against its two FFTs alone."""
    from mrunfold.benchmarks.operators import run

    run(coils, size, repeats)


@app.command()
def masks() -> None:
    """Time the Poisson-disc masks against SigPy's."""
    from mrunfold.benchmarks.masks import run

    run()


@app.command()
def quality(
    data: Annotated[
        list[Path], typer.Argument(help="Fully sampled raw files, .mat files, or folders of them.")
    ],
    law: Annotated[
        list[str] | None, typer.Option(help="Mask law and acceleration, poisson:8; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Masks of each law.")] = 3,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices at most, spread over the data.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Posterior samples, for the coverage of intervals.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=2, help="Noise levels of a sample.")] = 8,
    only_ours: Annotated[bool, typer.Option("--only-ours", help="Leave the classical methods out.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="JSON file of rows and summary; with the same file a run goes on.")
    ] = None,
) -> None:
    """Compare the learned method with L1-wavelet and TV, each at its best weight, on fully sampled data."""
    import numpy as np

    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality import CLASSICAL, Row, load, markdown, measure, save

    laws = [_law(text) for text in (law or ["poisson:4", "poisson:8", "random:4"])]
    found = [piece for path in data for piece in full_slices(path)]
    if slices is not None and slices < len(found):
        found = [found[i] for i in np.linspace(0, len(found) - 1, slices).round().astype(int)]

    earlier = load(out) if out is not None and out.exists() else []
    so_far: list[Row] = []

    def report(row: Row) -> None:
        so_far.append(row)
        if out is not None:
            here = {r.key for r in so_far}
            save([*so_far, *(r for r in earlier if r.key not in here)], out)
        covered = "" if row.coverage is None else f"  coverage {row.coverage:.3f}"
        print(
            f"{row.data} {row.mask} R={row.accel:g} seed {row.seed} σ_y {row.sigma_y:.4f} {row.method}: "
            f"{row.psnr:.2f} dB, SSIM {row.ssim:.4f}, {row.seconds:.2f} s{covered}",
            flush=True,
        )

    rows = measure(
        found,
        laws,
        range(seeds),
        weights=weights,
        classical=() if only_ours else CLASSICAL,
        samples=samples,
        steps=steps,
        report=report,
        done=earlier,
    )
    print("\nPSNR in dB by the target's maximum, target combined with maps of the undersampled data:\n")
    print(markdown(rows))
    if out is not None:
        save(rows, out)


@app.command()
def table(files: Annotated[list[Path], typer.Argument(help="JSON files of `bench quality --out`.")]) -> None:
    """Print what `quality` measured as a Markdown table."""
    from mrunfold.benchmarks.quality import load, markdown

    print(markdown([row for file in files for row in load(file)]))


@app.command()
def pictures(
    data: Annotated[Path, typer.Argument(help="A fully sampled raw file or .mat file.")],
    out: Annotated[Path, typer.Argument(help="PNG to write.")],
    law: Annotated[str, typer.Option(help="Mask law and acceleration.")] = "poisson:8",
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Posterior samples.")] = 8,
) -> None:
    """Draw the comparison of `quality` for the first slice: images, errors and standard deviation."""
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.pictures import write_comparison
    from mrunfold.benchmarks.quality import GRID

    first = next(iter(full_slices(data)))
    write_comparison(out, first, _law(law), GRID, weights=weights, samples=samples)
    print(f"wrote {out}")


@app.command()
def prior(
    out: Annotated[Path, typer.Argument(help="PNG to write.")],
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 6,
    size: Annotated[int, typer.Option(min=16, help="Matrix size, square.")] = 128,
) -> None:
    """Draw images from the network without any measurement (A = 0)."""
    from mrunfold.benchmarks.pictures import write_prior

    write_prior(out, weights, count, size)
    print(f"wrote {out}")


@app.command()
def speed(
    coils: Annotated[int, typer.Option(min=1, help="Receive coils.")] = 15,
    size: Annotated[int, typer.Option(min=16, help="Matrix size, square.")] = 320,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements; their median counts.")] = 3,
) -> None:
    """Time one slice by each method, maps given, as ratios to L1-wavelet."""
    from mrunfold.benchmarks.speed import measure, peak_memory_mib

    def report(name: str, seconds: float, ratio: float) -> None:
        print(f"{name}: {seconds:.2f} s a slice, {ratio:.1f}× as fast as l1_wavelet (60 iterations)")

    measure(coils, size, repeats, report)
    print(f"peak memory of this process: {peak_memory_mib():.0f} MiB")


def _law(text: str) -> tuple[str, float]:
    from mrunfold.errors import InputError

    kind, _, accel = text.partition(":")
    try:
        return kind, float(accel)
    except ValueError:
        raise InputError(f"--law is a kind and an acceleration, as poisson:8, got {text!r}") from None
