"""A series as one multi-frame object, Enhanced MR Image Storage, beside the classic one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mrunfold.export.dicom_classes import describe_as, file_dataset
from mrunfold.export.dicom_map import UNKNOWN_DATE
from mrunfold.export.dicom_method import code
from mrunfold.export.dicom_reference import Source
from mrunfold.export.dicom_uids import content_uid
from mrunfold.io.frames import Label

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["enhanced_image"]

# SNOMED CT's codes of the body parts that a header may name; in words where nobody says.
REGIONS = {
    "ABDOMEN": ("818983003", "Abdomen"), "ANKLE": ("70258002", "Ankle"), "ARM": ("40983000", "Upper arm"),
    "BRAIN": ("12738006", "Brain"), "BREAST": ("76752008", "Breast"), "CHEST": ("816094009", "Chest"),
    "CSPINE": ("122494005", "Cervical spine"), "ELBOW": ("16953009", "Elbow"), "FOOT": ("56459004", "Foot"),
    "HAND": ("85562004", "Hand"), "HEAD": ("69536005", "Head"), "HEART": ("80891009", "Heart"),
    "HIP": ("24136001", "Hip"), "KNEE": ("72696002", "Knee"), "LEG": ("30021000", "Lower leg"),
    "LIVER": ("10200004", "Liver"), "LSPINE": ("122496007", "Lumbar spine"), "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"), "PROSTATE": ("41216001", "Prostate"),
    "SHOULDER": ("16982005", "Shoulder"), "SPINE": ("421060004", "Vertebral column"),
    "TSPINE": ("122495006", "Thoracic spine"), "WRIST": ("74670003", "Wrist"),
}  # fmt: skip
UNKNOWN = ("261665006", "Unknown")
# What of a classic image stands in a frame's own part, or in none.
PER_FRAME = (
    "PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "WindowCenter", "WindowWidth", "RealWorldValueMappingSequence",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime",
    "EchoTrainLength", "FlipAngle", "EchoNumbers", "InversionTime", "TriggerTime", "DiffusionBValue",
    "TemporalPositionIdentifier", "NumberOfTemporalPositions", "MagneticFieldStrength", "SourceImageSequence",
    "DerivationDescription",
    "SOPInstanceUID",
)  # fmt: skip


def enhanced_image(
    images: Sequence[Dataset],
    sources: Sequence[Source],
    *,
    number: int,
    series_uid: str,
    instance: int = 1,
    own: Label | None = None,
) -> Any:
    """Return one Enhanced MR object of the classic images of a series, slice by slice; all are in memory.

    Patient, study, pixels, places and windows are theirs; sources: the scanner's images that they name;
    number: its SeriesNumber; instance: number of the frame (echo, time), from 1; own: what that frame has of
    its own.  Derived images need nothing else of the pulse sequence (PS3.3 C.8.13), which raw headers do not
    hold.
    """
    import copy

    from pydicom.uid import UID, EnhancedMRImageStorage

    first = images[0]
    one = copy.deepcopy(first)
    for keyword in PER_FRAME:
        if keyword in one:
            delattr(one, keyword)
    if hasattr(one, "file_meta"):
        del one.file_meta
    one.SOPClassUID, one.InstanceNumber = EnhancedMRImageStorage, instance
    one.SeriesInstanceUID, one.SeriesNumber = UID(series_uid), number
    one.SeriesDescription = describe_as("Enhanced", first.SeriesDescription)
    one.DeviceSerialNumber = "none"
    one.ContentDate, one.ContentTime = first.StudyDate or UNKNOWN_DATE, first.StudyTime or "000000"
    one.ImageType = [*first.ImageType[:2], "VOLUME", first.ImageType[3]]
    _what(one)
    one.ApplicableSafetyStandardAgency = "NONE"  # dciodvfy wants one; nothing vouches for the acquisition
    one.PresentationLUTShape, one.ContentQualification = "IDENTITY", "RESEARCH"
    one.AcquisitionContextSequence = []
    one.NumberOfFrames = len(images)
    one.PixelData = b"".join(image.PixelData for image in images)
    one["PixelData"].VR = "OW"
    _dimensions(one, series_uid)
    one.SharedFunctionalGroupsSequence = [_shared(first, one.ImageType, own or {})]
    one.PerFrameFunctionalGroupsSequence = [_frame(image, place) for place, image in enumerate(images, 1)]
    if sources:
        one.SourceImageEvidenceSequence = _evidence(first, sources)
    return file_dataset(one, series_uid)


def _what(one: Dataset) -> None:
    """Put what a frame is into `one`: the object, and the group that says it of frames."""
    one.PixelPresentation, one.VolumetricProperties = "MONOCHROME", "VOLUME"
    one.VolumeBasedCalculationTechnique, one.ComplexImageComponent = "NONE", "MAGNITUDE"
    one.AcquisitionContrast = "UNKNOWN"


def _dimensions(one: Dataset, series_uid: str) -> None:
    """Frames are counted by their place in the stack."""
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag
    from pydicom.uid import UID

    organisation = UID(content_uid("dimensions", series_uid))
    item = Dataset()
    item.DimensionOrganizationUID = organisation
    one.DimensionOrganizationSequence = [item]
    indices = []
    for keyword in ("StackID", "InStackPositionNumber"):
        index = Dataset()
        index.DimensionOrganizationUID = organisation
        index.DimensionIndexPointer = Tag(keyword)
        index.FunctionalGroupPointer = Tag("FrameContentSequence")
        indices.append(index)
    one.DimensionIndexSequence = indices


def _group(**values: Any) -> list[Dataset]:
    """Return a sequence of one item with these values; what is None is left out."""
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(item, keyword, value)
    return [item]


def _shared(first: Dataset, kind: Sequence[str], own: Label) -> Dataset:
    from pydicom.dataset import Dataset

    shared = Dataset()
    shared.MRImageFrameTypeSequence = _group(FrameType=kind)
    _what(shared.MRImageFrameTypeSequence[0])
    shared.PixelMeasuresSequence = _group(
        PixelSpacing=first.PixelSpacing,
        SliceThickness=first.SliceThickness,
        SpacingBetweenSlices=first.get("SpacingBetweenSlices"),
    )
    shared.PlaneOrientationSequence = _group(ImageOrientationPatient=first.ImageOrientationPatient)
    region, meaning = REGIONS.get(first.BodyPartExamined, UNKNOWN)
    shared.FrameAnatomySequence = _group(
        FrameLaterality=first.get("Laterality") or "U",
        AnatomicRegionSequence=[code(region, "SCT", meaning)],
    )
    shared.FrameVOILUTSequence = _group(WindowCenter=first.WindowCenter, WindowWidth=first.WindowWidth)
    shared.PixelValueTransformationSequence = _group(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    shared.RealWorldValueMappingSequence = first.RealWorldValueMappingSequence
    for keyword, group in _settings(first, own).items():
        setattr(shared, keyword, group)
    return shared


def _settings(first: Dataset, own: Label) -> dict[str, list[Dataset]]:
    """Return the groups of the echo, and of what tells a frame from others: inversion, diffusion, TR, flip.

    The rest of these groups is required of original frames only (PS3.3 C.8.13.5); `dciodvfy` wants it of
    derived ones too, and raw headers do not hold it.  Nor do they hold the direction of a b-value: only that
    of b = 0 is known, which has none.
    """
    groups: dict[str, list[Dataset]] = {}
    if first.get("EchoTime") is not None:
        groups["MREchoSequence"] = _group(EffectiveEchoTime=float(first.EchoTime))
    if first.get("TriggerTime") is not None:
        groups["CardiacSynchronizationSequence"] = _group(
            NominalCardiacTriggerDelayTime=float(first.TriggerTime)
        )
    if own.keys() & {"TR_ms", "flip_deg"}:
        groups["MRTimingAndRelatedParametersSequence"] = _group(
            RepetitionTime=_known(own.get("TR_ms"), first, "RepetitionTime"),
            FlipAngle=_known(own.get("flip_deg"), first, "FlipAngle"),
        )
    if "TI_ms" in own:
        groups["MRModifierSequence"] = _group(InversionRecovery="YES", InversionTimes=[own["TI_ms"]])
    if "b_s_mm2" in own:
        groups["MRDiffusionSequence"] = _group(
            DiffusionBValue=own["b_s_mm2"], DiffusionDirectionality=None if own["b_s_mm2"] else "NONE"
        )
    return groups


def _known(own: float | str | None, first: Dataset, keyword: str) -> float | None:
    """Return the frame's own value, else that of the whole scan, None where neither is known."""
    value = first.get(keyword) if own is None else own
    return None if value is None else float(value)


