"""Results of `recon` and `batch` → what a page shows of each scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export import ZERO_FILLED, Reconstruction, open_reconstruction, radiological_view
from mrunfold.export.geometry import Planes, Stack, View, planes_of, turned
from mrunfold.export.result import STD_TITLE
from mrunfold.io.frames import frame_words
from mrunfold.metrics import score
from mrunfold.review.words import metrics_note, missing, provenance

__all__ = ["Case", "Panel", "collect", "load"]

WINDOW = 99.5  # percentile of the brightest image that is shown as white
MOST_RESULTS = 16
Progress = Callable[[float, int], None]
SAME = ("mask", "accel", "calibration", "center_fraction", "seed")


@dataclass(frozen=True)
class Panel:
    """A panel of a case: key: reference, zero_filled, recon, recon2, …, error, std or film; frames: volumes
    (slice, readout, phase), of each frame of the scan `samples` of them; role: `image` in the common window,
    `map` in that over the gain; between: keys of the two panels whose difference it is."""

    key: str
    title: str
    role: str
    frames: tuple[np.ndarray, ...]
    note: str = ""
    samples: int = 1
    between: tuple[str, str] | None = None


@dataclass(frozen=True)
class Case:
    """One stack of one scan, or several of one place, its frames: panels, and what is said beside them.

    places: slices of the scan of each frame, in the order shown; lps: (4, 4) from (column, row, place, 1) as
    shown to LPS in mm, None where unknown; window: what is shown as white at first; top: the largest value of
    an image; labels: of each frame, none where there is one.
    """

    title: str
    panels: tuple[Panel, ...]
    view: View
    places: tuple[tuple[int, ...], ...]
    voxel_mm: tuple[float, float, float]
    lps: np.ndarray | None
    window: float
    top: float
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    metrics: tuple[tuple[str, dict[str, float]], ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices as shown."""
        rows, columns = self.view(self.panels[0].frames[0][0]).shape
        return columns, rows, len(self.places[0])

    @property
    def planes(self) -> Planes:
        """The planes that can be cut of it."""
        return planes_of(self.lps, self.shape)


@dataclass
class _Group:
    """Results of one scan: the first is what the page is about, one without a method may stand beside it."""

    results: list[Reconstruction]
    names: list[str]
    volumes: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)


def load(result: Reconstruction, name: str) -> np.ndarray:
    """Return a dataset (slice, readout, phase)."""
    return np.stack(list(result.images(name)))


def collect(paths: Sequence[Path], *, names: bool = False, progress: Progress | None = None) -> list[Case]:
    """Return the cases of results; those of one scan and mask share a case.

    names: title cases by their folders' names; without, by number and the raw file's sha256, since names
    may name people.  Raises InputError where a result cannot be read, or where two of one scan do not belong
    together.
    """
    if not 1 <= len(paths) <= MOST_RESULTS:
        raise InputError(f"give 1 to {MOST_RESULTS} results, got {len(paths)}; make more than one page")
    cases = []
    with ExitStack() as stack:
        opened = [(Path(p), stack.enter_context(open_reconstruction(p))) for p in paths]
        groups = _groups(opened)
        for number, group in enumerate(groups, start=1):
            title = f"Scan {number} · {group.results[0].digest[:8]}"
            if names:
                title = ", ".join(group.names)
            cases += _cases(group, title)
            if progress is not None:
                progress(number, len(groups))
    return cases


def _groups(opened: Sequence[tuple[Path, Reconstruction]]) -> list[_Group]:
    groups: dict[tuple[Any, ...], _Group] = {}
    for path, result in opened:
        group = groups.setdefault((result.digest, result.slices, result.header.crop), _Group([], []))
        if group.results:
            _check_pair(group.results[0], result)
        group.results.append(result)
        group.names.append(path.name or path.absolute().name)
    for group in groups.values():
        # Zero-filled images are what a method began with, unless there is nothing else.
        group.results.sort(key=lambda r: r.method == "zero_filled")
    return list(groups.values())


def _check_pair(first: Reconstruction, other: Reconstruction) -> None:
    """Raise InputError unless two results of one scan may be compared."""
    if first.kind != other.kind:
        raise InputError(
            f"{first.path} shows {first.kind} and {other.path} shows {other.kind} magnitudes, which cannot "
            f"be compared; reconstruct one again with `target={first.kind}`"
        )
    differ = [key for key in SAME if first.parameters[key] != other.parameters[key]]
    if differ:
        raise InputError(
            f"{first.path} and {other.path} are of one scan with different masks ({', '.join(differ)}); give "
            "them to `view` one by one, or reconstruct with the same mask"
        )


