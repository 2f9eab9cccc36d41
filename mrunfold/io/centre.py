"""Where the centre of k-space lies: measured on the samples, put at N//2 where it is elsewhere.

Moving k-space round its grid multiplies the image by a linear phase and changes no magnitude; alternating the
signs of its samples moves the image by half its field of view.  Both are exact for the discrete transform.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft

from mrunfold.errors import InputError
from mrunfold.io.scan import Header, Scan
from mrunfold.io.spikes import find_spikes

__all__ = ["CentredScan", "centred", "offset_of", "spokes", "swapped_halves"]

NEAR = 2  # samples from N//2 that the phase of a good scan's image explains
CLEAR = 100.0  # times the median energy: the largest sample is no noise
ALIKE = 0.5  # of the coils' energy has its own peak where that of them all is
SPOKES, FLAT = 0.8, 0.5  # of the lines, and of their peaks' sum, are alike; median peak against the largest
HALF = 0.4  # of half the field of view: an image whose middle is farther off is looked at
CONCENTRATED = 0.03  # at least, of the image's energy, lies about that middle: at less it has none
UNEVEN = 8  # of the matrix: a centre so far from N//2 may be that of a scan with one side left out
GAP = 0.2  # of the energy at the rim: what lies between the two halves of a divided image
# That is air: so many times the noise at most, or so little of the energy at the rim above it.  The middle of
# a body is dark too where coils lie about it, and of a spine, whose ends cross the field of view.
AIR, FAINT = 1.25, 0.005
RIM = 16  # of a matrix: the share at its ends that says how large the noise is


@dataclass(frozen=True)
class Finding:
    """What one slice shows: (readout, phase) samples from N//2 to the peak of k-space, None where unclear."""

    offset: tuple[int, int] | None
    halves: tuple[bool, bool] = (False, False)


def centred(scan: Scan, measure: bool = False) -> Scan:
    """Return the scan, or one that puts its k-space's centre at N//2 and says so in `header.notes`.

    measure: the file does not say where the centre is, so that it must be found.  Raises InputError where
    the centre lies in every line, as in radial scans, and where it must be found and cannot.
    """
    findings = _findings(scan)
    clear = [f for f in findings if f.offset is not None]
    if not clear:
        if measure:
            raise _unclear(scan)
        return scan
    offset = clear[0].offset
    assert offset is not None
    shift = (-offset[0], -offset[1]) if _agree(clear) and (measure or _far(offset)) else (0, 0)
    halves = tuple(all(f.halves[axis] for f in clear) for axis in (0, 1))
    if not any(shift) and not any(halves):
        return scan
    return CentredScan(scan, shift, (halves[0], halves[1]))


def _unclear(scan: Scan) -> InputError:
    """Return why the centre cannot be found: samples that are not finite, no samples, or no peak."""
    middle = len(scan) // 2
    try:
        empty = not scan.kspace(middle).any()
    except InputError as error:
        return error
    way = (
        f"slice {middle} holds zeros alone; give the samples that were measured"
        if empty
        else "its samples do not show it; correct the encoding limits"
    )
    return InputError(f"{scan.path}: nothing says where the centre of k-space is and {way}")


def _far(offset: tuple[int, int]) -> bool:
    return max(abs(n) for n in offset) > NEAR


def _agree(findings: list[Finding]) -> bool:
    offsets = np.array([f.offset for f in findings])
    return bool((np.ptp(offsets, axis=0) <= 2 * NEAR).all())


