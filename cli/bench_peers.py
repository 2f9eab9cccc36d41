"""`mrunfold bench peers`: posterior samplers of other groups with the prior that ships, against ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrunfold.cli.bench_evidence import mask_of

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
    learned: Annotated[
        list[Path] | None,
        typer.Option(
            help="Of scans: weights that `mrunfold train mri-unet` and its like wrote, one a network."
        ),
    ] = None,
    no_published: Annotated[
        bool, typer.Option("--no-published", help="Leave the published settings out.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="PNG: the first image, by every method, task by task.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file; with the same file a run goes on.")] = Path(
        "peers.json"
    ),
) -> None:
    """Compare DPS, DiffPIR, DDNM, DAPS and DDS, with the prior that ships, with ours."""
    import torch

    from mrunfold.benchmarks.peers.cases import TASKS
    from mrunfold.benchmarks.peers.compare import Cases, compare
    from mrunfold.benchmarks.peers.run import Plan
    from mrunfold.benchmarks.peers.settings import PEERS
    from mrunfold.benchmarks.quality.learned import contestants

    if threads is not None:
        torch.set_num_threads(threads)
    masks = [mask_of(text) for text in mask or ["random:4", "poisson:8"]]
    tuning = Cases(tune or [], tune_images, tune_crop, masks, task or TASKS)
    plan = Plan(
        tuple(peer or PEERS), evaluations, draws, our_draws, photos,
        weights or ("natural-compact" if photos else None), not no_published, contestants(learned or []),
    )  # fmt: skip
    shown = Cases(data, images, crop, masks, task or TASKS)
    compare(tuning, shown, plan, features, out, lambda line: print(line, flush=True), picture)


COMMANDS = (peers,)
