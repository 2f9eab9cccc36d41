"""DICOM datasets: MR Image Storage where the geometry is known, Secondary Capture where it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export.dicom_reference import Exam, laterality
from mrunfold.export.dicom_uids import IMPLEMENTATION_UID, content_uid
from mrunfold.export.record import to_json
from mrunfold.export.result import PURPOSE, Reconstruction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "LEVELS",
    "Scale",
    "common",
    "contributing_equipment",
    "file_dataset",
    "mr_image",
    "secondary",
]

LEVELS = 4095  # 12 bits stored: what viewers and converters of MR images expect
MAX_US = 65535
MODEL = f"mrunfold: {PURPOSE}"
MANUFACTURER = "Open source"  # dcm2niix and others read vendors from it; it must be none


@dataclass(frozen=True)
class Scale:
    """How a series stores values: value = factor × stored; window: (centre, width) in stored values."""

    factor: float
    window: tuple[float, float]


def _ds(value: float) -> Any:
    """Return a decimal string of at most 16 characters; InputError where the value is not finite."""
    from pydicom.valuerep import DSfloat

    if not np.isfinite(value):
        raise InputError("DICOM cannot hold a value that is not finite; the file's header is damaged")
    return DSfloat(float(value), auto_format=True)


def _direction(vector: np.ndarray) -> list[Any]:
    """Return a direction as decimal strings; 1e-17 in it is noise, and so is −0."""
    return [_ds(round(float(value), 9) + 0.0) for value in vector / np.linalg.norm(vector)]


def _derivation(result: Reconstruction, title: str) -> str:
    weights = f", weights sha256 {result.weights_sha256}" if result.weights_sha256 else ""
    text = (
        f"{PURPOSE}. {title}, by mrunfold {result.version}, method {result.method}{weights}, from raw data "
        f"sha256 {result.digest}, magnitude {result.kind}, mask {result.mask['kind']}, parameters "
    ) + re.sub(r"\s+", " ", to_json(result.parameters))
    return text.replace("\\", "/")[:1024]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def contributing_equipment(result: Reconstruction, title: str) -> Dataset:
    """Return the item that says what made the image: software, weights, parameters, purpose."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code("109102", "DCM", "Processing Equipment")]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = MODEL
    item.SoftwareVersions = f"mrunfold {result.version}"
    item.ContributionDescription = _derivation(result, title)
    return item


def common(result: Reconstruction, exam: Exam, title: str, number: int, series_uid: str) -> Dataset:
    """Return what all images of a series share: patient, study, equipment and what the image is."""
    from pydicom.dataset import Dataset

    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "StudyID", "AccessionNumber",
    ):  # fmt: skip
        setattr(one, keyword, exam.elements.get(keyword, ""))
    one.StudyInstanceUID = exam.elements.get("StudyInstanceUID") or content_uid(
        "study", result.digest, exam.elements
    )
    if not exam.identified:
        one.PatientIdentityRemoved = "YES"
        one.DeidentificationMethod = "none was ever written: mrunfold reads no identity from raw data"
    one.SeriesInstanceUID, one.SeriesNumber = series_uid, number
    one.SeriesDescription = f"{title}, {result.method} ({PURPOSE})"[:64]
    one.Modality = "MR"
    for keyword, value in laterality(result.header, exam).items():
        setattr(one, keyword, value)
    one.Manufacturer, one.ManufacturerModelName = MANUFACTURER, MODEL
    one.SoftwareVersions = f"mrunfold {result.version}"
    one.ImageType = ["DERIVED", "PRIMARY", "OTHER", "NONE"]
    one.DerivationDescription = _derivation(result, title)
    one.ImageComments = "; ".join((PURPOSE, *result.flags)).replace("\\", "/")[:10240]
    one.BurnedInAnnotation, one.LossyImageCompression = "NO", "00"
    one.ContributingEquipmentSequence = [contributing_equipment(result, title)]
    return one


