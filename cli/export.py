"""`mrunfold export`: a reconstruction as DICOM, NIfTI and BIDS."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.export.run import ExportRequest

__all__ = ["export"]


def export(
    result: Annotated[Path, typer.Argument(help="Folder of `recon`, its recon.h5, or a volume of `batch`.")],
    dicom: Annotated[bool, typer.Option("--dicom", help="MR images, or Secondary Capture; maps.")] = False,
    nifti: Annotated[bool, typer.Option("--nifti", help="NIfTI with JSON sidecars.")] = False,
    bids: Annotated[bool, typer.Option("--bids", help="A BIDS derivative dataset.")] = False,
    other: Annotated[
        list[str] | None,
        typer.Option("--as", help="An exporter of another package, or package.module:name; repeatable."),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option("--with", help="quantiles, target or samples; may be repeated.")
    ] = None,
    patient_id: Annotated[str | None, typer.Option(help="PatientID; empty if not given.")] = None,
    set_element: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another element of patient or study, StudyDate=20260131; repeatable."),
    ] = None,
    from_dicom: Annotated[
        Path | None,
        typer.Option(help="A DICOM, or folder, of the same exam: its patient, study and frame."),
    ] = None,
    no_map: Annotated[
        bool, typer.Option("--no-map", help="No Parametric Map, for a PACS that does not take any.")
    ] = False,
    enhanced: Annotated[
        bool, typer.Option("--enhanced", help="Each series as one Enhanced MR object too.")
    ] = False,
    series_number: Annotated[
        int | None, typer.Option(help="SeriesNumber of the reconstruction; others follow it.")
    ] = None,
    series_description: Annotated[
        str | None, typer.Option(help="SeriesDescription, after what the series shows.")
    ] = None,
    subject: Annotated[str, typer.Option(help="BIDS subject label.")] = "01",
    suffix: Annotated[str | None, typer.Option(help="BIDS contrast: T1w, T2w, PDw, FLAIR, T2starw.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, <result>_export if none.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether an export's files are as they were written.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write a reconstruction as DICOM, NIfTI or BIDS, with checksums.

    Nothing of the raw header but scanner settings and geometry is written.
    Example: mrunfold export scan_unfold --dicom --nifti
    """
    from mrunfold.cli.console import note
    from mrunfold.export.manifest import check_sums
    from mrunfold.export.run import ExportRequest

    if check:
        note(f"{result}: all {check_sums(result)} files are as they were written", quiet)
        return
    request = ExportRequest(
        dicom, nifti, bids, tuple(extra or ()), _elements(patient_id, set_element or []), from_dicom,
        subject, suffix, not no_map, enhanced, series_number, series_description, tuple(other or ()),
    )  # fmt: skip
    _write(result, request, out, overwrite, quiet)


def _write(result: Path, request: ExportRequest, out: Path | None, overwrite: bool, quiet: bool) -> None:
    from mrunfold.cli.console import slice_progress
    from mrunfold.export.result import open_reconstruction
    from mrunfold.export.run import check_request, export_result
    from mrunfold.io.folder import check_target, result_folder

    final = (out or _beside(result)).absolute()
    check_target(final, overwrite, request.written)
    with open_reconstruction(result) as opened:
        check_request(opened, request)
    with slice_progress(quiet) as progress, result_folder(final, overwrite, request.written) as folder:
        record = export_result(result, folder, request, progress)
    if not quiet:
        _report(record, request, out or _beside(result))


def _beside(result: Path) -> Path:
    named = result.parent if result.name == "recon.h5" else result
    name = named.absolute().name.removesuffix(".h5")
    return named.parent / f"{name}_export" if named.name else Path(f"{name}_export")


def _elements(patient_id: str | None, pairs: list[str]) -> dict[str, str]:
    """Return {"StudyDate": "20260131"} for ["StudyDate=20260131"], with --patient-id among them."""
    elements = {} if patient_id is None else {"PatientID": patient_id}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key in elements:
            raise InputError(f"--set takes KEYWORD=VALUE, each keyword once, got {key}")
        elements[key] = value
    return elements


def _report(record: dict[str, Any], request: ExportRequest, folder: Path) -> None:
    """Print what was written, and what could not be known."""
    from mrunfold.cli.console import print_table

    rows = [("folder", str(folder))]
    for one in record.get("dicom", []):
        rows.append((f"dicom/{one['folder']}", f"{one['class']}, {one['title']}"))
    rows += [("nifti", name) for name in record.get("nifti", [])]
    rows += [("bids", name) for name in record.get("bids", [])]
    for other in request.others:
        name = other.rpartition(":")[2]
        rows += [(name, f"{name}/{file}") for file in record[name]]
    if record["geometry"] == "unknown":
        rows.append(("note", "the raw file has no geometry: nothing says where the images lie"))
    rows += [("note", text) for text in record["notes"]]
    rows.append(("check", f"mrunfold export {shlex.quote(str(folder))} --check"))
    print_table(rows)
