"""A folder of reconstructions against a folder of targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrunfold.errors import InputError, did_you_mean
from mrunfold.evaluation.bootstrap import Interval, bootstrap_means
from mrunfold.evaluation.files import TARGETS
from mrunfold.evaluation.pairing import pair_folders
from mrunfold.evaluation.volumes import METRICS, VolumeScore, load_pair, score_pair
from mrunfold.io.source import sha256_of
from mrunfold.metrics.lpips import Lpips

__all__ = ["ALL", "Run", "evaluate_folder"]

ALL = "all"
COLUMNS = (*METRICS, "lpips", "coverage_90")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """Scores of a folder: a VolumeScore for each target and each reconstruction, with or without a number.

    name: the folder's own, without its path; recons, targets: the folders; kind: as `evaluate_folder` had it;
    lpips_features: sha256 of the file of features, None without LPIPS.
    """

    name: str
    recons: Path
    targets: Path
    kind: str | None
    volumes: tuple[VolumeScore, ...]
    lpips_features: str | None = None

    @property
    def scored(self) -> tuple[VolumeScore, ...]:
        return tuple(v for v in self.volumes if v.problem is None)

    @property
    def unscored(self) -> tuple[VolumeScore, ...]:
        return tuple(v for v in self.volumes if v.problem is not None)

    @property
    def protocol_digests(self) -> tuple[str | None, ...]:
        """Protocol digests that the scored reconstructions carry, None among them where one carries none."""
        return tuple(sorted({v.protocol_digest for v in self.scored}, key=str))

    def summary(self, *, draws: int, seed: int) -> dict[str, dict[str, Interval | None]]:
        """Return the mean and interval of each metric, {"all" or an acquisition: {metric: Interval}}.

        None for a metric that no volume has; where only some have it, the Interval's count says how many.
        """
        groups = {ALL: self.scored}
        for acquisition in sorted({v.acquisition for v in self.scored}):
            groups[acquisition] = tuple(v for v in self.scored if v.acquisition == acquisition)
        return {
            group: {metric: _interval(volumes, metric, draws, seed) for metric in COLUMNS}
            for group, volumes in groups.items()
        }


def evaluate_folder(
    recons: Path,
    targets: Path,
    *,
    kind: str | None = None,
    lpips_features: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Score each `NAME.h5` of `recons` against the file NAME in `targets`, one in memory at a time.

    kind: "rss", "esc" or "target", None for the only one that the files hold; lpips_features: AlexNet's, see
    `metrics.lpips.Lpips`, None for no LPIPS; progress: called with (volumes done, volumes in all).  A
    file that is missing, extra, broken or does not fit gets a row with its problem.
    InputError where nothing can be scored, or where targets are of several kinds.
    """
    if kind is not None and kind not in TARGETS:
        raise InputError(f"there is no target {kind!r}{did_you_mean(kind, TARGETS)}")
    pairing = pair_folders(recons, targets)
    lpips = None if lpips_features is None else Lpips(lpips_features)
    rows = [VolumeScore(name, "no reconstruction of this name") for name in pairing.missing]
    rows += [VolumeScore(name, "no target of this name") for name in pairing.extra]
    for done, (recon, target) in enumerate(pairing.pairs):
        name = recon.name
        if progress is not None:
            progress(done, len(pairing.pairs))
        try:
            rows.append(score_pair(name, load_pair(recon, target, kind), lpips))
        except InputError as error:
            # In the file's own name: the paths of this machine are nothing for a report.
            text = str(error)
            for path in (recon, target):
                text = text.replace(f"{path}: ", "")
            rows.append(VolumeScore(name, text.removeprefix(f"{name}: ")))
    if progress is not None:
        progress(len(pairing.pairs), len(pairing.pairs))
    run = Run(
        recons.resolve().name,
        recons,
        targets,
        kind,
        tuple(sorted(rows, key=lambda v: v.name)),
        None if lpips_features is None else sha256_of(lpips_features),
    )
    _check(run)
    return run


def _check(run: Run) -> None:
    if not run.scored:
        first = run.unscored[0]
        raise InputError(
            f"none of the {len(run.volumes)} volumes can be scored; the first, {first.name}: {first.problem}"
        )
    kinds = sorted({str(v.target) for v in run.scored})
    if len(kinds) > 1:
        raise InputError(
            f"targets are of several kinds, {' and '.join(kinds)}, whose numbers do not compare; choose one "
            "with `target`"
        )


def _interval(volumes: tuple[VolumeScore, ...], metric: str, draws: int, seed: int) -> Interval | None:
    values = [value for v in volumes if (value := getattr(v, metric)) is not None]
    return bootstrap_means(values, draws=draws, seed=seed) if values else None
