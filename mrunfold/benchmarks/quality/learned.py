"""`mrunfold bench learned`: networks trained alike, within and outside of what they were shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.benchmarks import store
from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.methods import Seeds, get_method
from mrunfold.methods.base import Method
from mrunfold.networks.weights import load_peer, load_weights
from mrunfold.prepare import ProblemSettings, build_problem

__all__ = ["Contestant", "LearnedRow", "contestants", "load", "measure", "save", "tables"]

ORDER = ("zero_filled", "unet", "varnet", "modl", "unfold")
ALL_COILS = ProblemSettings(compression=None)  # compressed, 32 coils would be a dozen


@dataclass(frozen=True)
class LearnedRow:
    """One slice, mask and network: PSNR in dB as `bench quality` has it, combined and of the RSS.

    outside: what of the scan that network's training did not show: masks, R, coils; None where its file does
    not say; trained: minutes and steps of its training; weights: the sha256's first 12 letters.
    """

    data: str
    coils: int
    mask: str
    accel: float
    seed: int
    method: str
    psnr: float
    rss: float
    seconds: float
    parameters: int
    trained: tuple[float, int]
    outside: tuple[str, ...] | None
    weights: str

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this row from the others."""
        return self.data, self.coils, self.mask, self.accel, self.seed, self.method, self.weights


@dataclass(frozen=True)
class Contestant:
    """A method with its weights, and what its file says of them."""

    method: Method
    parameters: int
    facts: dict[str, str]

    @property
    def weights(self) -> str:
        return self.facts.get("sha256", "")[:12]

    def outside(self, mask: str, accel: float, coils: int) -> tuple[str, ...] | None:
        """Return which of mask, R and coils of a scan training did not show; None where not known."""
        shown = json.loads(self.facts.get("range", "null"))
        if not shown:
            return None
        within = {
            "mask": mask in shown["masks"],
            "R": shown["accelerations"][0] <= accel <= shown["accelerations"][1],
            "coils": shown["coils"][0] <= coils <= shown["coils"][1],
        }
        return tuple(name for name, there in within.items() if not there)


def contestants(files: Iterable[Path]) -> list[Contestant]:
    """Return the networks of files of weights, each by the method that its file names, in the table's order.

    InputError where two files are of one method, which the table could not tell apart.
    """
    found: dict[str, Contestant] = {}
    for file in files:
        kind = _kind(file)
        network, facts = load_weights(file) if kind == "unfold" else load_peer(kind, str(file))
        if kind in found:
            raise InputError(f"{file} is a second file of {kind}; give one of each method")
        count = sum(p.numel() for p in network.parameters())
        found[kind] = Contestant(get_method(kind, weights=str(file)), count, facts)
    return [found[name] for name in ORDER if name in found]


def _kind(file: Path) -> str:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise InputError(f"no weights {file}; train them with `mrunfold train`, see docs/results-learned.md")
    try:
        with safe_open(file, framework="pt") as held:
            return (held.metadata() or {}).get("kind", "unfold")
    except SafetensorError as error:
        raise InputError(f"{file} is no file of weights ({error}); train again") from None


def measure(
    slices: Iterable[FullSlice],
    kinds: Sequence[tuple[str, float]],
    networks: Sequence[Contestant],
    *,
    seeds: Sequence[int] = (0,),
    report: Callable[[LearnedRow], None] = lambda row: None,
    done: Sequence[LearnedRow] = (),
) -> list[LearnedRow]:
    """Return a row for each slice, mask, seed and network, and one of zero filling.

    Maps, scale and σ_y are of the undersampled data, coils are not compressed; all get the same problem.
    Rows in `done` are taken as they are; a scan whose mask leaves too small a centre is said, and left out.
    """
    known = {row.key: row for row in done}
    every = [Contestant(get_method("zero_filled"), 0, {}), *networks]
    rows = []
    for full in slices:
        for kind, accel in kinds:
            for seed in seeds:
                try:
                    for row in _rows(full, kind, accel, seed, every, known):
                        rows.append(row)
                        report(row)
                except InputError as error:  # too small a centre: said, and left out
                    print(f"{full.name} {kind} R={accel:g}: {error}", flush=True)
    return rows


