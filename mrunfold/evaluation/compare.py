"""Two runs over the same targets: paired differences."""

from __future__ import annotations

from dataclasses import dataclass

from mrunfold.errors import InputError
from mrunfold.evaluation.bootstrap import Interval, bootstrap_means
from mrunfold.evaluation.run import ALL, COLUMNS, Run

__all__ = ["Comparison", "check_protocols", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Differences first − second over the volumes that both runs have scores of.

    names: those volumes; only_one: volumes scored in one run only, which are left out; differences:
    {"all" or an acquisition: {metric: Interval}}; better: {metric: volumes in which the first run is better}.
    """

    names: tuple[str, ...]
    only_one: tuple[str, ...]
    differences: dict[str, dict[str, Interval]]
    better: dict[str, int]


def compare(first: Run, second: Run, *, draws: int, seed: int, across_protocols: bool = False) -> Comparison:
    """Return the paired differences of two runs, with bootstrap intervals over volumes.

    InputError where no volume is scored in both, where targets differ, or where reconstructions carry
    protocol digests that differ and `across_protocols` is not set.
    """
    if not across_protocols:
        check_protocols(first, second)
    a, b = ({v.name: v for v in run.scored} for run in (first, second))
    names = tuple(sorted(a.keys() & b.keys()))
    if not names:
        raise InputError(
            f"no volume is scored in both {first.name} and {second.name}; compare like with like"
        )
    for name in names:
        if a[name].shape != b[name].shape or a[name].target_sha256 != b[name].target_sha256:
            raise InputError(
                f"{name} is scored over {a[name].shape} in {first.name} and over {b[name].shape} in "
                f"{second.name}; reconstruct both alike"
            )
    groups = {ALL: names}
    for acquisition in sorted({a[n].acquisition for n in names}):
        groups[acquisition] = tuple(n for n in names if a[n].acquisition == acquisition)
    differences: dict[str, dict[str, Interval]] = {}
    for group, members in groups.items():
        differences[group] = {}
        for metric in COLUMNS:
            pairs = [(getattr(a[n], metric), getattr(b[n], metric)) for n in members]
            # Equal infinities (two perfect volumes) differ by nothing.
            values = [0.0 if x == y else x - y for x, y in pairs if x is not None and y is not None]
            if values:
                differences[group][metric] = bootstrap_means(values, draws=draws, seed=seed)
    better = {
        "nmse": sum(a[n].nmse < b[n].nmse for n in names),  # type: ignore[operator]  # scored: not None
        "psnr": sum(a[n].psnr > b[n].psnr for n in names),  # type: ignore[operator]
        "ssim": sum(a[n].ssim > b[n].ssim for n in names),  # type: ignore[operator]
    }
    only_one = tuple(sorted(a.keys() ^ b.keys()))
    return Comparison(names, only_one, differences, better)


def check_protocols(first: Run, second: Run) -> None:
    """Raise InputError unless all files of both runs carry the same protocol digest, or none does."""
    if len({*first.protocol_digests, *second.protocol_digests}) <= 1:
        return
    said = "; ".join(
        f"{run.name}: {', '.join('none' if d is None else d[:12] for d in run.protocol_digests)}"
        for run in (first, second)
    )
    raise InputError(
        f"the runs were made under different protocols ({said}), so their numbers need not compare; add "
        "`across_protocols` to compare them all the same"
    )