def _findings(scan: Scan) -> list[Finding]:
    """Return what the middle slice shows; where that is unclear or off, what others show as well."""
    count = len(scan)
    found: list[Finding] = []
    for index in dict.fromkeys((count // 2, count // 4, 3 * count // 4)):
        try:
            kspace, acquired = scan.kspace(index), scan.acquired(index)
        except InputError:
            continue  # that slice is refused when it is asked for
        energy = _energy(kspace)
        if spokes(kspace, energy):
            raise InputError(
                f"{scan.path}: the centre of k-space lies in every line, as in a radial scan; give its "
                "`trajectory` with it, or grid it first"
            )
        offset = offset_of(kspace, acquired, energy)
        if offset is None or _far(offset):  # a spike may be the largest sample
            kspace, offset = _without_spikes(kspace, acquired, offset)
        finding = Finding(offset)
        if finding.offset is not None:
            here = (
                np.roll(kspace, [-n for n in finding.offset], axis=(-2, -1))
                if _far(finding.offset)
                else kspace
            )
            halves = swapped_halves(here)
            if any(halves):
                halves = _unless_reference(scan, index, here, halves)
            finding = replace(finding, halves=halves)
        found.append(finding)
        if finding.offset is not None and not _far(finding.offset) and not any(finding.halves):
            break
    return found


def _without_spikes(
    kspace: np.ndarray, acquired: np.ndarray, offset: tuple[int, int] | None
) -> tuple[np.ndarray, tuple[int, int] | None]:
    """Return k-space with zeros in place of spikes and its offset, both as they are where there are none."""
    places = find_spikes(kspace, acquired)
    if not len(places):
        return kspace, offset
    cleaned = kspace.copy()
    cleaned[:, places[:, 0], places[:, 1]] = 0
    return cleaned, offset_of(cleaned, acquired)


@dataclass(frozen=True)
class _Energy:
    """Of k-space whose largest real or imaginary part is `unit`, in its square.

    total: of all coils together, float64 (readout, phase); each: of each coil, (coil,); places: (readout,
    phase) of each coil's largest sample, (coil, 2).
    """

    unit: float
    total: np.ndarray
    each: np.ndarray
    places: np.ndarray


def _energy(kspace: np.ndarray) -> _Energy:
    """Return the energy of k-space (coil, readout, phase), coil by coil, so that caches hold what is read."""
    total, each, places = np.zeros(kspace.shape[1:]), np.zeros(len(kspace)), np.zeros(len(kspace), np.intp)
    unit = max((_largest_part(coil) for coil in kspace), default=0.0)
    if unit > 0:
        for number, coil in enumerate(kspace):
            # Squares of float32 values may overflow or vanish: first over the largest.
            real, imag = (np.square(part / np.float32(unit)) for part in (coil.real, coil.imag))
            real += imag
            total += real
            each[number], places[number] = real.sum(dtype=np.float64), real.argmax()
    return _Energy(unit, total, each, np.stack(np.unravel_index(places, kspace.shape[1:]), axis=1))


def _largest_part(coil: np.ndarray) -> float:
    """Return the largest magnitude of real and imaginary parts."""
    parts = np.ascontiguousarray(coil).view(coil.real.dtype)
    return max(float(parts.max(initial=0)), -float(parts.min(initial=0)))


def offset_of(
    kspace: np.ndarray, acquired: np.ndarray, energy: _Energy | None = None
) -> tuple[int, int] | None:
    """Return how far the largest sample over coils lies from N//2, (readout, phase), None where unclear.

    kspace: (coil, readout, phase); acquired: bool (readout, phase); energy: of it, where it is known.
    An offset that undersampling explains is zero.  Unclear: no signal above noise, or coils that disagree.
    """
    energy = energy or _energy(kspace)
    total = energy.total
    if energy.unit == 0:
        return None
    peak = np.unravel_index(int(total.argmax()), total.shape)
    measured = total[acquired & (total > 0)]
    if measured.size < 16 or total[peak] < CLEAR * np.median(measured):
        return None
    half = np.array(total.shape) // 2
    apart = np.abs((energy.places - peak + half) % total.shape - half)
    weight = energy.each
    if weight[(apart <= 2 * NEAR).all(axis=1)].sum() < ALIKE * weight.sum():
        return None
    offset = []
    for axis, n in enumerate(total.shape):
        away = int(peak[axis]) - n // 2
        lines = np.flatnonzero(acquired.any(axis=1 - axis)) - n // 2
        nearest = int(np.abs(lines).min(initial=n))
        offset.append(0 if abs(away) <= nearest + NEAR else away)
    return offset[0], offset[1]


def spokes(kspace: np.ndarray, energy: _Energy | None = None) -> bool:
    """Return whether the lines of k-space (coil, readout, phase), along an axis, all hold the same peak.

    Spokes do: each measures the centre of k-space, and the same number there.  energy: as `offset_of`.
    """
    energy = energy or _energy(kspace)
    for axis, norm in ((1, np.sqrt(energy.total)), (2, np.sqrt(energy.total).T)):  # each column is a line
        there = np.flatnonzero(norm.any(axis=0))
        total = norm[:, there]
        if min(total.shape, default=0) < 8:
            continue
        places, peaks = total.argmax(axis=0), total.max(axis=0)
        same = np.abs(places - np.median(places)) <= NEAR
        # Peaks that stand out of their lines: flat lines, as of noise, have theirs anywhere.
        tall = peaks > 5 * np.median(total, axis=0)
        if (same & tall).mean() < SPOKES or np.median(peaks) <= FLAT * peaks.max():
            continue
        values = kspace[:, places, there] if axis == 1 else kspace[:, there, places]  # (coil, line)
        alike = np.linalg.norm((values / energy.unit).sum(axis=1)) / max(float(peaks.sum()), 1e-30)
        if alike > SPOKES:
            return True
    return False


def swapped_halves(kspace: np.ndarray) -> tuple[bool, bool]:
    """Return along which axes, (readout, phase), the image lies half a field of view off: its halves swapped.

    Neighbouring samples k_n, k_{n+1} have Σ k_{n+1} k_n* = Σ_r |x_r|² exp(−2πi r/N): the phase says where the
    middle of the image's energy lies, the size how near to it.  Between swapped halves there must be a gap.
    """
    unit = max((_largest_part(coil) for coil in kspace), default=0.0)
    sums, energy = np.zeros(2, np.complex128), 0.0
    for coil in kspace if unit > 0 else ():
        one = np.ascontiguousarray(coil) / np.float32(unit)
        energy += float(np.vdot(one, one).real)
        # Neighbours in memory, without the steps from the end of a row to the next.
        flat = one.ravel()
        sums[0] += np.vdot(one[:-1], one[1:])
        sums[1] += np.vdot(flat[:-1], flat[1:]) - np.vdot(one[:-1, -1], one[1:, 0])
    found = []
    for axis, total in zip((-2, -1), sums, strict=True):
        mean = total / max(energy, 1e-300)
        off = abs(np.angle(mean)) > HALF * np.pi and abs(mean) > CONCENTRATED
        found.append(bool(off) and kspace.shape[axis] >= 16 and _divided(np.moveaxis(kspace, axis, -1)))
    return found[0], found[1]


def _divided(block: np.ndarray) -> bool:
    """Return whether an image has air in the middle of its last axis, much energy at both of its ends.

    block: (coil, other axis, axis).  Of undersampled lines the whole ones about the centre are looked at: the
    others fold.  Their window keeps what is bright from ringing into the air.
    """
    energy = np.square(np.abs(block), dtype=np.float64).sum(axis=0)
    half = _whole(energy.any(axis=0))
    if 2 * half < 16:
        return False
    window = np.hanning(2 * half + 1)[:-1].astype(np.float32)
    middle_of = block.shape[-1] // 2
    lines = block[..., middle_of - half : middle_of + half] * window
    image = scipy.fft.ifft(scipy.fft.ifftshift(lines, axes=-1), axis=-1, norm="ortho")
    image = scipy.fft.fftshift(image, axes=-1)
    profile = np.square(np.abs(image), dtype=np.float64).sum(axis=(0, 1)) / len(energy)
    n, width = len(profile), max(1, len(profile) // 16)
    middle = float(profile[n // 2 - width : n // 2 + width].mean())
    ends = float(min(profile[:width].mean(), profile[-width:].mean()))
    noise = _rim(energy) * float(np.mean(window**2)) * float(energy.any(axis=1).mean())
    return middle < GAP * ends and (middle < AIR * noise or middle - noise < FAINT * ends)


def _whole(there: np.ndarray) -> int:
    """Return how many lines on each side of N//2 were acquired, none left out between, of bool (line,)."""
    missing = np.flatnonzero(~there) - len(there) // 2
    least = min(len(there) // 2, len(there) - len(there) // 2)
    return min(least, int(np.abs(missing).min(initial=least)))


def _rim(energy: np.ndarray) -> float:
    """Return the median of the energy of samples (y, x) at the rim of k-space: noise, or more than that."""
    rim = np.ones(energy.shape, bool)
    y, x = (max(1, n // RIM) for n in energy.shape)
    rim[y : energy.shape[0] - y, x : energy.shape[1] - x] = False
    there = energy[rim & (energy > 0)]
    there = there if there.size >= 32 else energy[energy > 0]
    return float(np.median(there)) if there.size else 0.0


def _unless_reference(
    scan: Scan, index: int, kspace: np.ndarray, halves: tuple[bool, bool]
) -> tuple[bool, bool]:
    """Return `halves`, or nothing where the file's own image lies as k-space has it."""
    from mrunfold.io.grid import crop_image, remove_oversampling

    reference = scan.reference(index)
    if reference is None:
        return halves
    likeness = []
    for signs in ((False, False), halves):
        moved = remove_oversampling(_alternated(kspace, signs), scan.header)
        axes = (-2, -1)
        image = scipy.fft.fftshift(scipy.fft.ifft2(scipy.fft.ifftshift(moved, axes=axes)), axes=axes)
        rss = crop_image(np.sqrt((np.abs(image) ** 2).sum(axis=0)), scan.header.crop)
        likeness.append(float(np.vdot(rss, reference)) / max(float(np.linalg.norm(rss)), 1e-30))
    return halves if likeness[1] > likeness[0] else (False, False)


def _alternated(kspace: np.ndarray, axes: tuple[bool, bool]) -> np.ndarray:
    """Return k-space with every second sample's sign changed along the given axes; N//2 keeps its own."""
    for axis, wanted in zip((-2, -1), axes, strict=True):
        if wanted:
            n = kspace.shape[axis]
            signs = np.where((np.arange(n) - n // 2) % 2, -1, 1).astype(np.float32)
            kspace = kspace * (signs[:, None] if axis == -2 else signs)
    return kspace


class CentredScan(Scan):
    """A scan whose k-space is moved round its grid by `shift` (readout, phase) and alternated where asked."""

    def __init__(self, scan: Scan, shift: tuple[int, int], halves: tuple[bool, bool]) -> None:
        self._scan, self._shift, self._halves = scan, shift, halves
        self.path = scan.path
        header = scan.header
        self.header = replace(
            header, padding=_moved_padding(header, shift[1]), notes=header.notes + self._notes(header)
        )

    def _notes(self, header: Header) -> tuple[str, ...]:
        notes = []
        if any(self._shift):
            size = header.matrix
            centre = tuple(n // 2 - s for n, s in zip(size, self._shift, strict=True))
            uneven = any(m / UNEVEN < abs(n) < m // 2 - NEAR for n, m in zip(self._shift, size, strict=True))
            notes.append(
                f"the largest sample of k-space lies at ({centre[0]}, {centre[1]}) of {size[0]}×{size[1]} "
                f"(readout, phase), not at ({size[0] // 2}, {size[1] // 2}): k-space is moved there"
                + (
                    "; if one side was left out (partial Fourier), put zeros in its place before"
                    if uneven
                    else ""
                )
            )
        if any(self._halves):
            names = " and ".join(n for n, h in zip(("readout", "phase"), self._halves, strict=True) if h)
            notes.append(
                f"the image lies half a field of view off along the {names}: every second sample of k-space "
                "had the other sign, which is undone"
            )
        return tuple(notes)

    def _mended(self, kspace: np.ndarray) -> np.ndarray:
        return _alternated(np.roll(kspace, self._shift, axis=(-2, -1)), self._halves)

    def kspace(self, index: int) -> np.ndarray:
        return self._mended(self._scan.kspace(index))

    def acquired(self, index: int) -> np.ndarray:
        return np.roll(self._scan.acquired(index), self._shift, axis=(-2, -1))

    def calibration(self, index: int) -> np.ndarray | None:
        found = self._scan.calibration(index)
        return None if found is None else self._mended(found)

    def noise(self) -> np.ndarray | None:
        return self._scan.noise()

    def noise_ratio(self, index: int) -> float:
        return self._scan.noise_ratio(index)

    def number(self, index: int) -> int:
        return self._scan.number(index)

    def reference(self, index: int) -> np.ndarray | None:
        return self._scan.reference(index)

    def require(self, indices: Iterable[int]) -> None:
        self._scan.require(indices)

    def close(self) -> None:
        self._scan.close()


def _moved_padding(header: Header, shift: int) -> tuple[int, int] | None:
    """Return the lines outside of which there is zero filling, once moved; None where they go round."""
    if header.padding is None or header.padding == (0, header.matrix[1]):
        return header.padding
    left, right = (line + shift for line in header.padding)
    return (left, right) if 0 <= left < right <= header.matrix[1] else None
