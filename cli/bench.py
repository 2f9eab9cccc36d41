"""`mrunfold bench`: measure this machine, each figure against a peer in the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.cli import bench_evidence, bench_peers, bench_speed, bench_training
from mrunfold.cli.bench_evidence import mask_of, spread

if TYPE_CHECKING:
    from mrunfold.benchmarks.quality.scans import Row

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure speed and quality here, each figure against a peer in the same run.",
)

parts = (bench_speed, bench_training, bench_evidence, bench_peers)
for command in (command for part in parts for command in part.COMMANDS):
    app.command()(command)


@app.command()
def operators(
    coils: Annotated[int, typer.Option(min=1, help="Receive coils.")] = 15,
    size: Annotated[int, typer.Option(min=1, help="Matrix size, square.")] = 320,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements; their median counts.")] = 41,
) -> None:
    """Time the normal operator of Sense against its two FFTs alone."""
    from mrunfold.benchmarks.speed.operators import run

    run(coils, size, repeats)


@app.command()
def masks() -> None:
    """Time the Poisson-disc masks against SigPy's."""
    from mrunfold.benchmarks.speed.masks import run

    run()


@app.command()
def quality(
    data: Annotated[
        list[Path], typer.Argument(help="Fully sampled raw files, .mat files, or folders of them.")
    ],
    mask: Annotated[
        list[str] | None, typer.Option(help="Mask and acceleration, poisson:8; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Masks of each kind.")] = 3,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices at most, spread over the data.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Posterior samples, for the coverage of intervals.")
    ] = 0,
    steps: Annotated[int | None, typer.Option(min=2, help="Noise levels of a sample, as `recon`.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="key=value of unfold; repeatable.")] = None,
    only_ours: Annotated[bool, typer.Option("--only-ours", help="Leave the classical methods out.")] = False,
    map_sets: Annotated[
        int | None, typer.Option(min=1, help="Sets of coil maps; as many as a slice needs where left out.")
    ] = None,
    coils: Annotated[int, typer.Option(min=1, help="Simulated coils, of images.")] = 8,
    sigma: Annotated[float, typer.Option(min=0, help="Noise of simulated scans, image height 1.")] = 0.01,
    shading: Annotated[
        float | None, typer.Option(min=1.01, help="Simulated coils on one side, whose signal falls so far.")
    ] = None,
    hann: Annotated[bool, typer.Option("--hann", help="Full data under a Hann window in k-space.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="JSON file of rows and summary; with the same file a run goes on.")
    ] = None,
) -> None:
    """Compare the learned method with L1-wavelet and TV, each at its best weight, on fully sampled data."""
    from mrunfold.benchmarks.datasets import full_slices, windowed
    from mrunfold.benchmarks.quality.scans import CLASSICAL, markdown, measure
    from mrunfold.cli.options import parse_parameters

    masks = [mask_of(text) for text in (mask or ["poisson:4", "poisson:8", "random:4"])]
    found = spread([p for path in data for p in full_slices(path, coils, sigma, shading)], slices)
    found = [windowed(piece) for piece in found] if hann else found
    report, earlier = _kept(out)
    rows = measure(
        found,
        masks,
        range(seeds),
        weights=weights,
        classical=() if only_ours else CLASSICAL,
        samples=samples,
        steps=steps,
        ours=parse_parameters(param or []),
        map_sets=map_sets,
        report=report,
        done=earlier,
    )
    print("\nPSNR in dB by the target's maximum, target combined with maps of the undersampled data:\n")
    print(markdown(rows))


def _kept(out: Path | None) -> tuple[Callable[[Row], None], list[Row]]:
    """Return what prints each row and saves it with those before, and the rows that `out` has."""
    from mrunfold.benchmarks.quality.scans import load, merged, save

    earlier = load(out) if out is not None and out.exists() else []
    so_far: list[Row] = []

    def report(row: Row) -> None:
        so_far.append(row)
        if out is not None:
            save(merged(so_far, earlier), out)
        print(_told(row), flush=True)

    return report, earlier


@app.command()
def moved(
    before: Annotated[Path, typer.Argument(help="JSON file of `bench quality --out`.")],
    now: Annotated[Path, typer.Argument(help="Another, of the same data.")],
    most: Annotated[
        float, typer.Option(min=0, help="dB that a row may have moved; else exit code 1.")
    ] = 0.01,
) -> None:
    """Say how far the rows of two files of `quality` lie apart."""
    from mrunfold.benchmarks.quality.moved import markdown
    from mrunfold.benchmarks.quality.moved import moved as differences
    from mrunfold.benchmarks.quality.scans import load

    found = differences(load(before), load(now))
    print(markdown(found))
    far = [cell for cell, value in found.items() if not abs(value) <= most]
    print(f"{len(found) - len(far)} of {len(found)} rows within {most:g} dB")
    raise typer.Exit(1 if far else 0)


def _told(row: Any) -> str:
    covered = "" if row.coverage is None else f"  coverage {row.coverage:.3f}"
    rss = "" if row.rss is None else f", RSS {row.rss:.2f} dB"  # None in files of before
    return (
        f"{row.data} {row.mask} R={row.accel:g} seed {row.seed} σ_y {row.sigma_y:.4f} {row.method}: "
        f"{row.psnr:.2f} dB, SSIM {row.ssim:.4f}{rss}, {row.seconds:.2f} s{covered}"
    )


@app.command()
def table(
    files: Annotated[
        list[Path] | None, typer.Argument(help="JSON files of `bench … --out`; several of `quality`.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page whose `<!-- table: file -->` places to fill.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where that page's files are.")] = Path("docs/results"),
) -> None:
    """Print what benchmarks measured as Markdown tables, or fill a page with them.

    Of: quality, learned, peers, compression, seen, optimiser, adapt, methods, speed, recon, cost, scaling,
    compile.
    """
    from mrunfold.benchmarks import tables
    from mrunfold.errors import InputError

    if not files and page is None:
        raise InputError("name files of bench … --out to print, or a --page to fill")
    if page is not None:
        for name in tables.fill(page, folder):
            print(f"{folder / name} is not there yet; its place was left as it is")
        print(f"filled {page}")
    if files:
        print("\n".join(tables.markdown(files)))


@app.command()
def pictures(
    data: Annotated[Path, typer.Argument(help="A fully sampled raw file or .mat file.")],
    out: Annotated[Path, typer.Argument(help="PNG to write.")],
    mask: Annotated[str, typer.Option(help="Mask and acceleration.")] = "poisson:8",
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Posterior samples.")] = 8,
) -> None:
    """Draw the comparison of `quality` for the first slice: images, errors and standard deviation."""
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.pictures import write_comparison
    from mrunfold.benchmarks.quality.scans import GRID

    first = next(iter(full_slices(data)))
    write_comparison(out, first, mask_of(mask), GRID, weights=weights, samples=samples)
    print(f"wrote {out}")


@app.command()
def prior(
    out: Annotated[Path, typer.Argument(help="PNG to write.")],
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 6,
    size: Annotated[int, typer.Option(min=16, help="Matrix size, square.")] = 96,
) -> None:
    """Draw images from the network without any measurement (A = 0)."""
    from mrunfold.benchmarks.quality.pictures import write_prior

    write_prior(out, weights, count, size)
    print(f"wrote {out}")


@app.command()
def compression(
    data: Annotated[
        list[Path], typer.Argument(help="Fully sampled raw files, .mat files, or folders of them.")
    ],
    mask: Annotated[list[str] | None, typer.Option(help="Mask and acceleration, poisson:8.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the learned method.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure what the default compression of coils costs in quality and saves in time."""
    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.quality.compression import CompressionRow, markdown, measure
    from mrunfold.benchmarks.store import save_measured

    def report(row: CompressionRow) -> None:
        print(
            f"{row.data} {row.mask} R={row.accel:g}: {row.coils[0]} → {row.coils[1]} coils, "
            f"{row.psnr[1] - row.psnr[0]:+.2f} dB ({row.psnr[0]:.2f} → {row.psnr[1]:.2f}), "
            f"{row.seconds[0] / row.seconds[1]:.1f}× as fast",
            flush=True,
        )

    slices = [piece for path in data for piece in full_slices(path)]
    masks = [mask_of(text) for text in (mask or ["poisson:4", "poisson:8", "random:4"])]
    found = measure(slices, masks, weights, report)
    if out is not None:
        save_measured(found, out)
    print(f"\n{markdown(found)}")


@app.command(name="batch")
def batch_layer(
    volumes: Annotated[int, typer.Option(min=2, help="Simulated volumes.")] = 4,
    slices: Annotated[int, typer.Option(min=2, max=64, help="Slices of each.")] = 4,
    coils: Annotated[int, typer.Option(min=1, help="Receive coils.")] = 15,
    size: Annotated[int, typer.Option(min=32, help="Image size; k-space is 2 × 1.15 of it.")] = 320,
    memory_slices: Annotated[int, typer.Option(min=50, help="Small slices to watch memory over.")] = 200,
    method: Annotated[str | None, typer.Option(help="How to reconstruct; a default if not given.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of unfold.")] = None,
    gpu_factor: Annotated[float, typer.Option(min=1, help="Speed assumed of a GPU, × a core.")] = 20,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure what batches cost here: overhead, memory, workers; then count the full fastMRI sets."""
    from mrunfold.benchmarks.speed.batch import Sizes, fleet_markdown, measure, measured_markdown
    from mrunfold.cli.options import recon_options
    from mrunfold.export.record import to_json
    from mrunfold.io import atomic_path
    from mrunfold.pipeline import ReconSettings

    options = {"method": method, "weights": weights, "no_cache": True, "mask": "random", "accel": 4.0}
    centre = max(12, round(0.08 * size * 368 / 320))  # fastMRI's 8 % of the lines, or what maps need
    settings = ReconSettings(**recon_options(options), calibration=centre, seed="name")
    sizes = Sizes(volumes, slices, coils, size, memory_slices)
    found = measure(sizes, settings, lambda line: print(line, flush=True))
    if out is not None:
        with atomic_path(out) as part:
            part.write_text(to_json(found) + "\n", encoding="utf-8")
    print(f"\n{measured_markdown(found)}\n{fleet_markdown(found, gpu_factor)}")


@app.command()
def fleet(
    file: Annotated[Path, typer.Argument(help="JSON of `bench batch --out`.")],
    gpu_factor: Annotated[float, typer.Option(min=1, help="Speed assumed of a GPU, × a core.")] = 20,
) -> None:
    """Print what `batch` measured, and the full fastMRI sets counted from it, as Markdown tables."""
    from mrunfold.benchmarks.speed.batch import fleet_markdown, measured_markdown
    from mrunfold.benchmarks.store import read_measured

    found = read_measured(file, "batch")
    print(f"{measured_markdown(found)}\n{fleet_markdown(found, gpu_factor)}")


@app.command()
def restore(
    folders: Annotated[list[Path], typer.Argument(help="Folders of clean images, each a data set.")],
    task: Annotated[list[str] | None, typer.Option(help="Tasks; all if none. May be repeated.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Images of each folder, spread over it.")] = None,
    crop: Annotated[int | None, typer.Option(min=64, help="Cut images to their middle, so wide.")] = None,
    weights: Annotated[str, typer.Option(help="Weights of unfold.")] = "natural-compact",
    prior: Annotated[str, typer.Option(help="Weights of plug_and_play's prior.")] = "natural-prior",
    features: Annotated[Path | None, typer.Option(help="AlexNet features .npz, for LPIPS.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Noise levels of a sample.")] = 8,
    param: Annotated[list[str] | None, typer.Option(help="key=value of unfold; repeatable.")] = None,
    only_ours: Annotated[bool, typer.Option("--only-ours", help="Leave the rivals out.")] = False,
    speed: Annotated[
        bool, typer.Option("--speed", help="Also time one 256×256 colour image on two cores.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file of rows; with the same file a run goes on.")] = Path(
        "restore.json"
    ),
) -> None:
    """Compare the learned method with Tikhonov, TV and plug-and-play on photographs, many operators."""
    import torch

    from mrunfold.benchmarks.photographs.run import Comparison, compare
    from mrunfold.cli.options import parse_parameters

    if threads is not None:
        torch.set_num_threads(threads)
    wanted = Comparison(
        tuple(task or ()), images, crop, weights, prior, features, steps, only_ours, speed,
        parse_parameters(param or []),
    )  # fmt: skip
    compare(folders, out, wanted, lambda line: print(line, flush=True))


@app.command()
def restore_pictures(
    images: Annotated[
        list[Path], typer.Argument(help="Clean images: for motion blur, ×4, box and random inpainting.")
    ],
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("restoration.png"),
    prior: Annotated[str, typer.Option(help="Weights of plug_and_play's prior.")] = "natural-prior",
    weights: Annotated[str, typer.Option(help="Weights of unfold.")] = "natural-compact",
    crop: Annotated[int, typer.Option(min=48, help="Cut images to their middle, so wide.")] = 144,
    samples: Annotated[int, typer.Option(min=2, help="Posterior samples.")] = 8,
    steps: Annotated[int, typer.Option(min=2, help="Noise levels of a sample.")] = 8,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
) -> None:
    """Draw what `restore` compares: degraded, TV, plug-and-play, ours, its standard deviation, truth."""
    import torch

    from mrunfold.benchmarks.photographs.pictures import write_pictures

    if threads is not None:
        torch.set_num_threads(threads)
    write_pictures(
        out, images, weights=weights, prior=prior, crop=crop,
        samples=samples, steps=steps, report=lambda line: print(line, flush=True),
    )  # fmt: skip
    print(f"wrote {out}")


@app.command()
def export(
    slices: Annotated[int, typer.Option(min=2, help="Slices of the volume.")] = 40,
    size: Annotated[int, typer.Option(min=8, help="Matrix size, square.")] = 320,
) -> None:
    """Time exports of a volume and its page, with peak memory, against reading it and against nibabel."""
    from mrunfold.benchmarks.speed.export import ExportRow, measure

    names = {
        "read": "read only",
        "nibabel": "nibabel, whole volumes",
        "nifti": "export --nifti",
        "dicom": "export --dicom, with the map",
        "page": "view, one page",
        "load": "that page in Chromium until all is drawn, its start included",
    }

    def report(row: ExportRow) -> None:
        memory = (
            "" if row.peak_mb is None else f", peak memory {row.peak_mb:.0f} MB ({row.before_mb:.0f} before)"
        )
        written = f", {row.written_mb:.1f} MB written" if row.written_mb else ""
        print(f"{names[row.name]}: {row.seconds:.2f} s{memory}{written}", flush=True)

    rows = measure(slices, size, report)
    if not any(row.name == "load" for row in rows):
        print("loading the page was not measured: no Chromium here")