def _pixels(one: Dataset, stored: np.ndarray, scale: Scale, title: str) -> None:
    """Put a uint16 image (row, column) into the dataset, with window and the factor to its values."""
    from pydicom.dataset import Dataset

    if max(stored.shape) > MAX_US:
        raise InputError(f"DICOM images have at most {MAX_US} rows and columns, got {stored.shape}")
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows, one.Columns = stored.shape
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.add_new(0x7FE00010, "OW", np.ascontiguousarray(stored, "<u2").tobytes())
    one.WindowCenter, one.WindowWidth = (_ds(value) for value in scale.window)
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, LEVELS
    mapping["RealWorldValueFirstValueMapped"].VR = mapping["RealWorldValueLastValueMapped"].VR = "US"
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, scale.factor
    mapping.LUTExplanation, mapping.LUTLabel = title[:64], "magnitude"
    mapping.MeasurementUnitsCodeSequence = [_code("1", "UCUM", "no units")]
    one.RealWorldValueMappingSequence = [mapping]


def mr_image(
    base: Dataset,
    result: Reconstruction,
    exam: Exam,
    stored: np.ndarray,
    affine: np.ndarray,
    place: int,
    count: int,
    scale: Scale,
    title: str,
) -> Dataset:
    """Return an MR Image Storage dataset of slice `place`; affine: (column, row, slice, 1) to LPS in mm."""
    import copy

    from pydicom.uid import MRImageStorage

    one = copy.deepcopy(base)
    one.SOPClassUID, one.InstanceNumber = MRImageStorage, place + 1
    contrast = result.header.contrast
    one.PatientPosition = contrast.get("patient_position", "")
    one.FrameOfReferenceUID = exam.frame.get("FrameOfReferenceUID") or content_uid("frame", result.digest)
    one.PositionReferenceIndicator = exam.frame.get("PositionReferenceIndicator", "")
    along, down, step = (affine[:3, axis] for axis in range(3))
    spacing = [float(np.linalg.norm(v)) for v in (down, along)]  # between rows, then between columns
    one.PixelSpacing = [_ds(v) for v in spacing]
    one.ImageOrientationPatient = _direction(along) + _direction(down)
    one.ImagePositionPatient = [_ds(v) for v in affine[:3, 3] + step * place]
    between = float(np.linalg.norm(step))
    one.SliceThickness = _ds(result.header.slice_mm or between)
    if count > 1:
        one.SpacingBetweenSlices = _ds(between)
    one.ScanningSequence, one.SequenceVariant, one.ScanOptions = "RM", "NONE", ""
    one.MRAcquisitionType = "2D"
    for keyword, key in (("RepetitionTime", "TR_ms"), ("EchoTime", "TE_ms")):
        setattr(one, keyword, _ds(float(contrast[key])) if key in contrast else None)
    one.EchoTrainLength = None
    for keyword, key in (("FlipAngle", "flip_deg"), ("MagneticFieldStrength", "field_T")):
        if key in contrast:
            setattr(one, keyword, _ds(float(contrast[key])))
    _pixels(one, stored, scale, title)
    return one


def secondary(
    base: Dataset, result: Reconstruction, stored: np.ndarray, place: int, scale: Scale, title: str
) -> Dataset:
    """Return a Secondary Capture dataset of slice `place`: no position, no orientation, no frame."""
    import copy

    from pydicom.uid import SecondaryCaptureImageStorage

    one = copy.deepcopy(base)
    one.SOPClassUID, one.InstanceNumber = SecondaryCaptureImageStorage, place + 1
    one.ConversionType = "WSD"
    if result.header.pixel_mm is not None:  # as stored: rows follow the readout
        one.PixelSpacing = [_ds(v) for v in result.header.pixel_mm]
    one.PatientOrientation = ""
    _pixels(one, stored, scale, title)
    return one


def file_dataset(one: Dataset, sop_uid: str) -> Dataset:
    """Return the dataset ready to be written as a file, explicit little endian, with its instance UID."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    one.SOPInstanceUID = UID(sop_uid)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = one.SOPClassUID, UID(sop_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), "MRUNFOLD"
    one.file_meta = meta
    return one
