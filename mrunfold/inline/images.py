"""MRD images of what was reconstructed: pixels, place, counters, and what is said of them as attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrunfold import __version__
from mrunfold.export.result import PURPOSE
from mrunfold.inline.arrivals import Pile
from mrunfold.inline.configurations import Configuration
from mrunfold.inline.reconstruct import Reconstructed
from mrunfold.io.frames import COUNTERS, frame_words
from mrunfold.io.scan import Header

__all__ = ["MEAN_SERIES", "STD_SERIES", "mrd_images"]

MEAN_SERIES, STD_SERIES = 1, 2
WINDOW_QUANTILE = 0.995  # of the pixels that are not zero: that grey value is white
COUNTED = ("slice", "contrast", "phase", "repetition", "set")
MOST_INDEX = 0xFFFF  # MRD counts images in 16 bits


def mrd_images(
    made: Reconstructed, pile: Pile, configuration: Configuration, varying: frozenset[str] = frozenset()
) -> list[Any]:
    """Return one MRD image, or two with the standard deviation, float32 (1, partition, phase, readout).

    varying: counters of which the scan's header announces several values.  MRD's x is the readout.  Where the
    scan has no geometry the directions are zero, and the meta attributes say so.
    """
    found = [_image(made.image, MEAN_SERIES, made, pile)]
    about = _about(made, pile, configuration, varying)
    found[0].meta = _meta(made.image, about, made.header, "reconstruction")
    if made.std is not None:
        found.append(_image(made.std, STD_SERIES, made, pile))
        of_std = about | {"Origin": str(made.uncertainty)}
        found[1].meta = _meta(made.std, of_std, made.header, "standard deviation")
    return found


def _image(pixels: np.ndarray, series: int, made: Reconstructed, pile: Pile) -> Any:
    import ismrmrd

    head = ismrmrd.AcquisitionHeader.from_buffer_copy(pile.first.head)
    image = ismrmrd.Image.from_array(np.ascontiguousarray(pixels.swapaxes(-2, -1)[None]))
    image.measurement_uid = head.measurement_uid
    image.acquisition_time_stamp = head.acquisition_time_stamp
    image.physiology_time_stamp[:] = head.physiology_time_stamp[:]
    image.patient_table_position[:] = head.patient_table_position[:]
    image.image_type = ismrmrd.IMTYPE_MAGNITUDE
    image.image_series_index = series
    image.image_index = min(pile.number + 1, MOST_INDEX)
    for name in COUNTED:
        setattr(image, name, pile.label[name])
    _placed(image, pixels.shape, made)
    return image


def _placed(image: Any, shape: tuple[int, ...], made: Reconstructed) -> None:
    header = made.header
    if header.pixel_mm is not None:
        thick = (header.slice_mm or 0.0) * shape[0]
        image.field_of_view[:] = (shape[1] * header.pixel_mm[0], shape[2] * header.pixel_mm[1], thick)
    if header.geometry is None:
        image.position[:] = image.read_dir[:] = image.phase_dir[:] = image.slice_dir[:] = (0.0, 0.0, 0.0)
        return
    # Of a volume the place is its middle's: partition N//2.
    one = header.geometry.take([made.index + shape[0] // 2])
    image.position[:] = one.positions[0].tolist()
    for name, axis in (("read_dir", one.read), ("phase_dir", one.phase), ("slice_dir", one.normal)):
        getattr(image, name)[:] = np.asarray(axis, float).tolist()


def _about(
    made: Reconstructed, pile: Pile, configuration: Configuration, varying: frozenset[str]
) -> dict[str, Any]:
    """Return the meta attributes that all images of a pile share; values are texts."""
    label = {name: float(pile.label[name]) for name in COUNTERS if name in pile.label and name in varying}
    check = made.check
    about: dict[str, Any] = {
        "DataRole": "Image",
        "ImageProcessingHistory": ["mrunfold", configuration.settings.method],
        "ResearchNote": PURPOSE,
        "Verdict": str(check["verdict"]),
        "Protocol": configuration.name,
        "ProtocolDigest": configuration.digest,
        "Version": __version__,
        "Method": configuration.settings.method,
        "Weights": str(made.method.get("weights_sha256", "none")),
    }
    shares = [one for one in check["slices"].values() if "explained" in one]
    if shares:
        worst = min(shares, key=lambda one: one["explained"])
        about |= {"ExplainedOfHeldOut": f"{worst['explained']:.4f}", "OfIt_SENSE": f"{worst['sense']:.4f}"}
    if label:
        about["Frame"] = frame_words(label)
    if made.flags:
        about["Notes"] = list(made.flags)
    return about


def _meta(pixels: np.ndarray, about: Mapping[str, Any], header: Header, what: str) -> Any:
    import ismrmrd

    shown = pixels[pixels > 0]
    white = float(np.quantile(shown, WINDOW_QUANTILE)) if shown.size else 1.0
    meta = {
        **about,
        "Quantity": what,
        "ImageComments": f"{PURPOSE}; {what}; check: {about['Verdict']}",
        "SequenceDescriptionAdditional": "mrunfold" if what == "reconstruction" else "mrunfold_SD",
        "WindowCenter": f"{white / 2:.6g}",
        "WindowWidth": f"{white:.6g}",
    }
    if header.geometry is None:
        meta["Placed"] = "no: the scan has no directions"
    else:
        meta["Keep_image_geometry"] = "1"
    return ismrmrd.Meta(meta)
