"""What other programs say of our files: dciodvfy, dcentvfy, dcm2niix, dcmdump, nifti_tool, BIDS."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from exported import ECHOES, FRAMES, make_header, random_volumes, write_result

from mrunfold.export.run import ExportRequest, export_result

pytestmark = pytest.mark.clinical

# What a study needs to be known of, for the validators to miss nothing.
WHO = {"PatientID": "P1", "StudyID": "S1", "StudyDate": "20260131", "StudyTime": "120000"}
# What they then say is missing where nothing was given: facts that raw data do not hold.
UNKNOWN = {
    f"Warning - Missing attribute or value that would be needed to build DICOMDIR - {name}"
    for name in ("Patient ID", "Study Date", "Study Time", "Study ID")
}


def program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip(f"no {name} on this machine; `make test-clinical` installs it")
    return found


def run(*command: str | Path) -> tuple[str, str]:
    """Return stdout and stderr; the validators' exit codes say little."""
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout, done.stderr


def complaints(validator: str, *files: Path) -> set[str]:
    lines = "\n".join(run(validator, *files)).splitlines()
    return {line for line in lines if line.startswith(("Error", "Warning"))}


def complaints_by_series(validator: str, files: Sequence[Path]) -> dict[str, set[str]]:
    """What is said of any file of a series, by its folder."""
    found: dict[str, set[str]] = {}
    for file in files:
        found.setdefault(file.parent.name, set()).update(complaints(validator, file))
    return found


# Values of ImageType of our own: the standard's list is open, and the validator remarks on it.
OWN_TERMS = ("RECONSTRUCTION", "QUANTILE_05", "QUANTILE_95", "REFERENCE", "SAMPLE_", "Safety Standard")


def remarks(found: set[str]) -> set[str]:
    """What remains of an enhanced object's complaints without the remarks on terms of our own, and without
    what is missing of original frames alone."""
    return {
        line
        for line in found
        if not (line.startswith("Warning - Unrecognized defined term") and any(t in line for t in OWN_TERMS))
        and line.strip() not in OF_ORIGINALS
    }


def export(folder: Path, header, values=None, seed=0, **request) -> Path:
    volumes = random_volumes(header, seed=seed)
    path = write_result(folder / "recon.h5", header, volumes)
    out = folder / "export"
    out.mkdir()
    request = {"dicom": True, "nifti": True, "extras": ("samples",)} | request
    export_result(path, out, ExportRequest(elements=values or {}, **request))
    return out


def with_geometry(**more):
    return make_header((12, 9), 3, **more)


TIMES = [{"repetition": n, "time_s": 12.5 * n} for n in range(2)]
EXTENDED = {
    "Warning - Attribute is not present in standard DICOM IOD - (0x0018,0x9087) FD Diffusion b-value ",
    "Warning - Dicom dataset contains attributes not present in standard DICOM IOD - this is a Standard "
    "Extended SOP Class",
}
# Groups of Enhanced MR of which dciodvfy wants what only original frames must have (PS3.3 C.8.13.5): its own
# templates say "should check FrameType" there.  Raw headers do not hold it.
OF_ORIGINALS = {
    f"Error - Missing attribute Type 1C Conditional Element=<{name}> Module=<{group}>"
    for group, names in {
        "MRModifierMacro": (
            "FlowCompensation", "FlowCompensationDirection", "ParallelAcquisition", "PartialFourier",
            "SpatialPresaturation", "SpectrallySelectedExcitation", "T2Preparation",
        ),
        "MRDiffusionMacro": ("DiffusionDirectionality",),
        "MRTimingAndRelatedParametersMacro": (
            "EchoTrainLength", "GradientEchoTrainLength", "OperatingModeSequence", "RFEchoTrainLength",
            "SpecificAbsorptionRateSequence",
        ),
    }.items()
    for name in names
}  # fmt: skip
WEIGHTINGS = [{"set": n, "b_s_mm2": 500.0 * n, "TI_ms": 100.0, "trigger_ms": 12.5} for n in range(2)]
INVERSIONS = [{"set": float(n), "TI_ms": 50.0 * (n + 1)} for n in range(2)]
FLIPS = [{"set": float(n), "flip_deg": 5.0 * (n + 1)} for n in range(2)]
HEADERS = {
    "MR, axial": lambda: with_geometry(),
    "MR, double oblique": lambda: with_geometry(frame=FRAMES["double oblique"]),
    "MR, one slice": lambda: make_header((12, 9), 1),
    "MR, no settings": lambda: with_geometry(contrast={"body_part": "HEAD"}),
    "MR, fractions": lambda: with_geometry(
        pixel_mm=(1 / 3, 2 / 3), start=(-123.4567890123, 1e-13, 98765.4321)
    ),
    "MR, echoes": lambda: make_header((12, 9), 2, labels=ECHOES),
    "MR, times": lambda: make_header((12, 9), 2, labels=TIMES),
    "MR, weightings": lambda: make_header((12, 9), 1, labels=WEIGHTINGS),
    "MR, inversions": lambda: make_header((12, 9), 2, labels=INVERSIONS),
    "MR, flip angles": lambda: make_header((12, 9), 2, labels=FLIPS),
    "MR, localizer": lambda: make_header((12, 9), 2, localizer=True),
    "SC, echoes": lambda: make_header((12, 9), 2, None, labels=ECHOES),
    "SC": lambda: make_header((12, 9), 3, None, acquisition="AXT2", contrast={}),
    "SC, no sizes": lambda: make_header((12, 9), 3, None, pixel_mm=None),
}


