"""Siemens raw data (twix .dat), VB and VD to XA: Cartesian measurements, 2-D and 3-D."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.acquisitions import AcquisitionScan
from mrunfold.io.along import Acquired, AlongScan
from mrunfold.io.encoding import Encoding, Limits, Space
from mrunfold.io.trajectory import Trajectory
from mrunfold.io.twix_file import flag, looks_like_twix
from mrunfold.io.twix_heads import is_image
from mrunfold.io.twix_protocol import Protocol
from mrunfold.io.twix_readouts import TwixReadouts

__all__ = ["TwixScan", "twix_along"]

# Of the receiver's noise behind its filter, as siemens_to_ismrmrd has it for all scanners of Siemens.
NOISE_BANDWIDTH = 0.793
UNKNOWN = "oversampling and pixel size are taken as unknown"
# Counters of the two phase encodings, and of their central values.
LINE, PARTITION = ("Lin", "CenterLin"), ("Par", "CenterPar")
MOST_OVERSAMPLING, MOST_PHASE_OVERSAMPLING = 8, 4

ALONG = (
    "the file does not say where its samples lie: the trajectory is the user's, along the read and the phase "
    "direction, negated, for files of Siemens assume the other sign of the Fourier transform"
)

View = tuple[float, float, float]


class TwixScan(AcquisitionScan):
    """A twix file of Cartesian readouts, see AcquisitionScan for what becomes of them.

    measurement: as `TwixReadouts`, which finds the noise lines too.  Raises InputError for ramp-sampled EPI,
    simultaneous slices, BLADE and, without the trajectory, for what is not on the grid.
    """

    def __init__(self, path: Path, measurement: str | None = None) -> None:
        super().__init__(path, "twix")
        self._readouts = TwixReadouts(path, measurement)
        try:
            self._open()
        except BaseException:
            self._readouts.close()
            raise

    @classmethod
    def recognises(cls, path: Path, start: bytes) -> bool:
        return looks_like_twix(start)

    def _open(self) -> None:
        found = self._readouts
        self._refuse_kinds(found.protocol, found.mdh)
        notes = list(found.notes)
        encoding = _encoding(found.mdh, found.protocol, notes)
        self._sort(found.heads, lambda _: encoding, tuple(notes))

    def _refuse_kinds(self, protocol: Protocol, mdh: np.ndarray) -> None:
        mask = mdh["EvalInfoMask"]
        image = mask[is_image(mdh)]
        back = flag(image, "REFLECT")
        named = protocol.trajectory
        if named in ("radial", "spiral"):
            raise InputError(
                f"{self.path}: its trajectory is {named}, and the file does not say where samples lie; give "
                "the `trajectory`, a file of it or golden-angle, or convert it by "
                f"`siemens_to_ismrmrd -f {self.path.name} -o scan.h5`"
            )
        self._readouts.refuse(
            {
                f"its trajectory is {named}": named != "cartesian",
                "its trajectory is BLADE": bool(flag(image, "FIRST_SCAN_IN_BLADE").any()),
                "an EPI scan, sampled on the ramps of its gradients": (protocol.number("alRegridMode") or 1)
                > 1,
                "an EPI scan: lines of both readout directions and phase-correction lines": bool(
                    back.any() and not back.all() and flag(mask, "PHASCOR").any()
                ),
                "several slices measured at once (SMS)": self._readouts.together,
            }
        )

    def _rows(self, indices: np.ndarray, coils: int) -> list[np.ndarray]:
        return self._readouts.rows(indices)

    def close(self) -> None:
        self._readouts.close()


def twix_along(path: Path, measurement: str | None, given: Trajectory) -> AlongScan:
    """Open a twix file along a trajectory that the user gives: each readout of an image is an interleaf.

    The image is as large as the protocol says, unless the trajectory comes with a matrix.  Raises InputError
    for simultaneous slices.  Partitions are a stack (`AlongScan`).
    """
    found = TwixReadouts(path, measurement)
    try:
        found.refuse({"several slices measured at once (SMS)": found.together})
        base = found.protocol.whole("sKSpace", "lBaseResolution")
        if base is None and given.matrix is None:
            raise InputError(f"{path}: its protocol does not say how large the image is; give `matrix`")
        image = found.mdh[is_image(found.mdh)]
        slab, partitions = len(np.unique(image["Counter"]["Par"])) > 1, 1
        if slab:
            partitions, _ = _steps(image, PARTITION, found.protocol.whole("sKSpace", "lPartitions"))
        final, full = _views(found.protocol, 1.0, slab)
        full = None if full is None or final is None else (*final[:2], full[2])
        matrix = (
            (base or 1, base or 1) if final is None else (base or 1, round((base or 1) * final[1] / final[0]))
        )
        encoding = Encoding(
            encoded=Space((*matrix, partitions), full),
            recon=Space((*matrix, partitions), final),
            trajectory=found.protocol.trajectory,
            noise_bandwidth=NOISE_BANDWIDTH,
            contrast=found.protocol.contrast(),
            lists=found.protocol.lists(),
            siemens=True,
        )
        heads = found.heads
        acquired = Acquired(path, "twix", heads, encoding, found.rows, notes=(*found.notes, ALONG))
        return AlongScan(acquired, given)
    finally:
        found.close()


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
