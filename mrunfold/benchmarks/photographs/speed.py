"""Seconds for the mean of one 256×256 colour image, against plug-and-play in the same run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.photographs.restore import SEEN, cut_middle
from mrunfold.benchmarks.photographs.rows import RestoreRow, RestoreSpeed
from mrunfold.errors import InputError
from mrunfold.io.images import Photo, read_photo
from mrunfold.methods import get_method
from mrunfold.pipeline.threads import available_cores
from mrunfold.restoration.run import photo_problem
from mrunfold.restoration.settings import RestoreSettings

__all__ = ["colour_image", "made_by", "measure_speed", "tuned_options"]

SIDE, THREADS, REPEATS = 256, 2, 3


def colour_image(files: Sequence[Path], side: int = SIDE) -> Photo:
    """Return the middle side × side of the first colour image that large; InputError where there is none."""
    for file in files:
        photo = read_photo(file)
        if photo.pixels.shape[0] == 3 and min(photo.pixels.shape[1:]) >= side:
            return cut_middle(photo, side)
    raise InputError(f"--speed needs a colour image of at least {side}×{side}; add a folder with one")


def tuned_options(rows: Sequence[RestoreRow], data: str) -> dict[str, dict[str, Any]]:
    """Return what plug_and_play was given in each trained task of a data set, by the name of the task."""
    found = {row.task: row.parameters for row in rows if (row.data, row.method) == (data, "plug_and_play")}
    if not found.keys() & set(SEEN):
        raise InputError(f"--speed compares with plug_and_play, which has no row of {data}; give --prior")
    return {task: found[task] for task in SEEN if task in found}


def made_by(weights: str, prior: str, options: Mapping[str, dict[str, Any]]) -> str:
    """Return the weights of both by their sha256 and the options of plug_and_play, in words."""
    from mrunfold.networks.weights import load_weights, weights_digest, weights_file

    digests = {"weights": load_weights(weights)[1]["sha256"], "prior": weights_digest(weights_file(prior))}
    digests = {name: digest[:12] for name, digest in digests.items()}
    return json.dumps({**digests, "plug_and_play": dict(options)})


def measure_speed(
    photo: Photo,
    settings: Mapping[str, RestoreSettings],
    options: Mapping[str, dict[str, Any]],
    *,
    weights: str = "natural-compact",
    prior: str,
    repeats: int = REPEATS,
    threads: int = THREADS,
    report: Callable[[str], None] = lambda line: None,
) -> RestoreSpeed:
    """Return the seconds of unfold (mean) and plug_and_play on a square photo, over the tasks of `options`.

    The two take turns, `repeats` times a task after one run that is not counted; the median counts.
    InputError where the process may use fewer cores than threads.
    """
    ours = get_method("unfold", weights=weights)
    taken: dict[str, list[tuple[float, float, int]]] = {}
    with _threads(threads):
        for task, parameters in options.items():
            theirs = get_method("plug_and_play", prior=prior, **parameters)
            problem = photo_problem(photo, settings[task])[0]
            taken[task] = []
            for n in range(repeats + 1):
                mine, other = ours(problem), theirs(problem)
                if n:
                    taken[task].append((mine.seconds, other.seconds, other.evaluations))
            mine_s, other_s, _ = np.median(taken[task], axis=0)
            report(f"{task}: unfold {mine_s:.2f} s, plug_and_play {other_s:.2f} s")
    unfold, plug_and_play, evaluations = np.mean([np.median(t, axis=0) for t in taken.values()], axis=0)
    side = photo.pixels.shape[1]
    return RestoreSpeed(
        side, threads, tuple(options), float(unfold), float(plug_and_play), float(evaluations),
        made_by(weights, prior, options),
    )  # fmt: skip


@contextmanager
def _threads(count: int) -> Iterator[None]:
    cores = available_cores()
    if cores < count:
        raise InputError(f"--speed measures on {count} cores, here are {cores}; run it on a larger machine")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