def _cases(group: _Group, title: str) -> list[Case]:
    first = group.results[0]
    panels = _panels(group)
    reference = next((p.frames[0] for p in panels if p.key == "reference"), None)
    scores: list[tuple[str, dict[str, float]]] = []
    if reference is not None and reference.max() > 0:
        shown = [p for p in panels if p.key == "zero_filled" or p.key.startswith("recon")]
        peak = float(reference.max())
        scores = [(p.title, score(reference, p.frames[0], data_range=peak)) for p in shown]
    noted = {title: metrics_note(values) for title, values in scores}
    brightest = reference if reference is not None else _by_key(panels, "recon").frames[0]
    top = max(float(p.frames[0].max()) for p in panels if p.role == "image")
    found = []
    keys = {p.key for p in panels} | (set() if first.header.geometry is None else {"planes"})
    sets = first.series
    for number, frames in enumerate(sets, start=1):
        geometry = first.header.geometry and first.header.geometry.take(frames[0].slices)
        view = radiological_view(geometry)
        places = [list(one.slices) for one in frames]
        named = tuple(frame_words(first.label(one)) for one in frames)
        cut = tuple(_cut(p, places, noted.get(p.title, p.note)) for p in panels)
        found.append(
            Case(
                title=_title(title, number, len(sets), named),
                panels=cut,
                view=view,
                places=tuple(tuple(first.slices[i] for i in at) for at in places),
                voxel_mm=frames[0].voxel_mm,
                lps=_shown_affine(frames[0], view, first.header.crop),
                window=float(np.percentile(brightest[np.concatenate(places)], WINDOW)) or top or 1.0,
                top=top or 1.0,
                labels=named if len(frames) > 1 else (),
                words=provenance(group.results),
                flags=tuple(dict.fromkeys(flag for r in group.results for flag in r.flags)),
                missing=missing(keys, first.method),
                metrics=tuple(scores),
            )
        )
    return found


def _title(title: str, number: int, count: int, named: Sequence[str]) -> str:
    """Return what a case is called: of several stacks which one, and of which frame where it has one."""
    if count == 1:
        return title
    which = f", {named[0]}" if len(named) == 1 and named[0] else ""
    return f"{title} · stack {number} of {count}{which}"


def _cut(panel: Panel, places: Sequence[list[int]], note: str) -> Panel:
    """Return the part of a panel that has these slices: of each frame of the scan all samples."""
    return replace(panel, frames=tuple(volume[at] for at in places for volume in panel.frames), note=note)


def _panels(group: _Group) -> list[Panel]:
    """Return the panels of all slices, in the order they are shown."""
    first = group.results[0]
    panels = []
    reference = load(first, "target") if "target" in first.names else None
    if reference is not None:
        panels.append(Panel("reference", f"Reference ({first.kind} of the full data)", "image", (reference,)))
    methods = [r for r in group.results if r.method != "zero_filled"] or [first]
    zero_filled = _zero_filled(group, methods[0])
    if zero_filled is not None:
        panels.append(Panel("zero_filled", "Zero-filled", "image", (zero_filled,)))
    for number, result in enumerate(methods, start=1):
        key = "recon" if number == 1 else f"recon{number}"
        panels.append(
            Panel(key, f"Reconstruction ({result.method})", "image", (load(result, "reconstruction"),))
        )
    recon = _by_key(panels, "recon").frames[0]
    if reference is not None:
        panels.append(
            Panel(
                "error",
                "Error, |reconstruction − reference|",
                "map",
                (np.abs(recon - reference),),
                between=("recon", "reference"),
            )
        )
    if "std" in first.names:
        title = f"Uncertainty: {first.titled(STD_TITLE)}"
        panels.append(Panel("std", title, "map", (load(first, "std"),)))
    if first.samples:
        frames = tuple(load(first, name) for name in first.samples)
        panels.append(Panel("film", "Posterior samples", "image", frames, samples=len(frames)))
    return panels


def _zero_filled(group: _Group, method: Reconstruction) -> np.ndarray | None:
    """Return the zero-filled images: of a result that stands beside, else of the first that holds them."""
    for result in group.results:
        if result.method == "zero_filled" and result is not method:
            return load(result, "reconstruction")
    return next((load(r, ZERO_FILLED) for r in group.results if ZERO_FILLED in r.names), None)


def _by_key(panels: Sequence[Panel], key: str) -> Panel:
    return next(p for p in panels if p.key == key)


def _shown_affine(stack: Stack, view: View, shape: tuple[int, int]) -> np.ndarray | None:
    """Return the affine from (column, row, place, 1) as shown to LPS in mm."""
    if stack.lps is None:
        return None
    return turned(stack.lps, view, shape)
