"""An uncertainty map as a DICOM Parametric Map: float32 as computed, all slices in one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrunfold.export.dicom_classes import Scale, describe_as, file_dataset
from mrunfold.export.dicom_method import MANUFACTURER, MODEL, contributing_equipment
from mrunfold.export.dicom_uids import content_uid
from mrunfold.export.result import Reconstruction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["parametric_map"]

UNKNOWN_DATE = "19000101"  # where no study date is known; nobody takes it for one


def parametric_map(
    result: Reconstruction,
    sources: Sequence[Dataset],
    values: np.ndarray,
    *,
    title: str,
    number: int,
    series_uid: str,
    scale: Scale,
    instance: int = 1,
) -> Any:
    """Return the Parametric Map of `values` float32 (slice, row, column); the whole volume is in memory.

    sources: the MR images, without pixels, of the series that the map belongs to, slice by slice: patient,
    study and places are theirs; instance: number of the frame (echo, time), from 1.  highdicom sorts frames
    by position.  Nothing depends on the time.
    """
    import highdicom
    from highdicom import pm
    from pydicom.sr.coding import Code

    top = float(values.max())
    mapping = pm.RealWorldValueMapping(
        lut_label="magnitude",
        lut_explanation=title[:64],
        unit=Code("1", "UCUM", "no units"),
        value_range=(0.0, top if top > 0 else 1.0),
        slope=1.0,
        intercept=0.0,
    )
    centre, width = (value * scale.factor for value in scale.window)
    one = pm.ParametricMap(
        source_images=list(sources),
        pixel_array=np.ascontiguousarray(values, np.float32),
        series_instance_uid=series_uid,
        series_number=number,
        sop_instance_uid=content_uid("instance", series_uid),  # `file_dataset` makes it of the content
        instance_number=instance,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=f"mrunfold {result.version}",
        device_serial_number="none",
        contains_recognizable_visual_features=sources[0].RecognizableVisualFeatures == "YES",
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            # LINEAR demands a width of at least 1, and magnitudes may be 1e-5.
            highdicom.VOILUTTransformation(centre, width, voi_lut_function="LINEAR_EXACT")
        ],
        content_label="STD_DEVIATION",
        content_description=result.titled(title)[:64],
        image_flavor=pm.ImageFlavorValues.VOLUME,
        derived_pixel_contrast=pm.DerivedPixelContrastValues.STD_DEVIATION,
    )
    _settle(one, result, sources[0], series_uid, title)
    return file_dataset(one, series_uid)


def _settle(one: Any, result: Reconstruction, source: Dataset, series_uid: str, title: str) -> None:
    """Replace what highdicom draws at random, and add what it does not write."""
    organisation = content_uid("dimensions", series_uid)
    for sequence in (one.DimensionOrganizationSequence, one.DimensionIndexSequence):
        for item in sequence:
            item.DimensionOrganizationUID = organisation
    # DICOM demands a date here.  The time of export would put two contents under one UID.
    one.ContentDate = source.StudyDate or UNKNOWN_DATE
    one.ContentTime = source.StudyTime or "000000"
    for keyword in (
        "SeriesDate", "SeriesTime", "InstanceCreationDate", "InstanceCreationTime", "TimezoneOffsetFromUTC",
    ):  # fmt: skip
        if keyword in one:
            delattr(one, keyword)
    for keyword in ("SeriesDescription", "DerivationDescription", "ImageComments"):
        setattr(one, keyword, source[keyword].value)
    for keyword in (
        "PatientIdentityRemoved", "DeidentificationMethod", "BodyPartExamined", "Laterality",
        "IssuerOfPatientID",
    ):  # fmt: skip
        if keyword in source:
            setattr(one, keyword, source[keyword].value)
    one.SeriesDescription = describe_as("Map, float", source.SeriesDescription)
    one.ContributingEquipmentSequence = [contributing_equipment(result, title)]