def classic(name: str) -> bool:
    return not name.endswith(("_map", "_enhanced"))


@pytest.mark.parametrize("kind", HEADERS)
def test_dciodvfy_has_nothing_to_say(tmp_path, kind):
    validator = program("dciodvfy")
    out = export(tmp_path, HEADERS[kind](), WHO, enhanced=True)
    files = sorted((out / "dicom").rglob("*.dcm"))
    assert any("map" in f.parent.name for f in files) == kind.startswith("MR")
    assert any("enhanced" in f.parent.name for f in files) == kind.startswith("MR")
    found = complaints_by_series(validator, files)
    if kind == "MR, weightings":  # DICOM has b-values in enhanced objects only; converters read them in these
        assert {n for n, said in found.items() if said & EXTENDED} == {n for n in found if classic(n)}
        found = {n: said - EXTENDED for n, said in found.items()}
    assert {n: said for n, said in found.items() if "enhanced" not in n and said} == {}
    errors = {line for said in found.values() for line in said if line.startswith("Error")}
    # As docs/clinical.md counts them: of TI seven, of TR and flip angle five, of a b-value one.
    assert len(errors) == {"MR, weightings": 8, "MR, inversions": 7, "MR, flip angles": 5}.get(kind, 0)
    assert {n: said for n, said in found.items() if remarks(said)} == {}


@pytest.mark.parametrize("kind", ["MR, axial", "SC"])
def test_without_patient_and_study_it_misses_only_those(tmp_path, kind):
    validator = program("dciodvfy")
    out = export(tmp_path, HEADERS[kind]())
    for file in sorted((out / "dicom").rglob("*.dcm")):
        assert complaints(validator, file) == UNKNOWN


def test_an_unknown_side_or_body_part_is_a_warning_and_no_error(tmp_path):
    validator = program("dciodvfy")
    knee = make_header((12, 9), 1, None, acquisition="CORPD_FBK", contrast={})
    (tmp_path / "a").mkdir()
    for file in sorted((export(tmp_path / "a", knee, WHO) / "dicom").rglob("*.dcm")):
        (found,) = complaints(validator, file)
        assert found.startswith("Warning")
        assert "Laterality" in found
    (tmp_path / "b").mkdir()
    out = export(tmp_path / "b", knee, WHO | {"Laterality": "L"})
    assert not [f for f in sorted((out / "dicom").rglob("*.dcm")) if complaints(validator, f)]


def test_dciodvfy_finds_what_is_wrong(tmp_path):
    validator = program("dciodvfy")
    file = next((export(tmp_path, with_geometry(), WHO) / "dicom").rglob("*.dcm"))
    one = pydicom.dcmread(file)
    del one.PatientName
    one.save_as(file)
    assert complaints(validator, file)


