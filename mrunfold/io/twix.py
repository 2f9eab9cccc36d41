"""Siemens raw data (twix .dat), VB and VD to XA: Cartesian measurements, 2-D and 3-D."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.acquisitions import AcquisitionScan
from mrunfold.io.encoding import Encoding, Limits, Space
from mrunfold.io.twix_file import Measurement, TwixFile, flag, looks_like_twix
from mrunfold.io.twix_heads import heads_of, is_image, slice_numbers
from mrunfold.io.twix_protocol import Protocol

__all__ = ["TwixScan"]

# Of the receiver's noise behind its filter, as siemens_to_ismrmrd has it for all scanners of Siemens.
NOISE_BANDWIDTH = 0.793
UNKNOWN = "oversampling and pixel size are taken as unknown"
# Counters of the two phase encodings, and of their central values.
LINE, PARTITION = ("Lin", "CenterLin"), ("Par", "CenterPar")
MOST_OVERSAMPLING, MOST_PHASE_OVERSAMPLING = 8, 4

View = tuple[float, float, float]


class TwixScan(AcquisitionScan):
    """A twix file of Cartesian readouts, see AcquisitionScan for what becomes of them.

    measurement: which of a multi-raid file's, counted from 1; None: the last that has images.  Noise lines
    are those of the measurement itself, else of the last one before it that has some of the same coils.
    Raises InputError for ramp-sampled EPI, simultaneous slices, BLADE and non-Cartesian trajectories, and for
    files that are damaged.
    """

    def __init__(self, path: Path, measurement: str | None = None) -> None:
        super().__init__(path, "twix")
        self._file = TwixFile(path)
        try:
            self._open(measurement)
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def recognises(cls, path: Path, start: bytes) -> bool:
        return looks_like_twix(start)

    def _open(self, measurement: str | None) -> None:
        count = len(self._file.extents)
        which, images = self._chosen(measurement)
        protocol = Protocol(self.path, images.protocol)
        self._refuse_kinds(protocol, images.mdh)
        heads = heads_of(images.mdh, protocol)
        heads["idx.slice"] = slice_numbers(heads, protocol, is_image(images.mdh))
        self._parts = [images]
        self._starts = np.array([0, len(images)])
        notes: list[str] = []
        if count > 1:
            notes.append(f"the file holds {count} measurements: {which + 1} is read; --measurement chooses")
        if not flag(images.mdh["EvalInfoMask"], "NOISEADJSCAN").any():
            self._borrow_noise(which, heads, notes)
        encoding = _encoding(images.mdh, protocol, notes)
        self._sort(heads, lambda _: encoding, tuple(notes))

    def _chosen(self, wanted: str | None) -> tuple[int, Measurement]:
        """Return the number, from 0, and the measurement to read."""
        count = len(self._file.extents)
        known = wanted is None or (re.fullmatch(r"[0-9]{1,3}", wanted) and 1 <= int(wanted) <= count)
        if not known:
            raise InputError(f"{self.path}: no measurement {str(wanted)[:40]!r}; it holds 1 to {count}")
        for which in reversed(range(count)) if wanted is None else [int(wanted) - 1]:
            found = self._file.measurement(which)
            if is_image(found.mdh).any():
                return which, found
        where = f"none of its {count} measurements has" if wanted is None else f"measurement {wanted} lacks"
        raise InputError(f"{self.path}: {where} readouts of an image; choose another measurement or file")

    def _refuse_kinds(self, protocol: Protocol, mdh: np.ndarray) -> None:
        mask = mdh["EvalInfoMask"]
        image = mask[is_image(mdh)]
        back = flag(image, "REFLECT")
        together = protocol.yaps("sSliceAcceleration", "lMultiBandFactor") or 1
        found = {
            f"its trajectory is {protocol.trajectory}": protocol.trajectory != "cartesian",
            "its trajectory is BLADE": flag(image, "FIRST_SCAN_IN_BLADE").any(),
            "an EPI scan, sampled on the ramps of its gradients": (protocol.number("alRegridMode") or 1) > 1,
            "an EPI scan: lines of both readout directions and phase-correction lines": back.any()
            and not back.all()
            and flag(mask, "PHASCOR").any(),
            "several slices measured at once (SMS)": together > 1 or flag(mask, "SLICE_ACCEL_REFSCAN").any(),
        }
        kind = next((text for text, is_so in found.items() if is_so), None)
        if kind is not None:
            raise InputError(
                f"{self.path}: {kind}, which is not read here; for programs that read it, "
                f"`siemens_to_ismrmrd -f {self.path.name} -o scan.h5` converts it"
            )

    def _borrow_noise(self, which: int, heads: dict[str, np.ndarray], notes: list[str]) -> None:
        """Append noise lines of an earlier measurement to the headers, and remember where they lie."""
        images = self._parts[0]
        first = int(np.flatnonzero(is_image(images.mdh))[0])
        coils = self._file.channel_ids(images, first)
        for earlier in reversed(range(which)):
            found = self._file.measurement(earlier)
            numbers = np.flatnonzero(flag(found.mdh["EvalInfoMask"], "NOISEADJSCAN"))
            numbers = numbers[found.mdh["UsedChannels"][numbers] == len(coils)]
            if not len(numbers):
                continue
            if self._file.channel_ids(found, int(numbers[0])) != coils:
                notes.append(f"the noise scan of measurement {earlier + 1} is of other coils and left out")
                continue
            noise = replace(found, mdh=found.mdh[numbers], place=found.place[numbers])
            for name, values in heads_of(noise.mdh, Protocol(self.path, found.protocol)).items():
                heads[name] = np.concatenate([heads[name], values])
            self._parts.append(noise)
            self._starts = np.append(self._starts, len(heads["flags"]))
            notes.append(f"noise is known from measurement {earlier + 1}")
            return

    def _rows(self, indices: np.ndarray, coils: int) -> list[np.ndarray]:
        rows = []
        for number in indices.tolist():
            part = int(np.searchsorted(self._starts, number, side="right")) - 1
            row = self._file.samples(self._parts[part], number - int(self._starts[part]))
            rows.append(np.ascontiguousarray(row, np.complex64))
        return rows

    def close(self) -> None:
        self._file.close()


def _encoding(mdh: np.ndarray, protocol: Protocol, notes: list[str]) -> Encoding:
    """Return the encoding of a measurement's images, as siemens_to_ismrmrd writes it.

    What was measured wins over the protocol: programmable sequences leave sizes of another scan in it.
    """
    image = mdh[is_image(mdh)]
    base = protocol.whole("sKSpace", "lBaseResolution")
    columns, columns_told = _columns(image, protocol, base)
    lines, lines_told = _steps(image, LINE, protocol.whole("sKSpace", "lPhaseEncodingLines"))
    slab = len(np.unique(image["Counter"]["Par"])) > 1  # what was measured, whatever the protocol says
    partitions, slab_told = 1, True
    if slab:
        partitions, slab_told = _steps(image, PARTITION, protocol.whole("sKSpace", "lPartitions"))
    final = full = None
    if base is None or not (columns_told and lines_told and slab_told):
        size = f"{columns}×{lines}" + (f"×{partitions}" if slab else "")
        notes.append(f"its protocol describes another matrix than the measured {size}: {UNKNOWN}")
        base = columns
    else:
        final, full = _views(protocol, columns / base, slab)
    return Encoding(
        encoded=Space((columns, lines, partitions), full),
        recon=Space((base, lines, partitions), final),
        step1=_limits(image, LINE, protocol.number("iNoOfFourierLines")),
        step2=_limits(image, PARTITION, protocol.number("iNoOfFourierPartitions")) if slab else None,
        noise_bandwidth=NOISE_BANDWIDTH,
        contrast=protocol.contrast(),
        lists=protocol.lists(),
        siemens=True,
        calibration=protocol.calibration,
    )


def _limits(image: np.ndarray, counter: tuple[str, str], told: float | None) -> Limits | None:
    """Return the limits of a phase encoding, None where its centre was not set: 0 is no centre."""
    centre = int(np.bincount(image[counter[1]]).argmax())
    measured = max(int(told or 0), int(image["Counter"][counter[0]].max()) + 1)
    # The middle is taken then, unless k-space shows another.
    return Limits(0, measured - 1, centre) if centre else None


def _views(protocol: Protocol, oversampling: float, slab: bool) -> tuple[View | None, View | None]:
    """Return the fields of view (readout, phase, slice) in mm of image and k-space, None if unknown.

    slab: of a 3-D scan, whose thickness is the image's; k-space has slice oversampling.
    """
    names = ("dReadoutFOV", "dPhaseFOV", "dThickness")
    sides = [protocol.positive("sSliceArray", "asSlice", 0, name) for name in names]
    known = [side for side in sides if side is not None]
    if len(known) < len(names):
        return None, None
    read, phase, thick = known
    over = protocol.number("phaseOversampling") or 0.0
    over = over if 0 < over <= MOST_PHASE_OVERSAMPLING else 0.0
    above = protocol.positive("sKSpace", "dSliceOversamplingForDialog") or 0.0
    above = above if slab and above <= MOST_PHASE_OVERSAMPLING else 0.0
    return (read, phase, thick), (read * oversampling, phase * (1 + over), thick * (1 + above))


def _columns(image: np.ndarray, protocol: Protocol, base: int | None) -> tuple[int, bool]:
    """Return how many samples a whole readout has, and whether the protocol says so too."""
    samples, centre = image["SamplesInScan"].astype(int), image["CenterCol"].astype(int)
    centre = np.where(flag(image["EvalInfoMask"], "REFLECT"), samples - 1 - centre, centre)
    most = int(samples.max())
    # Up to one sample may fall out at each end: turned round, an even readout's centre moves by one.
    about = 2 * int(np.maximum(centre, samples - centre).max()) - 2
    factor = protocol.number("flReadoutOSFactor")
    if base is not None and factor is not None and 0 < factor <= MOST_OVERSAMPLING:
        told = round(base * factor)
        asymmetric = about > most  # a partial echo: fewer samples than columns, the centre off their middle
        if told == most or (asymmetric and most < told and about <= told + 2):
            return told, True
    return max(most, about), False


def _steps(image: np.ndarray, counter: tuple[str, str], told: int | None) -> tuple[int, bool]:
    """Return how many steps a phase encoding has, and whether the protocol, which has `told`, says so too."""
    told = told or 0
    line, centre = image["Counter"][counter[0]].astype(int), image[counter[1]].astype(int)
    needed = int(np.ptp(line)) + 1
    if not centre.any():
        return needed, told == needed
    away = line - centre
    needed = max(2 * -int(away.min()), 2 * int(away.max()) + 1, needed)
    return max(told, needed), told >= needed
