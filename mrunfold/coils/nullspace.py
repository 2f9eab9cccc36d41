"""The noise from the calibration region: what neighbouring samples of all coils cannot predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mrunfold.coils.calibration import calibration_block
from mrunfold.errors import InputError

__all__ = ["NullSpace", "null_space"]

WIDTH, LENGTH = 24, 64  # of the block looked at, phase and readout
CENTRE = 0.4  # of the matrix at most: a filter of k-space is near 1 there
COLUMNS = 128  # of the matrix of windows, about: its eigenvectors are the cost
SMALLEST = 32  # columns: with fewer, smooth coils fill them all
ROWS_PER_COLUMN = 2  # at least: the smallest singular values of nearly square noise are erratic
SMOOTH = 3  # further samples that smooth coils add to the signal's extent in a window, for the first guess
LOUDER, GROWN = (
    4,
    1.15,
)  # times at most, each for a null space so much larger: signal may make it grow a little
TRIES, STEPS = 2, 4  # iterations from each start, and from the best of them
LEAST = 0.03  # of the columns: fewer directions are no null space
DOUBT = 0.03  # of a coil's mean part in the null space
FLOOR = 1e-7  # of the largest sample, below which float32 has no noise


@dataclass(frozen=True)
class NullSpace:
    """The noise of a calibration region.

    covariance: E[n nᴴ], complex128 (coil, coil); samples: of the region that are free of signal, as a count
    of vectors over coils; share: of the directions that hold noise alone.
    """

    covariance: np.ndarray
    samples: int
    share: float


@dataclass(frozen=True)
class _Windows:
    """The Gram matrix of the region's windows, (window, coil, window, coil), and how noise spreads in it.

    largest: the largest eigenvalue of white noise over their mean; spread: log of their mean less the mean of
    their logs.
    """

    gram: np.ndarray
    rows: int
    largest: float
    spread: float

    @property
    def columns(self) -> int:
        return self.gram.shape[0] * self.gram.shape[1]


def null_space(kspace: np.ndarray, acquired: np.ndarray, start: np.ndarray | None = None) -> NullSpace | None:
    """Return the noise covariance at the centre of k-space (coil, readout, phase), None if there is none.

    Windows of the calibration region form the rows of a matrix.  They span few directions, because coils are
    smooth and the object is bounded; the other directions are the null space of ESPIRiT (Uecker et al., Magn.
    Reson. Med. 71 (2014)).  Its covariance over the coils is that of the noise.  The null space is the
    largest space whose eigenvalues spread like those of white noise, after whitening by its own covariance;
    both are found by iteration.  start: a first guess of the covariance, tried beside others; the guess that
    leads to the largest null space wins.  None if the region is too small, or if signal fills all directions
    (an object as large as the field of view, seen by one or two coils).
    """
    block = _block(kspace, acquired)
    if block is None:
        return None
    peak = float(np.abs(block).max(initial=0))
    if peak == 0:
        return None
    block = block.astype(np.complex128) / peak
    window = _window(block.shape)
    if window is None:
        return None
    found = _Windows(*_gram(block, window), *_white(block.shape, window))
    guesses = [np.eye(len(block)), np.diag(_quiet(block)), _first_guess(found, window)]
    guesses += [] if start is None else [start / peak**2]
    best = _best(found, guesses)
    if best is None:
        return None
    if not _possible(best.covariance, block):
        return None
    share = best.null / found.columns
    return NullSpace(best.covariance * peak**2, max(1, int(block[0].size * share)), share)


def _block(kspace: np.ndarray, acquired: np.ndarray) -> np.ndarray | None:
    try:
        block = calibration_block(kspace, acquired, max(LENGTH, WIDTH), 4)
    except InputError:
        return None  # too small a region: the caller keeps its other estimate
    most = [max(8, int(CENTRE * n)) for n in acquired.shape]
    x = min(block.shape[2], WIDTH, most[1])
    # Few lines: more of each.
    y = min(block.shape[1], LENGTH, most[0] if 2 * x > WIDTH else int(1.75 * most[0]))
    size = (y, x)
    y, x = (n // 2 - m // 2 for n, m in zip(block.shape[1:], size, strict=True))
    return block[:, y : y + size[0], x : x + size[1]]


def _window(shape: tuple[int, int, int]) -> tuple[int, int] | None:
    """Return the window (readout, phase) of about COLUMNS columns, None where the region is too small."""
    coils, height, width = shape
    x = int(np.clip(round((COLUMNS / coils) ** 0.5), 2, max(2, width // 2)))
    y = int(np.clip(round(COLUMNS / coils / x), 2, max(2, height // 2)))
    while (height - y + 1) * (width - x + 1) < ROWS_PER_COLUMN * coils * y * x:
        if x > 1 and x * height >= y * width:
            x -= 1
        else:
            y -= 1
        if coils * y * x < SMALLEST:
            return None
    return y, x


def _gram(block: np.ndarray, window: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return Σ conj(row) row over windows of (coil, y, x), (window, coil, window, coil), and their number."""
    view = np.lib.stride_tricks.sliding_window_view(block, window, axis=(1, 2))
    rows = view.transpose(1, 2, 3, 4, 0).reshape(view.shape[1] * view.shape[2], -1)
    size = (window[0] * window[1], len(block))
    return (rows.conj().T @ rows).reshape(*size, *size), len(rows)


