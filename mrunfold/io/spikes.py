"""Spikes: samples of k-space that a spark, not the object, made large; each puts stripes on the image.

What is known of an object bounds a sample from its neighbours: an object inside its field of view varies
smoothly over k-space, so that no sample of it stands alone; edges make lines through the centre, textures
make pairs at k and −k.  A spike has none of these: it is one sample, of all receive coils at one time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mrunfold.errors import InputError

__all__ = ["find_spikes", "find_spikes_along", "spikes_words"]

# Amplitude over what the other samples allow.  Of measured scans, simulated ones and photographs, under all
# masks, no sample reaches 4 where it has enough neighbours, 6 with few and 15 on an axis: docs/lab-notes.md.
EXCESS = 8.0
ON_AXIS = 1.5  # times more on the axes: edges of the field of view make lines there that are one sample wide
SPARSE = 2.0  # times more where few neighbours were acquired
FEWEST, ENOUGH = 6, 24  # neighbours of 168; with fewer than ENOUGH the samples farther out are asked as well
FARTHER, HIGHEST = 0.7, 9  # of the distance: the so-manieth largest sample from there on, as of a lattice
AXIS = [d for d in range(-8, 9) if d]
MOST_OF_AXIS = 12  # of those must be acquired: a line one sample wide is seen only along itself
COMPACT = 3.5  # the centre of an object in several coils stands out of its neighbours by less than this;
LONELIER = 4.0  # where it does by more, a spike must by so many times more than the centre,
LONELIEST = 20.0  # and a centre that stands out so far is of a constant or a periodic image
NEVER = 2.5  # samples about the centre that are never taken for a spike
MOST = 1e-3  # of the samples may be spikes, and AT_LEAST of them
AT_LEAST = 16
OBJECT = 100.0  # times the median energy, at least, has the largest of the other samples: there is an object
MOSTLY = 0.98  # of the energy: an object whose samples are so few is a grating, unless the rest is a body
NEAR = 8  # of the matrix: how far from N//2 the centre may be
LARGEST, SMALL = 64, 0.01  # samples that may be the centre, and the share of the largest energy that it has
LOOKED_AT = 4000  # samples that stand out of their radius
ROUNDS = 8
EVERY = 17  # a sample in so many shows the median
ALIKE = 2.0  # cycles per field of view, difference of the distances from the centre

Offsets = Sequence[tuple[int, int]]
RING = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]
NEAR_BY = [(y, x) for y in range(-4, 5) for x in range(-4, 5) if (y, x) != (0, 0)]
AREA = [(y, x) for y in range(-6, 7) for x in range(-6, 7) if (y, x) != (0, 0)]
CROSS = [o for d in range(5, 13) for o in ((d, 0), (-d, 0), (0, d), (0, -d))]
WINDOW = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]


def find_spikes(kspace: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return where spikes are, int (spike, 2) of (readout, phase), in order; none where any doubt is left.

    kspace: complex (coil, readout, phase), centre at N//2; kept: bool (readout, phase), only these samples
    are looked at.  A spike has more than `EXCESS` times the amplitude of all of these but the largest: its
    9×9 neighbours (13×13 where few were acquired), its row and column, samples on the line through the centre
    at 0.6 to 1.5 times its distance, on both sides; and of its mirror images.  The amplitude is the root sum
    of squares over coils, each in units of its median.  Where the centre itself stands alone, as of a
    constant or periodic image, or the samples found are most of the energy and the rest is no body, they are
    the object.
    """
    if kspace.ndim != 3 or kept.shape != kspace.shape[1:]:
        raise InputError(
            f"spikes are sought in k-space (coil, readout, phase) of which (readout, phase) was kept, got "
            f"{kspace.shape} and {kept.shape}"
        )
    power = _power(kspace, kept)
    places = _believed(power, *_sought(power, EXCESS))
    if not len(places):
        return places
    rest = power.copy()
    rest[places[:, 0], places[:, 1]] = 0
    lonely = _loneliness(rest)
    if lonely >= LONELIEST:
        return places[:0]
    return places if lonely < COMPACT else _believed(power, *_sought(power, LONELIER * lonely))


