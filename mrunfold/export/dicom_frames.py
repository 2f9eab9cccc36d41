"""What DICOM's classic images say of frames: echo, time, trigger, inversion and diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrunfold.io.frames import TIME, Frames

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["say_frame"]

# Elements of a frame's own values; the echo time is set with the scanner's other settings.
ELEMENTS = {"TI_ms": "InversionTime", "trigger_ms": "TriggerTime", "b_s_mm2": "DiffusionBValue"}
OTHERS = ("set", "diffusion")  # counters that are neither time nor echo


def say_frame(one: Dataset, frames: Frames | None, frame: int) -> None:
    """Write which frame an image is of; each number is counted from 1 over the values that frames have.

    Echoes are EchoNumbers, repetitions and cardiac phases TemporalPositionIdentifier (PS3.3 C.8.3.1), and
    sets and diffusion weightings, which DICOM has no number for, AcquisitionNumber.
    """
    if frames is None:
        return
    label = frames.labels[frame]
    for key, keyword in ELEMENTS.items():
        if key in label:
            setattr(one, keyword, round(float(label[key]), 6))
    if "TI_ms" in label:  # PS3.3 C.8.3.1 allows an inversion time and a trigger time only beside these
        one.ScanningSequence = ["RM", "IR"]
    if "trigger_ms" in label:
        one.ScanOptions = "CG"
    for names, keyword in (
        (("contrast",), "EchoNumbers"),
        (TIME, "TemporalPositionIdentifier"),
        (OTHERS, "AcquisitionNumber"),
    ):
        keys = [tuple(la.get(name, 0) for name in names) for la in frames.labels]
        known = sorted(set(keys))
        if len(known) > 1:
            setattr(one, keyword, known.index(keys[frame]) + 1)
            if keyword == "TemporalPositionIdentifier":
                one.NumberOfTemporalPositions = len(known)
