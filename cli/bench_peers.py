"""`mrunfold bench peers`: posterior samplers of other groups with the prior that ships, against ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrunfold.cli.bench_evidence import mask_of, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from mrunfold.benchmarks.peers.cases import Case

__all__ = ["COMMANDS"]


def peers(
    data: Annotated[
        list[Path], typer.Argument(help="Fully sampled data, as for `quality`, or folders of photographs.")
    ],
    tune: Annotated[
        list[Path] | None, typer.Option(help="Data that weights are swept on, never those of the table.")
    ] = None,
    photos: Annotated[bool, typer.Option("--photos", help="DATA are photographs.")] = False,
    mask: Annotated[list[str] | None, typer.Option(help="Of scans: mask and acceleration.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Of photographs: gaussian, x4, …; all if none.")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="One of the samplers; all if none.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Images at most, spread over each DATA.")] = None,
    tune_images: Annotated[int, typer.Option(min=1, help="Images of each --tune.")] = 1,
    crop: Annotated[int | None, typer.Option(min=48, help="Cut images to their middle, so wide.")] = None,
    tune_crop: Annotated[int | None, typer.Option(min=48, help="The same of --tune.")] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Of a draw at most; as published where left out.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of each sampler.")] = 1,
    our_draws: Annotated[int, typer.Option(min=2, help="Draws of ours.")] = 16,
    features: Annotated[Path | None, typer.Option(help="AlexNet features .npz, for LPIPS.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of ours.")] = None,
    no_published: Annotated[
        bool, typer.Option("--no-published", help="Leave the published settings out.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file; with the same file a run goes on.")] = Path(
        "peers.json"
    ),
) -> None:
    """Compare DPS, DiffPIR, DDNM, DAPS and DDS, with the prior that ships, with ours."""
    import torch

    from mrunfold.benchmarks.datasets import full_slices
    from mrunfold.benchmarks.peers import cases, rows, run, settings, table
    from mrunfold.benchmarks.store import read_measured
    from mrunfold.metrics.lpips import Lpips

    if threads is not None:
        torch.set_num_threads(threads)
    for name in peer or ():
        settings.limited(name, {}, evaluations)
    far = None if features is None else Lpips(features)

    def made(paths: list[Path], count: int | None, width: int | None) -> list[Callable[[], Case]]:
        found: list[Callable[[], Case]] = []
        for path in paths:
            if photos:
                shake = out.with_name(out.stem + "-shake.png")
                found += cases.photographs(path, task or cases.TASKS, count, width, far, shake)
            else:
                masks = [mask_of(text) for text in mask or ["random:4", "poisson:8"]]
                found += cases.scans(spread(list(full_slices(path)), count), masks, width)
        return found

    earlier = rows.load(out) if out.exists() else []
    so_far: list[rows.PeerRow] = []
    kept = {row.key for row in earlier}

    def report(row: rows.PeerRow) -> None:
        so_far.append(row)
        if row.key not in kept:
            rows.save(rows.merged(so_far, earlier), out)
            print(rows.told(row), flush=True)

    plan = run.Plan(
        tuple(peer or settings.PEERS), evaluations, draws, our_draws, photos,
        weights or ("natural-compact" if photos else None), not no_published,
    )  # fmt: skip
    run.measure(made(tune or [], tune_images, tune_crop), made(data, images, crop), plan, report, earlier)
    print("\n" + "\n".join(table.markdowns(read_measured(out, "peers"))))


COMMANDS = (peers,)