@pytest.mark.parametrize("kind", ["MR, axial", "SC"])
def test_dcentvfy_finds_one_patient_one_study_and_whole_series(tmp_path, kind):
    validator = program("dcentvfy")
    out = export(tmp_path, HEADERS[kind](), WHO)
    files = sorted((out / "dicom").rglob("*.dcm"))
    assert run(validator, *files) == ("", "")
    one = pydicom.dcmread(files[0])
    one.PatientName = "somebody else"
    one.save_as(files[0])
    assert run(validator, *files) != ("", "")


def test_dcmtk_reads_every_file(tmp_path):
    dump = program("dcmdump")
    out = export(tmp_path, with_geometry())
    for file in sorted((out / "dicom").rglob("*.dcm")):
        text, errors = run(dump, "--quiet", file)
        assert not errors
        assert "research, not for diagnosis" in text


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("crop", [(12, 9), (33, 40)])
def test_dcm2niix_makes_of_our_dicom_our_nifti(tmp_path, frame, crop):
    converter = program("dcm2niix")
    out = export(tmp_path, make_header(crop, 3, FRAMES[frame]))
    record = json.loads((out / "export.json").read_text())
    for facts in record["dicom"]:
        if facts["class"] != "MR Image Storage":
            continue
        theirs = tmp_path / f"theirs_{facts['folder']}"
        theirs.mkdir()
        run(converter, "-z", "n", "-b", "n", "-f", "out", "-o", theirs, out / "dicom" / facts["folder"])
        converted = nibabel.as_closest_canonical(nibabel.load(theirs / "out.nii"))
        name, draw = facts["folder"].split("_", 1)[1], None
        if name.startswith("sample"):
            name, draw = "samples", int(name.removeprefix("sample_")) - 1
        ours = nibabel.load(out / "nifti" / f"{name.replace('reconstruction', 'recon')}.nii.gz")
        ours = nibabel.as_closest_canonical(ours if draw is None else ours.slicer[..., draw])
        assert converted.shape == ours.shape
        np.testing.assert_allclose(converted.affine, ours.affine, atol=1e-4)
        step = facts["value_of_a_level"]
        np.testing.assert_allclose(converted.get_fdata() * step, ours.get_fdata(), atol=0.5001 * step)


@pytest.mark.parametrize("geometry", [True, False])
def test_nifti_tool_accepts_the_headers(tmp_path, geometry):
    tool = program("nifti_tool")
    out = export(tmp_path, with_geometry() if geometry else HEADERS["SC"]())
    for file in sorted((out / "nifti").glob("*.nii.gz")):
        text, errors = run(tool, "-check_hdr", "-check_nim", "-infiles", file)
        assert "GOOD" in text or "good" in text.lower(), text + errors
        assert "fail" not in text.lower()


@pytest.mark.parametrize("kind", ["MR, axial", "SC"])
def test_the_bids_validator_accepts_the_dataset(tmp_path, kind):
    validator = program("bids-validator-deno")
    suffix = None if kind == "SC" else "T1w"
    out = export(tmp_path, HEADERS[kind](), None, bids=True, suffix=suffix)
    text, errors = run(validator, "--json", out / "bids")
    issues = json.loads(text)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == [], errors
    # It does look: a file that BIDS has no name for is an error.
    (out / "bids" / "sub-01" / "anat" / "sub-01_nonsense.nii.gz").write_bytes(b"")
    issues = json.loads(run(validator, "--json", out / "bids")[0])["issues"]["issues"]
    assert any(issue["severity"] == "error" for issue in issues)


