"""DICOM datasets: MR Image Storage where the geometry is known, Secondary Capture where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export.dicom_method import (
    MANUFACTURER,
    MODEL,
    code,
    comments,
    contributing_equipment,
    derivation,
)
from mrunfold.export.dicom_reference import Exam, Source, laterality
from mrunfold.export.dicom_uids import IMPLEMENTATION_UID, content_uid
from mrunfold.export.result import PURPOSE, Reconstruction
from mrunfold.io.encoding import BODY_PARTS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "LEVELS",
    "Scale",
    "common",
    "describe",
    "describe_as",
    "file_dataset",
    "mr_image",
    "secondary",
]

LEVELS = 4095  # 12 bits stored: what viewers and converters of MR images expect
MAX_US = 65535
# Parts of the body without a face; of all others, and where nobody says, the images may show one.
FACELESS = BODY_PARTS - {"BRAIN", "HEAD", "NECK", "CSPINE", "SPINE"}
LONGEST_DESCRIPTION = 64  # of a series, LO


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


def describe(title: str, result: Reconstruction, exam: Exam) -> str:
    """Return a series' description: what it is comes first, so that nothing that tells two apart is cut.

    The user's own words stand for method and purpose, which other fields say as well.
    """
    if exam.description is not None:
        room = LONGEST_DESCRIPTION - len(title) - 2
        return f"{title}, {exam.description[:room]}"
    ends = (f", {result.method} ({PURPOSE})", f", {result.method} (research)", ", research")
    return next(title + end for end in ends if len(title + end) <= LONGEST_DESCRIPTION)


def describe_as(form: str, description: str) -> str:
    """Return the description of a series in another form, its purpose in one word where it would be cut."""
    said = f"{form}: {description}"
    if len(said) > LONGEST_DESCRIPTION:
        said = said.replace(f"({PURPOSE})", "(research)")
    return said[:LONGEST_DESCRIPTION]


def recognizable(body_part: str) -> str:
    """Return whether a person may be recognised from the images: NO only where the part is known to have no
    face."""
    return "NO" if body_part in FACELESS else "YES"


def common(
    result: Reconstruction, exam: Exam, kind: str, title: str, number: int, series_uid: str
) -> Dataset:
    """Return what all images of a series share: patient, study, equipment and what the image is.

    kind: ImageType's fourth value, one for each kind of image.
    """
    from pydicom.dataset import Dataset

    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "StudyID", "AccessionNumber",
    ):  # fmt: skip
        setattr(one, keyword, exam.elements.get(keyword, ""))
    if issuer := exam.elements.get("IssuerOfPatientID"):  # of no use without the PatientID that it issued
        one.IssuerOfPatientID = issuer
    one.StudyInstanceUID = exam.elements.get("StudyInstanceUID") or content_uid(
        "study", result.digest, exam.elements
    )
    if not exam.identified:
        one.PatientIdentityRemoved = "YES"
        one.DeidentificationMethod = "none was ever written: mrunfold reads no identity from raw data"
    one.SeriesInstanceUID, one.SeriesNumber = series_uid, number
    one.SeriesDescription = describe(title, result, exam)
    one.Modality = "MR"
    for keyword, value in laterality(result.header, exam).items():
        setattr(one, keyword, value)
    one.Manufacturer, one.ManufacturerModelName = MANUFACTURER, MODEL
    one.SoftwareVersions = f"mrunfold {result.version}"
    one.RecognizableVisualFeatures = recognizable(one.BodyPartExamined)
    one.ImageType = ["DERIVED", "PRIMARY", "OTHER", kind]
    one.DerivationDescription = derivation(result, title)
    one.ImageComments = comments(result)
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
    mapping.MeasurementUnitsCodeSequence = [code("1", "UCUM", "no units")]
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
    source: Sequence[Source] = (),
    settings: Mapping[str, float | str] | None = None,
) -> Dataset:
    """Return an MR Image Storage dataset of slice `place`; affine: (column, row, slice, 1) to LPS in mm.

    source: the scanner's images of this slice, where they are known; settings: of the scanner, those of the
    whole scan by default.
    """
    import copy

    from pydicom.uid import MRImageStorage

    one = copy.deepcopy(base)
    one.SOPClassUID, one.InstanceNumber = MRImageStorage, place + 1
    contrast = result.header.contrast if settings is None else settings
    one.PatientPosition = contrast.get("patient_position", "")
    one.FrameOfReferenceUID = exam.frame.get("FrameOfReferenceUID") or content_uid("frame", result.digest)
    one.PositionReferenceIndicator = exam.frame.get("PositionReferenceIndicator", "")
    along, down, step = (affine[:3, axis] for axis in range(3))
    spacing = [float(np.linalg.norm(v)) for v in (down, along)]  # between rows, then between columns
    one.PixelSpacing = [_ds(v) for v in spacing]
    one.ImageOrientationPatient = _direction(along) + _direction(down)
    one.ImagePositionPatient = [_ds(v) for v in affine[:3, 3] + step * place]
    normal = np.cross(along, down)  # slices of a sheared stack are not stacked along it
    between = abs(float(step @ normal)) / float(np.linalg.norm(normal))
    one.SliceThickness = _ds(result.header.slice_mm or between)
    if count > 1:
        one.SpacingBetweenSlices = _ds(between)
    if source:
        one.SourceImageSequence = [_reference(image) for image in source]
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


def _reference(source: Source) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.sop_class, source.instance
    item.PurposeOfReferenceCodeSequence = [code("121324", "DCM", "Source image")]
    return item


def file_dataset(one: Dataset, series_uid: str) -> Dataset:
    """Return the dataset ready to be written as a file, explicit little endian.

    Its instance UID is made of all that it holds: what a PACS has under one UID is never anything else.
    """
    import hashlib
    import io

    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    if "SOPInstanceUID" in one:
        del one.SOPInstanceUID
    content = io.BytesIO()
    dcmwrite(content, one, implicit_vr=False, little_endian=True, enforce_file_format=False)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    one.SOPInstanceUID = UID(content_uid("instance", series_uid, digest))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), "MRUNFOLD"
    one.file_meta = meta
    return one
