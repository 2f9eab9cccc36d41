"""What samples of ISMRMRD acquisitions say where headers are silent or differ from vendor to vendor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.mrd_lines import Lines

__all__ = [
    "calibration_differs",
    "refuse_cancelling",
    "refuse_echoes",
    "refuse_off_grid",
    "refuse_trajectories",
    "reversed_counts_back",
]

Rows = Callable[[np.ndarray], list[np.ndarray]]  # numbers of acquisitions → each (coil, samples)

PAIRS = 8
OTHER_CONTRAST = 0.1  # of the energy that no factor makes equal
OTHER_ECHO = 0.05
ONE_PHASE = 0.5  # Re⟨a, b⟩/|⟨a, b⟩|, at least, of averages whose mean keeps the signal
SAME = 0.7  # |⟨a, b⟩|, at least, of averages that differ in phase alone
BRIGHT = 0.1  # of the largest sample's energy: there noise does not matter
OFF_LINE, UNEVEN = 0.01, 0.05  # of the readout's length, of the mean step
TRAJECTORIES = 64


def refuse_off_grid(path: Path, trajectories: Sequence[np.ndarray]) -> None:
    """Raise InputError where readouts do not run along one axis in equal steps.

    trajectories: (samples, dimension) of each readout, in any unit.
    """
    axes = set()
    for points in trajectories:
        extent = np.ptp(points, axis=0)
        if not np.isfinite(extent).all() or extent.max(initial=0) == 0:
            continue
        along = int(np.argmax(extent))
        steps = np.diff(points[:, along])
        across = np.delete(extent, along).max(initial=0)
        uneven = np.abs(steps - steps.mean()).max() > UNEVEN * abs(steps.mean())
        if across > OFF_LINE * extent[along] or uneven:
            axes |= {along, -1}
        axes.add(along)
    if len(axes) > 1:
        raise InputError(
            f"{path}: its acquisitions carry trajectories that leave the Cartesian grid, whatever its header "
            "calls them; 2-D Cartesian scans are read, grid it first"
        )


def refuse_trajectories(
    path: Path, lines: Lines, dimensions: np.ndarray, read: Callable[[np.ndarray], Sequence[np.ndarray]]
) -> None:
    """Look at the trajectories that acquisitions carry, of some all over the scan, as `refuse_off_grid`.

    dimensions: of each acquisition's trajectory, 0 where it carries none; read: numbers of acquisitions → the
    float32 values of each one's trajectory.
    """
    carry = lines.order[dimensions[lines.order] > 0]
    some = carry[np.linspace(0, len(carry) - 1, min(len(carry), TRAJECTORIES)).astype(int)]
    if not len(some):
        return
    points = []
    for number, values in zip(np.unique(some), read(np.unique(some)), strict=True):
        floats = np.asarray(values)
        wanted = int(dimensions[number]) * int(lines.samples[number])
        if floats.dtype != np.float32 or floats.size != wanted:
            raise InputError(
                f"{path}: acquisition {number} has a trajectory of {floats.size} values where its "
                f"header says {wanted}; the file is damaged"
            )
        points.append(floats.reshape(-1, int(dimensions[number])))
    refuse_off_grid(path, points)


def calibration_differs(lines: Lines, rows: Rows) -> bool:
    """Return whether calibration lines are of another contrast than imaging lines of the same places."""
    pairs = _central(lines, lines.doubles)
    if not len(pairs):
        return False
    found = []
    for one, other in zip(rows(pairs[:, 0]), rows(pairs[:, 1]), strict=True):
        if one.shape != other.shape:
            return True
        a, b = _bright(one, other)
        alike = abs(np.vdot(a, b)) ** 2 / max(float(np.vdot(a, a).real * np.vdot(b, b).real), 1e-300)
        found.append(1 - alike)
    return float(np.median(found)) > OTHER_CONTRAST


def refuse_echoes(path: Path, lines: Lines, rows: Rows) -> list[str]:
    """Refuse acquisitions of one place that no counter tells apart and that are not alike.

    Returns a note where they are alike: these are averages.
    """
    found_at = (
        lines.which,
        lines.line[lines.order],
        lines.partition[lines.order],
        lines.average[lines.order],
    )
    place = np.stack(found_at, axis=1)
    _, first, inverse, counts = np.unique(
        place, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(-1)
    again = np.flatnonzero((counts[inverse] > 1) & (first[inverse] != np.arange(len(inverse))))
    if not len(again):
        return []
    pairs = _central(lines, np.stack([lines.order[first[inverse[again]]], lines.order[again]], axis=1))
    found = []
    for one, other in zip(rows(pairs[:, 0]), rows(pairs[:, 1]), strict=True):
        a, b = _bright(one, other) if one.shape == other.shape else (np.ones(1), np.zeros(1))
        total = float(np.vdot(a, a).real + np.vdot(b, b).real)
        found.append(float(np.vdot(a - b, a - b).real) / total if total else 0.0)
    most = int(counts.max())
    if (differ := float(np.median(found))) > OTHER_ECHO:
        raise InputError(
            f"{path}: up to {most} acquisitions have one place, the same counters and are no averages "
            f"(they differ by {100 * differ:.0f} % of their energy): echoes or frames without a label; set "
            "their counter `contrast`, `set` or `repetition`"
        )
    return [f"up to {most} acquisitions of one place and the same counters are alike: they are averaged"]


def refuse_cancelling(path: Path, lines: Lines, rows: Rows) -> None:
    """Refuse averages of one place whose phases differ so much that their mean loses the signal.

    Averages that are cycled in phase, +1, −1, are the usual case.
    """
    place = np.stack([lines.which, lines.line[lines.order], lines.partition[lines.order]], axis=1)
    _, first, inverse = np.unique(place, axis=0, return_index=True, return_inverse=True)
    numbers = np.stack([lines.order[first[inverse.reshape(-1)]], lines.order], axis=1)
    pairs = _central(lines, numbers[lines.average[numbers[:, 0]] != lines.average[numbers[:, 1]]])
    found = []
    for one, other in zip(rows(pairs[:, 0]), rows(pairs[:, 1]), strict=True):
        if one.shape == other.shape:
            a, b = _bright(one, other)
            found.append(np.vdot(a, b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300))
    if not found:
        return
    alike, size = float(np.median(np.real(found))), float(np.median(np.abs(found)))
    if size > SAME and alike < ONE_PHASE * size:
        raise InputError(
            f"{path}: its averages differ in phase by {np.degrees(np.arccos(alike / size)):.0f}° and would "
            "cancel: undo the phase (is it cycled?), or number them as repetitions, which are not averaged"
        )


def reversed_counts_back(lines: Lines, rows: Rows) -> bool | None:
    """Return whether `center_sample` of reversed readouts counts in the order of measurement.

    Writers differ by a sample: what fits better to the neighbouring lines of the other direction is taken.
    None where no image has readouts of both directions, which is then of no consequence.
    """
    if not lines.reverse[lines.order].any():
        return None
    pairs = []
    for index in range(len(lines.labels)):
        numbers = lines.of_slice(index)
        at = {(int(lines.line[n]), int(lines.partition[n])): int(n) for n in numbers[~lines.reverse[numbers]]}
        for n in numbers[lines.reverse[numbers]].tolist():
            near = [at[k] for s in (-1, 1) if (k := (lines.line[n] + s, lines.partition[n])) in at]
            pairs += [(n, m) for m in near if lines.samples[n] == lines.samples[m]]
        if len(pairs) >= PAIRS:
            break
    if not pairs:
        return None
    chosen = _central(lines, np.array(pairs))
    literal = other = 0.0
    for (n, m), back, forth in zip(chosen, rows(chosen[:, 0]), rows(chosen[:, 1]), strict=True):
        turned, straight = (np.linalg.norm(row, axis=0) for row in (back[:, ::-1], forth))
        offset = int(lines.centre[n] - lines.centre[m])
        stored = len(turned) - 1 - int(lines.centre[n])  # as the header has it
        literal += _overlap(turned, straight, offset)
        other += _overlap(turned, straight, stored - int(lines.centre[m]))
    return literal >= other


def _overlap(one: np.ndarray, other: np.ndarray, offset: int) -> float:
    """Return Σ one[i + offset]·other[i] over their product of norms."""
    a = one[max(offset, 0) : len(one) + min(offset, 0)]
    b = other[max(-offset, 0) : len(other) - max(offset, 0)]
    return float(a @ b / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-30)) if len(a) == len(b) else 0.0


def _central(lines: Lines, pairs: np.ndarray) -> np.ndarray:
    """Return those pairs of acquisitions (pair, 2) that lie nearest to the middle of all lines."""
    if not len(pairs):
        return pairs
    away = np.zeros(len(pairs))
    for place in (lines.line, lines.partition):
        away += np.abs(place[pairs[:, 0]] - np.median(place[lines.order]))
    return pairs[np.argsort(away, kind="stable")[:PAIRS]]


def _bright(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of two readouts (coil, samples) that hold most of the energy, of all coils."""
    energy = (np.abs(one) ** 2 + np.abs(other) ** 2).sum(axis=0, dtype=np.float64)
    bright = energy >= BRIGHT * energy.max(initial=0)
    return one[:, bright].ravel(), other[:, bright].ravel()
