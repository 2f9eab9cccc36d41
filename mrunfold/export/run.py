"""An output of `recon` or `batch` → a folder of DICOM, NIfTI and BIDS, what is in it and its checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mrunfold.errors import InputError
from mrunfold.export.dicom import chosen, write_dicom
from mrunfold.export.dicom_reference import Exam, from_reference, given
from mrunfold.export.manifest import write_sums
from mrunfold.export.record import versions, write_json
from mrunfold.export.result import PURPOSE, Reconstruction, open_reconstruction
from mrunfold.export.volumes import bids_suffix, write_bids, write_volumes
from mrunfold.extras import require
from mrunfold.io import sha256_of
from mrunfold.registry import Registry

__all__ = ["EXPORTED", "EXPORTERS", "ExportRequest", "check_request", "export_result"]

MOST_SERIES = 1_000_000_000  # an integer string ends at 2³¹ − 1, and samples and stacks are counted above
# What an export folder holds: only such a folder is ever replaced.
EXPORTED = (
    "dicom/*.dcm", "nifti/*.nii.gz", "nifti/*.json", "bids/*.nii.gz", "bids/*.json", "bids/README.md",
    "export.json", "SHA256SUMS",
)  # fmt: skip


EXPORTERS = Registry("exporter", "mrunfold.exporters", {})


def _folder(name: str) -> str:
    return name.rpartition(":")[2]


@dataclass(frozen=True)
class ExportRequest:
    """What to write, and whose it is.

    extras: of `dicom.EXTRAS`; elements: DICOM elements of patient, study and body part by keyword, given by
    the user; reference: a DICOM of the same exam to take patient, study and frame from; subject, suffix: of
    BIDS; maps: Parametric Maps too; enhanced: Enhanced MR objects too; series_number: of the reconstruction,
    others follow, None: 1, or above those of the reference; series_description: words for all series instead
    of method and purpose; others: exporters of other packages by name, or package.module:name, each called
    with the Reconstruction and a new folder for its files.
    """

    dicom: bool = False
    nifti: bool = False
    bids: bool = False
    extras: tuple[str, ...] = ()
    elements: Mapping[str, str] = field(default_factory=dict)
    reference: Path | None = None
    subject: str = "01"
    suffix: str | None = None
    maps: bool = True
    enhanced: bool = False
    series_number: int | None = None
    series_description: str | None = None
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.dicom or self.nifti or self.bids or self.others):
            raise InputError("nothing to write: ask for `dicom`, `nifti` or `bids`")
        if self.dicom:
            require("pydicom", "highdicom", what="DICOM")
        for name in self.others:
            EXPORTERS.load(name)
        if (self.elements or self.reference) and not self.dicom:
            raise InputError("patient and study are written to DICOM only; add `dicom`")
        given(self.elements)
        if self.series_number is not None and not 1 <= self.series_number <= MOST_SERIES:
            raise InputError(f"`series_number` is 1 to {MOST_SERIES}, got {self.series_number}")
        words = self.series_description
        if words is not None and (not words.strip() or not words.isprintable() or "\\" in words):
            raise InputError("`series_description` is one line of printable characters without a backslash")

    @property
    def written(self) -> tuple[str, ...]:
        """What the folder will hold: only a folder of such files is ever replaced."""
        return (*EXPORTED, *(f"{_folder(name)}/*" for name in self.others))


def _exam(result: Reconstruction, request: ExportRequest) -> Exam:
    exam = given(request.elements)
    if request.reference is None:
        return _with_numbers(exam, request)
    if exam.elements:
        raise InputError(
            f"{', '.join(exam.elements)} would come both from `reference` and from `elements`; choose one"
        )
    copied = from_reference(request.reference, result.header, result.stacks)
    return _with_numbers(replace(copied, part=exam.part), request)


def _with_numbers(exam: Exam, request: ExportRequest) -> Exam:
    above = exam.above if request.series_number is None else request.series_number - 1
    return replace(exam, above=above, description=request.series_description)


def check_request(result: Reconstruction, request: ExportRequest) -> Exam:
    """Return whose the images are, or raise InputError for what cannot be written, before anything is."""
    chosen(result, request.extras)
    if request.bids:
        bids_suffix(result, request.suffix)
    return _exam(result, request)


def export_result(
    source: Path | str,
    folder: Path,
    request: ExportRequest,
    progress: Callable[[float, int], None] | None = None,
) -> dict[str, Any]:
    """Write what `request` asks for into `folder`, with export.json and SHA256SUMS, and return the record.

    source: a `recon` folder, its recon.h5 or a `batch` volume; progress: called with (DICOM slices done, in
    all).  `folder` must exist; whoever gives it makes it appear whole or not at all.  The record names no
    patient and no study.  Raises InputError as `check_request` does and where the source is damaged.
    """
    with open_reconstruction(source) as result:
        exam = check_request(result, request)
        record: dict[str, Any] = {
            "purpose": PURPOSE,
            "mrunfold": versions(["mrunfold"])["mrunfold"],
            "source_sha256": sha256_of(result.path),
            "raw_sha256": result.digest,
            "geometry": "unknown" if result.header.geometry is None else "known",
            "notes": [] if exam.note is None else [exam.note],
        }
        if result.check is not None:
            record["check"] = result.check.words()
        if request.dicom:
            (folder / "dicom").mkdir()
            how: dict[str, Any] = {
                "extras": request.extras,
                "maps": request.maps,
                "enhanced": request.enhanced,
            }
            record["dicom"] = write_dicom(result, folder / "dicom", exam, progress=progress, **how)
        if request.nifti:
            (folder / "nifti").mkdir()
            record["nifti"] = write_volumes(result, folder / "nifti", request.extras)
        if request.bids:
            (folder / "bids").mkdir()
            how = {"subject": request.subject, "suffix": request.suffix, "extras": request.extras}
            record["bids"] = write_bids(result, folder / "bids", **how)
        for name in request.others:
            own = folder / _folder(name)
            own.mkdir()
            EXPORTERS.load(name)(result, own)
            record[own.name] = sorted(p.relative_to(own).as_posix() for p in own.rglob("*") if p.is_file())
    write_json(folder / "export.json", record)
    write_sums(folder)
    return record