def test_a_reference_and_a_verdict_are_valid_too(tmp_path):
    validator, entities = program("dciodvfy"), program("dcentvfy")
    header = with_geometry()
    (tmp_path / "scanner").mkdir()
    scanner = export(tmp_path / "scanner", header, WHO | {"IssuerOfPatientID": "Clinic"}, extras=())
    path = write_result(
        tmp_path / "recon.h5", header, random_volumes(header), check={"verdict": "as expected", "sense": 0.5}
    )
    out = tmp_path / "out"
    out.mkdir()
    request = ExportRequest(dicom=True, reference=scanner / "dicom" / "001_reconstruction", enhanced=True)
    export_result(path, out, request)
    files = sorted((out / "dicom").rglob("*.dcm"))
    found = complaints_by_series(validator, files)
    assert {n: said for n, said in found.items() if remarks(said)} == {}
    assert run(entities, *files) == ("", "")
    assert any("SourceImageSequence" in pydicom.dcmread(f) for f in files)


@pytest.mark.parametrize("frame", FRAMES)
def test_dcm2niix_makes_of_an_enhanced_object_our_nifti(tmp_path, frame):
    converter = program("dcm2niix")
    out = export(tmp_path, make_header((12, 9), 3, FRAMES[frame]), enhanced=True, extras=())
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    folder = out / "dicom" / "011_reconstruction_enhanced"
    run(converter, "-z", "n", "-b", "n", "-f", "out", "-o", theirs, folder)
    converted = nibabel.as_closest_canonical(nibabel.load(theirs / "out.nii"))
    ours = nibabel.as_closest_canonical(nibabel.load(out / "nifti" / "recon.nii.gz"))
    record = json.loads((out / "export.json").read_text())
    (facts,) = [one for one in record["dicom"] if one["folder"] == folder.name]
    step = facts["value_of_a_level"]
    np.testing.assert_allclose(converted.affine, ours.affine, atol=1e-4)
    values = converted.get_fdata() * (1 if np.isclose(converted.get_fdata().max(), 4095 * step) else step)
    np.testing.assert_allclose(values, ours.get_fdata(), atol=0.5001 * step)


def test_dcmtk_draws_every_frame_of_an_enhanced_object(tmp_path):
    draw = program("dcm2pnm")
    out = export(tmp_path, with_geometry(), enhanced=True, extras=())
    (file,) = (out / "dicom" / "011_reconstruction_enhanced").iterdir()
    pictures = set()
    for frame in (1, 2, 3):
        run(draw, "--frame", str(frame), "--min-max-window", file, tmp_path / f"{frame}.pgm")
        pictures.add((tmp_path / f"{frame}.pgm").read_bytes())
    assert len(pictures) == 3


def converted(out: Path, folder: str, to: Path):
    """What dcm2niix makes of a series."""
    converter = program("dcm2niix")
    to.mkdir()
    run(converter, "-z", "n", "-b", "n", "-f", "out", "-o", to, out / "dicom" / folder)
    return nibabel.load(to / "out.nii")


@pytest.mark.parametrize("frame", ["axial", "double oblique"])
def test_dcm2niix_makes_of_the_parametric_map_our_nifti(tmp_path, frame):
    out = export(tmp_path, make_header((12, 9), 3, FRAMES[frame]), extras=())
    theirs = nibabel.as_closest_canonical(converted(out, "006_std_map", tmp_path / "theirs"))
    ours = nibabel.as_closest_canonical(nibabel.load(out / "nifti" / "std.nii.gz"))
    np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-4)
    np.testing.assert_allclose(theirs.get_fdata(), ours.get_fdata(), rtol=1e-6)


def test_dcm2niix_makes_of_secondary_captures_images_without_a_place(tmp_path):
    out = export(tmp_path, make_header((12, 9), 1, None), extras=())
    theirs = converted(out, "001_reconstruction", tmp_path / "theirs")
    levels = np.squeeze(theirs.get_fdata())
    (facts,) = [f for f in json.loads((out / "export.json").read_text())["dicom"] if f["number"] == 1]
    step = facts["value_of_a_level"]
    ours = np.squeeze(nibabel.load(out / "nifti" / "recon.nii.gz").get_fdata())
    np.testing.assert_allclose(np.sort(levels.ravel()) * step, np.sort(ours.ravel()), atol=0.5001 * step)
    assert (int(theirs.header["qform_code"]), int(theirs.header["sform_code"])) == (0, 0)
