"""A 3-D scan as slices with one transform fewer: in hybrid space, along the readout or the partitions.

The readout of a Cartesian scan is complete, so its inverse transform is exact, and each position along it is
a problem of its own with two phase encodings.  Where the second phase encoding is complete as well, it can be
transformed instead: the slices are then the partitions, as of a 2-D scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import scipy.fft

from mrunfold.errors import InputError
from mrunfold.io.scan import Grid, Header, Scan, Split, refuse_not_finite
from mrunfold.io.scratch import BUDGET, Scratch
from mrunfold.io.volumes import VolumeSource, blocks, complete_region

__all__ = ["HybridScan"]

AT_ONCE = 8  # positions of the readout in memory
Progress = Callable[[float], None]


class HybridScan(Scan):
    """The slices of a 3-D scan, see `Scan`; k-space is transformed when the first of them is read.

    along: the axis that is transformed, None for the partitions where they are complete, else the readout.
    The slices of a scan along its readout are the positions of the final image; `header.output` is of the
    images that they make up, one for each partition.  budget: bytes of k-space that may be in memory, more
    goes through a `Scratch` file.
    """

    def __init__(self, source: VolumeSource, along: Split | None = None, budget: int = BUDGET) -> None:
        self.path, self.source, self.budget = source.path, source, budget
        self._acquired = {v: source.acquired(v) for v in range(source.volumes)}
        self.along: Split = along or ("partition" if self.partitions_complete else "readout")
        header = _along_readout(source, self._acquired[0]) if self.along == "readout" else _plain(source)
        said = (*header.notes, *self._notes())
        if header.output is not None:
            header = replace(header, output=replace(header.output, notes=said))
        self.header = replace(header, notes=said, grid=self._grid())
        self.hybrid = self
        self._store: tuple[int, Scratch] | None = None
        self._block: tuple[int, int, np.ndarray] | None = None
        self._others: list[HybridScan] = []

    def _grid(self) -> Grid:
        source = self.source
        whole, kept = source.header.unoversampled, source.header.crop[0]
        start = whole // 2 - kept // 2
        return Grid(
            (whole, source.header.matrix[1], source.partitions),
            source.header.matrix[0],
            self.along,
            slice(start, start + kept) if self.along == "readout" else source.kept,
        )

    @property
    def partitions_complete(self) -> bool:
        """Whether each line that was acquired has all partitions."""
        return all(bool(a[a.any(axis=1)].all()) for a in self._acquired.values())

    def _notes(self) -> tuple[str, ...]:
        """Say along which axis the 3-D scan is split, and why."""
        acquired = self._acquired[0]
        if self.along == "partition":
            lines = "" if acquired.all() else ", undersampled along the phase encoding alone"
            return (
                f"a 3-D scan with complete partitions: each of them is a slice{lines}; masks of points, as "
                "poisson, undersample both phase encodings and split it along the readout",
            )
        rows = acquired.any(axis=1)
        if acquired[:, acquired.any(axis=0)][rows].all() and not acquired.all():
            why = "a 3-D scan undersampled along the partitions alone"
        else:
            why = "a 3-D scan undersampled along two phase encodings" if not acquired.all() else "a 3-D scan"
        said: tuple[str, ...] = (
            f"{why}: the readout is transformed and each position along it is a slice of k-space",
        )
        if not self.source.echo.all():
            said += ("the echo is asymmetric: its missing samples are zero filled along the readout",)
        return said

    def split(self, along: Split) -> Scan:
        if along == self.along or (along == "partition" and not self.partitions_complete):
            return self
        self._others.append(HybridScan(self.source, along, self.budget))
        return self._others[-1]

    def place(self, index: int) -> tuple[int, int]:
        """Return the volume of a slice, and its number within it."""
        each = len(self) // self.source.volumes
        return divmod(self._index(index), each)

    def alike(self, volume: int) -> list[int]:
        """Return the volumes of the same slab, one for each of its frames; this one alone without frames."""
        images = self.source.header
        if images.frames is None:
            return [volume]
        each = images.slices // self.source.volumes
        slab = [images.frames.place[v * each] // each for v in range(self.source.volumes)]
        return [v for v, one in enumerate(slab) if one == slab[volume]]

    def prepare(self, volume: int, progress: Progress = lambda fraction: None) -> None:
        """Transform a volume's k-space, unless that is done; progress: called with the fraction done."""
        if self._store is not None and self._store[0] == volume:
            return
        self._forget()
        store = self._new_store()
        try:
            _fill(store, self.source, volume, progress)
            if self.along == "partition":
                _transform_partitions(store)
        except BaseException:
            store.close()
            raise
        self._store = volume, store

    def ready(self, index: int, progress: Progress = lambda fraction: None) -> None:
        self.prepare(self.place(index)[0], progress)

    @property
    def sampled_across(self) -> int:
        """How many samples about the centre of k-space there are across the slices."""
        if self.along == "partition":
            return self.source.partitions
        echo = self.source.echo
        middle = len(echo) // 2
        below, above = echo[middle::-1], echo[middle:]
        run = min(len(side) if side.all() else int(np.argmin(side)) for side in (below, above))
        share = self.source.header.unoversampled / len(echo)
        return max(1, min(int(2 * run * share), self.source.header.unoversampled))

    def centre(self, volume: int, sides: tuple[int, int, int]) -> np.ndarray:
        """Return the centre of k-space, complex64 (coil, *sides): across the slices, then their two axes."""
        self.prepare(volume)
        assert self._store is not None
        store = self._store[1]
        readout, coils, phase, partition = store.shape
        across = self.along == "readout"
        phases = _middle(phase, sides[1] if across else sides[2])
        partitions = _middle(partition, sides[2]) if across else slice(0, partition)
        kept = []
        for some in blocks(readout, AT_ONCE):
            part = store[some, slice(0, coils), phases, partitions]
            if not across:
                part = _centred(scipy.fft.fft, part, axis=3)[..., _middle(partition, sides[0])]
            kept.append(part)
        whole = _centred(scipy.fft.fft, np.concatenate(kept), axis=0)  # (readout, coil, phase, partition)
        whole = whole[_middle(readout, sides[0] if across else sides[1])]
        order = (1, 0, 2, 3) if across else (1, 3, 0, 2)
        return np.ascontiguousarray(whole.transpose(order))

    def calibration_block(self, volume: int, width: int) -> np.ndarray | None:
        """Return k-space of a calibration scan of its own, as `centre` does and `width` at most, or None."""
        found = self.source.calibration(volume, width)
        if found is None:
            return None
        stored, wanted = self.source.header.matrix[0], self.source.header.unoversampled
        image = _centred(scipy.fft.ifft, found, axis=1)
        image = image[:, stored // 2 - wanted // 2 : stored // 2 - wanted // 2 + wanted]
        kspace = _centred(scipy.fft.fft, image, axis=1)[:, _middle(wanted, min(width, wanted))]
        return np.ascontiguousarray(kspace if self.along == "readout" else kspace.transpose(0, 3, 1, 2))

    def _new_store(self) -> Scratch:
        source = self.source
        coils, phases, partitions = source.block
        size = (source.header.unoversampled, source.header.coils, source.header.matrix[1], source.partitions)
        return Scratch(size, (AT_ONCE, coils, phases, partitions), self.budget)

    def kspace(self, index: int) -> np.ndarray:
        volume, number = self.place(index)
        self.prepare(volume)
        if self.along == "readout":
            kspace = self._read(volume, number)[number % AT_ONCE]
        else:
            image = self._read(volume, number)[..., number % AT_ONCE]  # (readout, coil, phase)
            kspace = _centred(scipy.fft.fft, np.moveaxis(image, 0, 1), axis=1)
        kspace = np.ascontiguousarray(kspace)
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def _read(self, volume: int, number: int) -> np.ndarray:
        """Return the block that a slice is in, (readout, coil, phase, partition)."""
        assert self._store is not None
        first = number - number % AT_ONCE
        if self._block is None or self._block[:2] != (volume, first):
            self._block = None  # one in memory at a time
            store, source = self._store[1], self.source
            whole = [slice(0, n) for n in store.shape]
            if self.along == "readout":
                start = self._grid().kept.start + first
                whole[0] = slice(start, min(start + AT_ONCE, store.shape[0]))
            else:
                start = source.kept.start + first
                whole[3] = slice(start, min(start + AT_ONCE, store.shape[3]))
            self._block = volume, first, store[tuple(whole)]
        return self._block[2]

    def acquired(self, index: int) -> np.ndarray:
        acquired = self._acquired[self.place(index)[0]]
        if self.along == "readout":
            return acquired.copy()
        readout = self.header.matrix[0]
        stored = self.source.header.matrix[0]
        rows = stored // 2 + np.rint((np.arange(readout) - readout // 2) * stored / readout).astype(int)
        echo = self.source.echo[np.clip(rows, 0, stored - 1)]
        return np.outer(echo, acquired.any(axis=1))

    def noise(self) -> np.ndarray | None:
        noise = self.source.noise()
        if noise is None or self.along == "partition":
            return noise
        # Samples of an echo that were not acquired hold no noise, and the transform spreads what there is.
        return noise * np.float32(np.sqrt(self.source.echo.mean()))

    def noise_ratio(self, index: int) -> float:
        return self.source.noise_ratio(self.place(index)[0])

    def number(self, index: int) -> int:
        volume, place = self.place(index)
        return self.source.number(volume) * (len(self) // self.source.volumes) + place

    def require(self, indices: Iterable[int]) -> None:
        reason = self.source.refused(sorted({self.place(i)[0] for i in indices}))
        if reason is not None:
            raise InputError(f"{self.path}: {reason}")

    def _forget(self) -> None:
        self._block = None
        if self._store is not None:
            self._store[1].close()
            self._store = None

    def close(self) -> None:
        self._forget()
        for other in self._others:
            other._forget()
        self.source.close()


def _plain(source: VolumeSource) -> Header:
    """Return the header of the partitions: of the images, without readout oversampling."""
    header = source.header
    return replace(header, matrix=(header.unoversampled, header.matrix[1]), padding=source.limits[0])


def _along_readout(source: VolumeSource, acquired: np.ndarray) -> Header:
    """Return the header of the readout's positions, with that of the images as `output`."""
    images = source.header
    pixel = slice_mm = None
    if images.pixel_mm is not None and images.slice_mm is not None:
        pixel, slice_mm = (images.pixel_mm[1], images.slice_mm), images.pixel_mm[0]
    region, _ = complete_region(acquired, source.limits)
    each = images.slices // source.volumes
    return replace(
        images,
        slices=source.volumes * images.crop[0],
        matrix=(images.matrix[1], source.partitions),
        unoversampled=images.matrix[1],
        crop=(images.crop[1], each),
        pixel_mm=pixel,
        slice_mm=slice_mm,
        geometry=None,
        padding=None,
        frames=None,
        region=region,
        output=images,
    )


def _middle(size: int, wanted: int) -> slice:
    """Return which samples are the middle `wanted`; sample size//2 is their sample wanted//2."""
    start = size // 2 - wanted // 2
    return slice(start, start + wanted)


def _centred(transform: Callable[..., np.ndarray], array: np.ndarray, axis: int) -> np.ndarray:
    """Return a unitary transform along an axis whose centre is at N//2, complex64."""
    moved = transform(scipy.fft.ifftshift(array, axes=axis), axis=axis, norm="ortho", overwrite_x=True)
    return scipy.fft.fftshift(moved, axes=axis).astype(np.complex64, copy=False)


def _fill(store: Scratch, source: VolumeSource, volume: int, progress: Progress) -> None:
    """Transform k-space along the readout, without what lies outside of the field of view."""
    wanted = store.shape[0]
    total = source.header.coils * source.header.matrix[1] * source.partitions
    done = 0
    for piece in source.pieces(volume):
        stored = piece.kspace.shape[1]
        image = _centred(scipy.fft.ifft, piece.kspace, axis=1)
        start = stored // 2 - wanted // 2
        image = image[:, start : start + wanted].swapaxes(0, 1)  # (readout, coil, phase, partition)
        for some in blocks(wanted, AT_ONCE):
            store[some, piece.coils, piece.phases, piece.partitions] = image[some]
        done += image[0].size
        progress(done / total)


def _transform_partitions(store: Scratch) -> None:
    for some in blocks(store.shape[0], AT_ONCE):
        whole = (some, *(slice(0, n) for n in store.shape[1:]))
        store[whole] = _centred(scipy.fft.ifft, store[whole], axis=3)
