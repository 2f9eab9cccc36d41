"""`bench peers`: the sweep on tuning data, then every sampler and ours on every case, row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.peers.cases import Case
from mrunfold.benchmarks.peers.rows import PeerRow
from mrunfold.benchmarks.peers.settings import GRIDS, PEERS, SWEPT_START, limited
from mrunfold.benchmarks.quality.learned import Contestant
from mrunfold.benchmarks.quality.scans import CLASSICAL, GRID, method_words
from mrunfold.benchmarks.quality.sweep import sweep
from mrunfold.errors import InputError
from mrunfold.methods import Result, Seeds, get_method
from mrunfold.methods.prior_denoiser import prior_denoiser
from mrunfold.metrics import coverage, crps, sample_interval
from mrunfold.networks.weights import weights_digest, weights_file

__all__ = ["Plan", "measure", "reconstructed"]

NOMINAL = 0.9
ENOUGH = 8  # draws for an interval: exact ones cover (n − 1)/(n + 1) below 19 of them, 0.78 with 8


@dataclass(frozen=True)
class Plan:
    """What is run: samplers, evaluations of a draw at most (None: as published), draws of theirs and of ours.

    photographs: what the cases are; weights: of ours; published: whether the published
    settings have a row of their own; learned: networks trained for scans, InputError with photographs.
    """

    peers: Sequence[str] = PEERS
    evaluations: int | None = None
    draws: int = 1
    our_draws: int = 16
    photographs: bool = False
    weights: str | None = None
    published: bool = True
    learned: Sequence[Contestant] = ()

    def __post_init__(self) -> None:
        if self.photographs and self.learned:
            raise InputError("learned peers take scans, not photographs; leave --learned or --photos out")

    def trials(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the settings that a sampler is tried with, by what a row calls them."""
        start = {"sigma_start": SWEPT_START}
        return {
            f"trial {json.dumps(given | start)}": limited(name, given | start, self.evaluations)
            for given in GRIDS[name]
        }

    def trained(self, method: str, setting: str) -> Contestant | None:
        """Return the learned network that a row of this method and setting is of, None for other rows."""
        return next(
            (one for one in self.learned if (one.method.name, schooling(one)) == (method, setting)), None
        )


def schooling(one: Contestant) -> str:
    """Return what a row calls the setting of a learned network: the minutes of its training."""
    return f"{float(one.facts.get('minutes', 0)):.0f} minutes"


def file_of(one: Contestant) -> dict[str, Any]:
    """Return the parameters of a learned network: its file of weights."""
    return {"weights": asdict(one.method)["weights"]}


def words_of(name: str, parameters: dict[str, Any]) -> str:
    """Return what a row says that it was made by, weights by their sha256 instead of their path."""
    if name == "unfold" or "weights" not in parameters:
        return method_words(name, parameters)
    return json.dumps({"weights": weights_digest(weights_file(parameters["weights"]))[:12]})


def measure(
    tuning: Iterable[Callable[[], Case]],
    cases: Iterable[Callable[[], Case]],
    plan: Plan,
    report: Callable[[PeerRow], None] = lambda row: None,
    done: Sequence[PeerRow] = (),
) -> list[PeerRow]:
    """Return the rows of the sweep, one draw each, then of every case; those in `done` are not run again.

    The best setting of a sampler is chosen task by task.
    """
    known = {row.key: row for row in done}
    rows: list[PeerRow] = []

    def keep(case: Case, name: str, setting: str, parameters: dict[str, Any], draws: int) -> PeerRow:
        words = words_of(name, parameters)
        prior = prior_of(name, case)
        key = (case.data, case.image, case.task, name, setting, case.size, draws, words, prior)
        row = known.get(key) or _one(case, name, setting, parameters, draws, words, prior)
        rows.append(row)
        report(row)
        return row

    reached: dict[tuple[str, str], dict[str, list[float]]] = {}
    for make in tuning:
        case = make()
        for name in plan.peers:
            tried = reached.setdefault((case.task, name), {})
            for setting, parameters in plan.trials(name).items():
                tried.setdefault(setting, []).append(keep(case, name, setting, parameters, 1).psnr)
    best = {key: max(tried, key=lambda s: float(np.mean(tried[s]))) for key, tried in reached.items()}
    for make in cases:
        case = make()
        ours = {"weights": plan.weights}
        keep(case, "unfold", "mean", ours, 0)
        if plan.our_draws:
            keep(case, "unfold", "draws", ours | {"samples": plan.our_draws}, plan.our_draws)
        if case.problem.y.is_complex():
            keep(case, CLASSICAL[0], "swept", {"grid": GRID}, 0)
        for one in plan.learned:
            keep(case, one.method.name, schooling(one), file_of(one), 0)
        for name in plan.peers:
            if (case.task, name) in best:
                keep(case, name, "swept", plan.trials(name)[best[case.task, name]], plan.draws)
            if plan.published:
                keep(case, name, "published", limited(name, {}, plan.evaluations), plan.draws)
    return rows


def prior_of(name: str, case: Case) -> str | None:
    """Return the sha256 of the prior that a sampler of others draws with, None of other methods."""
    if name not in PEERS:
        return None
    return prior_denoiser(None, case.problem.A.domain, "cpu")[1]["prior_sha256"][:12]


def reconstructed(
    case: Case, name: str, parameters: dict[str, Any], draws: int
) -> tuple[Result, torch.Tensor, torch.Tensor]:
    """Return what a method makes of a case: its result, the image that is compared, and its first draw."""
    if name in CLASSICAL:
        found = sweep(name, case.problem, **parameters)
        result = max(found.values(), key=lambda r: case.score(r.mean)[0])
    else:
        given = parameters | ({"samples": draws} if name in PEERS else {})
        result = get_method(name, **given)(case.problem, Seeds((0,)))
    mean = result.mean
    if name == "unfold" and result.samples is not None:
        mean = result.samples.mean(dim=0)
    return result, mean, mean if result.samples is None else result.samples[0]


def _one(
    case: Case, name: str, setting: str, parameters: dict[str, Any], draws: int, words: str, prior: str | None
) -> PeerRow:
    result, mean, first = reconstructed(case, name, parameters, draws)
    quality = case.score(mean)
    one: tuple[float | None, float | None] = (None, None)
    if draws:
        alone = case.score(first)
        one = (alone[0], alone[2])
    return PeerRow(
        case.data, case.image, case.task, name, setting, case.size, draws, *quality, one,
        *_spread(case, result), result.evaluations, result.seconds, torch.get_num_threads(), words, prior,
    )  # fmt: skip


def _spread(case: Case, result: Result) -> tuple[float | None, float | None]:
    """Return coverage of the 90 % interval, None with too few draws, and CRPS in % of the data range."""
    if result.samples is None:
        return None, None
    shown = np.stack([case.shown(x) for x in result.samples])
    score = 100 / case.peak * float(crps(case.truth, shown)[case.inside].mean())
    if len(shown) < ENOUGH:
        return None, score
    return float(coverage(case.truth, *sample_interval(shown, NOMINAL), case.inside)), score
