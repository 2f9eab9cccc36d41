"""Headers of twix readouts as those of ISMRMRD acquisitions: their counters, flags and places."""

from __future__ import annotations

import numpy as np

from mrunfold.io.mrd_heads import FLAGS
from mrunfold.io.twix_file import flag
from mrunfold.io.twix_protocol import Protocol

__all__ = ["heads_of", "is_image", "slice_numbers"]

# Flags of ISMRMRD by those of Siemens; all but calibration and reversal keep a readout out of the image.
MEANING = {
    "noise": ("NOISEADJSCAN",),
    "calibration": ("PATREFSCAN",),
    "calibration and imaging": ("PATREFANDIMASCAN",),
    "reverse": ("REFLECT",),
    "navigation": ("noname60", "MDH_VOP", "B1_CONTROLLOOP", "CT_NORMALIZE"),
    "phase correction": ("PHASCOR", "SLICE_ACCEL_PHASCOR"),
    "feedback": ("HPFEEDBACK",),
    "real-time feedback": ("RTFEEDBACK",),
    "dummy scan": ("RETRO_DUMMYSCAN",),
    "phase stabilisation reference": ("REFPHASESTABSCAN",),
    "phase stabilisation": ("PHASESTABSCAN",),
}
IMAGING = ("calibration", "calibration and imaging", "reverse")
NOT_IMAGE = tuple(name for key, names in MEANING.items() if key not in IMAGING for name in names)
SIZES = {
    "number_of_samples": "SamplesInScan", "active_channels": "UsedChannels", "center_sample": "CenterCol",
}  # fmt: skip
COUNTERS = {
    "kspace_encode_step_1": "Lin", "kspace_encode_step_2": "Par", "slice": "Sli", "average": "Ave",
    "repetition": "Rep", "phase": "Phs", "set": "Set", "contrast": "Eco",
}  # fmt: skip
NOISE_READOUT_US = 1e6 / 130  # noise lines are measured with 130 Hz a sample
NEAR_MM = 0.05  # header and readouts round positions
# A line before the first one of the image has a counter below zero, which is stored without its sign.
NEGATIVE = 1 << 15


def is_image(mdh: np.ndarray) -> np.ndarray:
    """Return which readouts are of an image, bool (readout,)."""
    mask = mdh["EvalInfoMask"]
    calibrates_only = flag(mask, "PATREFSCAN") & ~flag(mask, "PATREFANDIMASCAN")
    return ~flag(mask, *NOT_IMAGE) & ~calibrates_only


def heads_of(mdh: np.ndarray, protocol: Protocol) -> dict[str, np.ndarray]:
    """Return the fields of ISMRMRD's acquisition headers (`mrd_heads.read_heads`) of twix readouts.

    Lines are counted so that the central one, which each readout names, is the same for all.  The columns of
    the quaternion's rotation are the directions phase, read and slice in LPS.  Dwell times of noise lines are
    those of siemens_to_ismrmrd.
    """
    mask, counter = mdh["EvalInfoMask"], mdh["Counter"]
    heads: dict[str, np.ndarray] = {"flags": np.zeros(len(mdh), np.uint64)}
    for name, theirs in MEANING.items():
        heads["flags"] |= flag(mask, *theirs).astype(np.uint64) << np.uint64(FLAGS[name] - 1)
    for name, field in SIZES.items():
        heads[name] = mdh[field].astype(np.int64)
    heads["discard_pre"], heads["discard_post"] = (mdh["CutOff"][n].astype(np.int64) for n in ("Pre", "Post"))
    for name in ("encoding_space_ref", "trajectory_dimensions"):
        heads[name] = np.zeros(len(mdh), np.int64)
    for name, field in COUNTERS.items():
        heads[f"idx.{name}"] = counter[field].astype(np.int64)
    heads["idx.segment"] = counter["Seg"].astype(np.int64)
    heads["acquisition_time_stamp"] = mdh["TimeStamp"].astype(np.int64)
    heads["physiology_time_stamp"] = mdh["PMUTimeStamp"].astype(np.int64)[:, None]
    image = is_image(mdh)
    for step, centre in (("kspace_encode_step_1", "CenterLin"), ("kspace_encode_step_2", "CenterPar")):
        heads[f"idx.{step}"] = _about_one(heads[f"idx.{step}"], mdh[centre].astype(np.int64), image)
    dwell = np.full(len(mdh), (protocol.positive("sRXSPEC", "alDwellTime", 0) or 0.0) / 1000)
    of_noise = protocol.noise_dwell_us or NOISE_READOUT_US / np.maximum(heads["number_of_samples"], 1)
    heads["sample_time_us"] = np.where(flag(mask, "NOISEADJSCAN"), of_noise, dwell)
    place = mdh["SliceData"]["SlicePos"]
    heads["position"] = np.stack([place[axis] for axis in ("Sag", "Cor", "Tra")], axis=1)
    directions = _rotations(mdh["SliceData"]["Quaternion"].astype(np.float64))
    for column, name in enumerate(("phase_dir", "read_dir", "slice_dir")):
        heads[name] = directions[:, :, column]
    return heads


def _about_one(step: np.ndarray, centre: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return counters shifted so that the central one is that of most image lines."""
    if not image.any():
        return step
    values, counts = np.unique(centre[image], return_counts=True)
    signed = np.where(step >= NEGATIVE, step - 2 * NEGATIVE, step)
    return signed - centre + values[np.argmax(counts)]


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """Return the rotations (readout, 3, 3) of quaternions (readout, 4), real part first; zeros of none."""
    from scipy.spatial.transform import Rotation

    unit = np.abs(np.linalg.norm(quaternions, axis=1) - 1) < 1e-3
    found = np.zeros((len(unit), 3, 3))
    if unit.any():
        found[unit] = Rotation.from_quat(quaternions[unit][:, [1, 2, 3, 0]]).as_matrix()
    return found


def slice_numbers(heads: dict[str, np.ndarray], protocol: Protocol, image: np.ndarray) -> np.ndarray:
    """Return each readout's slice in the protocol's order, (readout,): the counter has that of measurement.

    A slice is the one of the protocol that lies where its readouts say; where that does not decide, the list
    chronSliceIndices does; without it the counter stays.
    """
    counter = heads["idx.slice"]
    found = np.unique(counter[image])
    positions = _positions(protocol)
    order: dict[int, int] = {}
    for number in found.tolist():
        here = heads["position"][image & (counter == number)][0]
        near = np.flatnonzero(np.linalg.norm(positions - here, axis=1) < NEAR_MM)
        if len(near) == 1:
            order[number] = int(near[0])
    if len(set(order.values())) < len(found):
        listed = [int(n) for n in protocol.numbers("chronSliceIndices")]
        order = {n: listed[n] for n in found.tolist() if n < len(listed) and listed[n] >= 0}
    if len(set(order.values())) < len(found):
        return counter
    return np.array([order.get(int(n), int(n)) for n in counter], np.int64)


def _positions(protocol: Protocol) -> np.ndarray:
    """Return the centres of the protocol's slices, (slice, 3) in mm; a coordinate that is not named is 0."""
    found: list[list[float]] = []
    names = ("dSag", "dCor", "dTra")
    while protocol.positive("sSliceArray", "asSlice", n := len(found), "dThickness") is not None:
        found.append([protocol.yaps("sSliceArray", "asSlice", n, "sPosition", name) or 0.0 for name in names])
    return np.array(found).reshape(-1, 3)