@lru_cache(maxsize=8)
def _white(shape: tuple[int, int, int], window: tuple[int, int]) -> tuple[float, float]:
    """Return `largest` and `spread` of white noise; the slices of a volume have one shape."""
    draws = np.random.default_rng(0).standard_normal((2, *shape))
    gram, _ = _gram(draws[0] + 1j * draws[1], window)
    columns = gram.shape[0] * gram.shape[1]
    values = np.linalg.eigvalsh(gram.reshape(columns, columns)).clip(1e-300)
    return float(values[-1] / values.mean()), float(np.log(values.mean()) - np.log(values).mean())


def _first_guess(found: _Windows, window: tuple[int, int]) -> np.ndarray:
    """Return the covariance that is left without as many directions as smooth coils may fill."""
    columns = found.columns
    filled = min((window[0] + SMOOTH) * (window[1] + SMOOTH), int(0.9 * columns))
    values, vectors = np.linalg.eigh(found.gram.reshape(columns, columns))
    return _left(found, values, vectors, columns - filled)[0]


@dataclass(frozen=True)
class _Step:
    """The covariance found in a null space of `null` directions, and one in which the coils, or combinations
    of coils, that hardly have a part in it are louder."""

    covariance: np.ndarray
    null: int
    louder: np.ndarray


def _best(found: _Windows, guesses: Sequence[np.ndarray]) -> _Step | None:
    """Return the step with the largest null space that the guesses lead to, None where there is none.

    A coil whose noise is taken for far less than it is looks full of signal, and stays so: it is tried louder
    as long as the null space grows clearly.
    """
    steps = [step for guess in guesses if (step := _iterated(found, guess, TRIES)) is not None]
    if not steps:
        return None
    best = max(steps, key=lambda step: step.null)
    for _ in range(LOUDER):
        step = _iterated(found, best.louder, TRIES)
        if step is None or step.null < GROWN * best.null:
            break
        best = step
    return _iterated(found, best.covariance, STEPS)


def _iterated(found: _Windows, covariance: np.ndarray, steps: int) -> _Step | None:
    """Return the last of at most so many steps, None where no null space is left."""
    step, null = None, 0
    for _ in range(steps):
        levels = np.diagonal(covariance).real
        step = _step(found, covariance)
        if step is None:
            return None
        covariance = step.covariance
        if step.null == null and np.abs(np.diagonal(covariance).real / levels - 1).max() < 0.02:
            break
        null = step.null
    return step


def _step(found: _Windows, covariance: np.ndarray) -> _Step | None:
    """Whiten by a covariance, and find the next one in the null space; None where that is small."""
    covariance = covariance + FLOOR**2 * np.eye(len(covariance))
    L = np.linalg.cholesky(covariance + 1e-6 * np.diag(np.diagonal(covariance).real))
    W = np.linalg.inv(L)
    white = np.einsum("ac,wcvd,bd->wavb", W.conj(), found.gram, W, optimize=True)
    values, vectors = np.linalg.eigh(white.reshape(found.columns, found.columns))
    null = _noise_alone(found, values)
    if null < max(4, LEAST * found.columns):
        return None
    left, room = _left(found, values, vectors, null)
    return _Step(L @ left @ L.conj().T, null, L @ np.linalg.inv(room) @ L.conj().T * np.trace(left).real)


def _noise_alone(found: _Windows, values: np.ndarray) -> int:
    """Return how many of the eigenvalues, smallest first, spread as those of white noise.

    The largest is held against the edge of Marchenko and Pastur's law (Math. USSR-Sb. 1 (1967)), whose number
    of independent rows is that of white noise in the same windows, which overlap.
    """
    columns = len(values)
    values = values.clip(1e-14 * values[-1])
    mean = np.cumsum(values) / np.arange(1, columns + 1)
    log_mean = np.cumsum(np.log(values)) / np.arange(1, columns + 1)
    independent = columns / (found.largest**0.5 - 1) ** 2
    null = np.arange(1, columns + 1)
    left = independent * (1 - (columns - null) / found.rows)
    edge = (1 + np.sqrt(null / left)) ** 2
    noise = (values <= 1.1 * edge * mean) & (np.log(mean) - log_mean <= 1.2 * found.spread + 0.05)
    return int(np.flatnonzero(noise).max(initial=-1)) + 1


def _left(
    found: _Windows, values: np.ndarray, vectors: np.ndarray, null: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of the first `null` directions, and the coils' part in them, 1 in mean.

    Both (coil, coil).  Each of the other directions takes one of the rows of noise with it.
    """
    kept = vectors[:, :null].reshape(*found.gram.shape[:2], null)
    energy = np.einsum("wam,m,wbm->ab", kept, values[:null].clip(0), kept.conj(), optimize=True)
    room = np.einsum("wam,wbm->ab", kept, kept.conj(), optimize=True)
    coils, left = len(room), found.rows - (found.columns - null)
    # A coil that hardly has a part in the null space is taken to be as loud as the others, whitened, are.
    doubt = DOUBT * null / coils * np.eye(coils)
    energy = energy + doubt * np.trace(energy).real / null
    inverse = np.linalg.inv(np.linalg.cholesky(room + doubt))
    return (inverse @ energy @ inverse.conj().T).conj() / left, (room + doubt).conj() * coils / null


def _quiet(block: np.ndarray) -> np.ndarray:
    """Return E|n|² of each coil, (coil,), if the region's weakest quarter were noise: an upper bound."""
    quiet = np.quantile(np.abs(block) ** 2, 0.25, axis=(1, 2)) / np.log(4 / 3)
    return np.maximum(quiet, FLOOR**2)


def _possible(covariance: np.ndarray, block: np.ndarray) -> bool:
    """Return whether the noise fits the energy of the region's weakest quarter (at most twice it).

    One coil that sees an object as large as the field of view fills all directions evenly, as noise does.
    """
    return bool(np.mean(np.diagonal(covariance).real / _quiet(block)) < 2)