def _sought(power: np.ndarray, excess: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of samples that stand out by `excess`; the strongest are taken off first."""
    y, x = _outstanding(power)
    cleaned, found = power.copy(), np.zeros(power.shape, bool)
    for _ in range(ROUNDS):
        if not len(y):
            break
        alone = cleaned[y, x] > (excess * _strictness(power, y, x)) ** 2 * _allowed(cleaned, y, x)
        alone[alone] = _beyond(cleaned, power, y[alone], x[alone])
        if not alone.any():
            break
        found[y[alone], x[alone]] = True
        cleaned[y[alone], x[alone]] = 0
        y, x = y[~alone], x[~alone]
    rows, columns = np.nonzero(found)
    return rows, columns


def _believed(power: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the places as (spike, 2), none where they are too many or the object itself."""
    none = np.zeros((0, 2), int)
    count = int(np.count_nonzero(power))
    if not len(y) or len(y) > max(AT_LEAST, MOST * count):
        return none
    rest = power.copy()
    rest[y, x] = 0
    others = rest[rest > 0]
    if others.max(initial=0) < OBJECT * np.median(others):
        return none
    # A spark may hold nearly all energy: what it leaves is then a body, with a broad centre.
    if rest.sum() < (1 - MOSTLY) * power.sum() and _loneliness(rest) >= COMPACT:
        return none
    return np.stack([y, x], axis=1)


def _loneliness(power: np.ndarray) -> float:
    """Return by what amplitude the centre stands out of its neighbours, infinite where there is no centre.

    An object within its field of view has a broad centre: of the largest samples the one that has the
    largest neighbours.  It is near N//2, and its peak no small part of the largest sample, a spike in a place
    where none is sought.
    """
    largest = np.argpartition(power.ravel(), -LARGEST)[-LARGEST:] if power.size > LARGEST else np.arange(1)
    y, x = np.divmod(largest, power.shape[1])
    best = int(np.minimum(power[y, x], _second(_at(power, y, x, RING))).argmax())
    around = sorted(_at(power, y[best : best + 1], x[best : best + 1], WINDOW)[0].tolist())
    far = [abs(int(p[best]) - n // 2) > max(2, n // NEAR) for p, n in zip((y, x), power.shape, strict=True)]
    if any(far) or around[-3] == 0 or around[-1] < SMALL * power.max():
        return np.inf
    return math.sqrt(around[-1] / around[-3])


def _power(kspace: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return Σ_c |k_c|² / median |k_c|², float32 of the shape of `kept`, 0 where nothing was kept."""
    flat = np.ascontiguousarray(kspace, np.complex64).reshape(len(kspace), -1).view(np.float32)
    peak = max(float(flat.max(initial=0)), -float(flat.min(initial=0)))
    if peak == 0:
        return np.zeros(kept.shape, np.float32)
    # The peak first: squares of float32 values may overflow or vanish.
    squares = np.square(flat * np.float32(1 / peak))
    places = np.flatnonzero(kept)[::EVERY]
    some = squares[:, 2 * places] + squares[:, 2 * places + 1]
    some = np.where(some > 0, some, np.nan)
    weights = [1 / np.nanmedian(one) if np.isfinite(one).any() else 0.0 for one in some]
    total = (np.array(weights, np.float32) @ squares).reshape(-1, 2).sum(axis=1)
    return np.where(kept, total.reshape(kept.shape), np.float32(0))


def _outstanding(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of samples above the mean of their radius and out of their next neighbours.

    It spares looking at the others; each of the two is weaker than what a spike must show.
    """
    height, width = power.shape
    square = (np.arange(height) - height // 2)[:, None] ** 2 + (np.arange(width) - width // 2) ** 2
    radius = np.sqrt(square.astype(np.float32)).astype(np.int32)
    there = power > 0
    log = np.log(np.where(there, power, np.float32(1)))
    count = np.bincount(radius.ravel(), there.ravel())
    level = (np.bincount(radius.ravel(), log.ravel()) / np.maximum(count, 1)).astype(np.float32)
    above = np.where(there & (square > NEVER**2), log - level[radius], 0)
    places = np.flatnonzero(above > 2 * np.log(EXCESS / 2))
    if len(places) > LOOKED_AT:
        places = np.sort(places[np.argpartition(above.ravel()[places], -LOOKED_AT)[-LOOKED_AT:]])
    y, x = np.divmod(places, width)
    alone = power[y, x] > EXCESS**2 / 2 * _second(_at(power, y, x, RING))
    return y[alone], x[alone]


def _allowed(power: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the largest energy that the other samples allow at each place (place,), infinite for too few."""
    near, area = (_at(power, y, x, offsets) for offsets in (NEAR_BY, AREA))
    near = np.where(np.count_nonzero(near, axis=1) < ENOUGH, _second(area), _second(near))
    line = _second(_on_rays(power, y, x))
    allowed = np.max([near, _second(_at(power, y, x, CROSS)), line, _mirrored(power, y, x)], axis=0)
    return np.where(np.count_nonzero(area, axis=1) < FEWEST, np.inf, allowed)


def _mirrored(power: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the largest of the samples about the mirror images of each place, less itself, (place,)."""
    height, width = power.shape
    v, u = np.array(WINDOW).T
    largest = np.zeros(len(y))
    for down, right in ((True, True), (True, False), (False, True)):
        rows = (2 * (height // 2) - y if down else y)[:, None] + v
        columns = (2 * (width // 2) - x if right else x)[:, None] + u
        itself = ((rows - y[:, None]) % height == 0) & ((columns - x[:, None]) % width == 0)
        largest = np.maximum(largest, np.where(itself, 0, _inside(power, rows, columns)).max(axis=1))
    return largest


def _strictness(power: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return by how much more than elsewhere a sample must stand out, (place,), infinite for never."""
    few = np.count_nonzero(_at(power, y, x, AREA), axis=1) < ENOUGH
    strict = np.where(few, SPARSE, 1.0)
    for near, offsets in (
        (abs(y - power.shape[0] // 2) <= 1 + few, [(0, d) for d in AXIS]),
        (abs(x - power.shape[1] // 2) <= 1 + few, [(d, 0) for d in AXIS]),
    ):
        seen = np.count_nonzero(_at(power, y, x, offsets), axis=1) >= MOST_OF_AXIS
        strict = np.where(near, np.where(seen, ON_AXIS, np.inf), strict)
    return strict


def _beyond(power: np.ndarray, before: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return whether samples with few neighbours stand out of all those farther from the centre, (place,)."""
    height, width = power.shape
    squares = (np.arange(height) - height // 2)[:, None] ** 2 + (np.arange(width) - width // 2) ** 2
    few = np.count_nonzero(_at(before, y, x, AREA), axis=1) < ENOUGH
    passed = np.ones(len(y), bool)
    for place in np.flatnonzero(few):
        others = power[squares > FARTHER**2 * squares[y[place], x[place]]]
        level = np.partition(others, -HIGHEST)[-HIGHEST] if len(others) >= HIGHEST else np.inf
        passed[place] = power[y[place], x[place]] > (EXCESS / 2) ** 2 * level
    return passed


def _on_rays(power: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the samples near the line through the centre and each place, (place, sample)."""
    cy, cx = (n // 2 for n in power.shape)
    v, u = (y - cy)[:, None, None], (x - cx)[:, None, None]
    size = np.maximum(np.hypot(v, u), 1)
    along = np.linspace(0.6, 1.5, 46)
    along = np.concatenate([along, -along])[:, None]
    across = np.arange(-2, 3)
    rows = np.rint(v * along - u / size * across).astype(int).reshape(len(y), -1)
    columns = np.rint(u * along + v / size * across).astype(int).reshape(len(y), -1)
    found = _inside(power, cy + rows, cx + columns)
    itself = (abs(rows - v[:, 0]) <= 1) & (abs(columns - u[:, 0]) <= 1)
    return np.where(itself, np.float32(0), found)


def _at(power: np.ndarray, y: np.ndarray, x: np.ndarray, offsets: Offsets) -> np.ndarray:
    """Return the samples at `offsets` from each place, (place, offset)."""
    rows, columns = np.array(offsets).T
    return _inside(power, y[:, None] + rows, x[:, None] + columns)


def _inside(power: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return samples by rows and columns, which go round at the ends: an image of pixels is periodic so."""
    found: np.ndarray = power[rows % power.shape[0], columns % power.shape[1]]
    return found


def _second(values: np.ndarray) -> np.ndarray:
    """Return the second largest of each row (place, sample): the largest may be another spike."""
    return np.partition(values, values.shape[1] - 2, axis=1)[:, -2] if len(values) else values[:, 0]


def find_spikes_along(kspace: np.ndarray, trajectory: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return where spikes are off the grid, int (spike, 2) of (readout, interleaf), as `find_spikes`.

    kspace: complex (coil, readout, interleaf); trajectory: (readout, interleaf, 2) in cycles per field of
    view.  A spike has more than `EXCESS` times the amplitude of all kept samples but the largest that are as
    far from the centre, in whatever direction, and of those before and after it in its readout.
    """
    power = _power(kspace, kept)
    if not power.any():
        return np.zeros((0, 2), int)
    distance = np.linalg.norm(trajectory, axis=-1)
    steps = [(d, 0) for d in range(-6, 7) if d]
    y, x = np.nonzero((power > EXCESS**2 * np.median(power[power > 0])) & (distance > NEVER))
    alone = power[y, x] > EXCESS**2 * _second(_at(power, y, x, steps))
    y, x = y[alone], x[alone]
    if len(y) > max(AT_LEAST, MOST * np.count_nonzero(power)):
        return np.zeros((0, 2), int)
    pairs = zip(y.tolist(), x.tolist(), strict=True)
    apart = np.array([place for place in pairs if _above_alike(power, distance, *place)], int).reshape(-1, 2)
    return _believed(power, apart[:, 0], apart[:, 1])


def _above_alike(power: np.ndarray, distance: np.ndarray, y: int, x: int) -> bool:
    """Return whether a sample stands out of all but one that are as far from the centre."""
    like = (np.abs(distance - distance[y, x]) < ALIKE) & (power > 0)
    like[y, x] = False
    others = power[like]
    return len(others) >= ENOUGH and bool(power[y, x] > EXCESS**2 * np.partition(others, -2)[-2])


def spikes_words(count: int, kept: bool = False) -> str:
    """Return the note about the spikes of a slice."""
    what = "1 spike" if count == 1 else f"{count} spikes"
    end = "kept, as was asked" if kept else "left out"
    return f"k-space of a slice has {what}, {end}: `spikes` in record.json says where"