def _rows(
    full: FullSlice,
    kind: str,
    accel: float,
    seed: int,
    every: Sequence[Contestant],
    known: dict[tuple[object, ...], LearnedRow],
) -> Iterable[LearnedRow]:
    coils = len(full.kspace)
    keys = [(full.name, coils, kind, accel, seed, one.method.name, one.weights) for one in every]
    judge: Judge | None = None
    for key, one in zip(keys, every, strict=True):
        if key not in known and judge is None:
            size = (full.header.unoversampled, full.header.matrix[1])
            mask = draw(kind, size, accel, seed=seed)
            everything = np.ones(full.kspace.shape[-2:], bool)
            problem = build_problem(
                full.kspace, full.header, mask, acquired=everything, settings=ALL_COILS, target="combined"
            )
            judge = Judge.of(full.kspace, problem)
        if key in known or judge is None:
            yield known[key]
            continue
        result = one.method(judge.problem, Seeds((seed,)))
        trained = (float(one.facts.get("minutes", 0)), int(one.facts.get("step", 0)))
        yield LearnedRow(
            full.name, coils, kind, accel, seed, one.method.name, judge.psnr(result.mean),
            judge.rss(result.mean), result.seconds, one.parameters, trained,
            one.outside(kind, accel, coils), one.weights,
        )  # fmt: skip


def save(rows: Sequence[LearnedRow], path: Path, earlier: Sequence[LearnedRow] = ()) -> None:
    """Write the rows, and those of an earlier run that they do not replace."""
    kept = store.merged(rows, earlier, lambda row: row.key[:-1])
    store.save_rows(kept, path, **store.about("learned"))


def load(path: Path) -> list[LearnedRow]:
    """Read the rows that `save` wrote."""
    return store.load_rows(path, _row, "learned")[0]


def _row(**values: Any) -> LearnedRow:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return LearnedRow(**given)


def tables(found: dict[str, Any]) -> list[str]:
    """Return the table of scores, PSNR combined / of the RSS, means over slices, and that of the networks."""
    rows = [_row(**row) for row in found["rows"]]
    names = [name for name in ORDER if any(row.method == name for row in rows)]
    groups: dict[tuple[Any, ...], list[LearnedRow]] = {}
    for row in rows:
        groups.setdefault((row.data.partition("/")[0], row.coils, row.mask, row.accel), []).append(row)
    lines: list[list[str]] = []
    gains: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for (data, coils, mask, accel), mine in groups.items():
        by = {name: {(r.data, r.seed): r for r in mine if r.method == name} for name in names}
        whole = [key for key in by[names[0]] if all(key in by[name] for name in names)]
        if not whole:
            continue  # a run that was stopped before all had their turn
        outside = by[names[-1]][whole[0]].outside
        cells = [_means([by[name][key] for key in whole]) for name in names]
        lines.append(
            [data, str(coils), f"{mask} {accel:g}", ", ".join(outside or ()) or "–", str(len(whole)), *cells]
        )
        for name in names[1:-1] if names[-1] == "unfold" else ():
            pairs = gains.setdefault((name, bool(outside)), [])
            pairs += [_gain(by["unfold"][key], by[name][key]) for key in whole]
    for (name, left), pairs in sorted(gains.items(), key=lambda gain: (ORDER.index(gain[0][0]), gain[0][1])):
        lines.append(_gain_line(name, left, pairs, len(names)))
    head = ["data", "coils", "mask", "outside", "n", *names]
    return [rows_markdown(head, lines), _networks(rows, names)]


def _means(rows: Sequence[LearnedRow]) -> str:
    return f"{np.mean([r.psnr for r in rows]):.2f} / {np.mean([r.rss for r in rows]):.2f}"


def _gain(ours: LearnedRow, theirs: LearnedRow) -> tuple[float, float]:
    return ours.psnr - theirs.psnr, ours.rss - theirs.rss


def _gain_line(peer: str, outside: bool, pairs: Sequence[tuple[float, float]], columns: int) -> list[str]:
    mean, least = np.mean(pairs, axis=0), np.min(pairs, axis=0)
    said = f"{mean[0]:+.2f} / {mean[1]:+.2f} (least {least[0]:+.2f} / {least[1]:+.2f})"
    name = f"unfold − {peer}, {'outside' if outside else 'within'} training"
    return [name, "", "", "", str(len(pairs)), *[""] * (columns - 1), said]


def _networks(rows: Sequence[LearnedRow], names: Sequence[str]) -> str:
    lines = []
    for name in names:
        mine = [row for row in rows if row.method == name]
        minutes, steps = mine[-1].trained
        if not steps:
            continue
        seconds = float(np.median([row.seconds for row in mine]))
        count = f"{mine[-1].parameters / 1e6:.2f}"
        lines.append([name, count, f"{minutes:.1f}", str(steps), f"{seconds:.2f}"])
    return rows_markdown(["network", "parameters, million", "minutes", "steps", "s a slice"], lines)