def _frame(image: Dataset, place: int) -> Dataset:
    from pydicom.dataset import Dataset

    frame = Dataset()
    frame.FrameContentSequence = _group(
        DimensionIndexValues=[1, place], StackID="1", InStackPositionNumber=place
    )
    if (time := image.get("TemporalPositionIdentifier")) is not None:
        frame.FrameContentSequence[0].TemporalPositionIndex = int(time)
    frame.PlanePositionSequence = _group(ImagePositionPatient=image.ImagePositionPatient)
    if "SourceImageSequence" in image:
        frame.DerivationImageSequence = _group(
            DerivationDescription=image.DerivationDescription,
            DerivationCodeSequence=[code("113961", "DCM", "Reconstruction Algorithm")],
            SourceImageSequence=image.SourceImageSequence,
        )
    return frame


def _evidence(first: Dataset, sources: Sequence[Source]) -> list[Dataset]:
    """Return the images that frames name as their sources, by series: of the same study as ours."""
    series: dict[str, dict[str, str]] = {}
    for source in sources:
        series.setdefault(source.series, {})[source.instance] = source.sop_class
    items = []
    for uid, instances in series.items():
        images = [
            _group(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=instance)[0]
            for instance, sop_class in instances.items()
        ]
        items += _group(SeriesInstanceUID=uid, ReferencedSOPSequence=images)
    return _group(StudyInstanceUID=first.StudyInstanceUID, ReferencedSeriesSequence=items)
