"""Patient, study and frame: empty, given, or of a DICOM of the same exam, which must lie where we do."""

from __future__ import annotations

import copy
import re

import numpy as np
import pydicom
import pytest
from exported import FRAMES, make_header, random_volumes, write_result

from mrunfold.errors import InputError
from mrunfold.export import open_reconstruction
from mrunfold.export.dicom import write_dicom
from mrunfold.export.dicom_reference import from_reference, given
from mrunfold.export.run import ExportRequest, export_result

COPIED = {
    "PatientName": "Müller^Änne",
    "PatientID": "P-1",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.3.4",
    "StudyDate": "20260131",
    "StudyTime": "101112",
    "ReferringPhysicianName": "House^G",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "FrameOfReferenceUID": "1.2.3.5",
    "PositionReferenceIndicator": "XY",
}
LEFT_BEHIND = {"InstitutionName": "CANARY", "StationName": "CANARY", "DeviceSerialNumber": "CANARY"}
LEFT_BEHIND |= {"OperatorsName": "CANARY", "PatientComments": "CANARY", "StudyDescription": "CANARY"}


def scanner(folder, header=None, **changes):
    """Files as a scanner writes them, of the same slices: another matrix, an own half-pixel convention."""
    header = header or make_header((12, 10), 3, FRAMES["double oblique"])
    path = write_result(folder / "there.h5", header, random_volumes(header))
    there = folder / "scanner"
    there.mkdir()
    with open_reconstruction(path) as result:
        write_dicom(result, there, given({}))
    series = there / "001_reconstruction"
    for file in sorted(series.iterdir()):
        one = pydicom.dcmread(file)
        for keyword, value in (COPIED | LEFT_BEHIND | changes).items():
            setattr(one, keyword, value)
        one.save_as(file)
    return series


def ours(folder, **changes):
    header = make_header((12, 9), 3, **({"frame": FRAMES["double oblique"]} | changes))
    return write_result(folder / "recon.h5", header, random_volumes(header))


def copied(path, reference):
    with open_reconstruction(path) as result:
        return from_reference(reference, result.header, result.stacks)


def test_patient_study_and_frame_are_copied_and_nothing_else(tmp_path):
    reference = scanner(tmp_path)
    (tmp_path / "out").mkdir()
    export_result(ours(tmp_path), tmp_path / "out", ExportRequest(dicom=True, reference=reference))
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(files) == 7
    for file in files:
        one = pydicom.dcmread(file)
        for keyword, value in COPIED.items():
            assert str(one[keyword].value) == value, (file.parent.name, keyword)
        assert "PatientIdentityRemoved" not in one
        assert b"CANARY" not in file.read_bytes()
    for name in ("export.json", "SHA256SUMS"):  # what is not an image names nobody
        text = (tmp_path / "out" / name).read_text()
        assert not [value for value in COPIED.values() if len(value) > 2 and value in text]


def test_a_single_file_of_the_series_will_do(tmp_path):
    reference = sorted(scanner(tmp_path).iterdir())[1]
    exam = copied(ours(tmp_path), reference)
    assert exam.frame["FrameOfReferenceUID"] == "1.2.3.5"
    assert exam.identified


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"start": (12.0, -7.0, 5.5)}, "mm off along|mm apart"),
        ({"start": (12.0, 2.0, 3.0)}, "mm off along|mm apart"),
        ({"frame": FRAMES["axial"]}, "another orientation"),
        ({"step": 4.0}, "1 of 3|2 of 3"),
    ],
    ids=str,
)
def test_another_place_is_refused(tmp_path, changes, says):
    reference = scanner(tmp_path)
    with pytest.raises(InputError, match="does not agree") as caught:
        copied(ours(tmp_path, **changes), reference)
    assert re.search(says, str(caught.value))


def test_a_turn_within_the_plane_is_refused(tmp_path):
    reference = scanner(tmp_path)
    read, phase, normal = FRAMES["double oblique"]
    angle = np.deg2rad(2)
    frame = (
        np.cos(angle) * read + np.sin(angle) * phase,
        np.cos(angle) * phase - np.sin(angle) * read,
        normal,
    )
    with pytest.raises(InputError, match="turned within the plane"):
        copied(ours(tmp_path, frame=frame), reference)


def test_two_patients_or_no_dicom_are_refused(tmp_path):
    reference = scanner(tmp_path)
    path = ours(tmp_path)
    with pytest.raises(InputError, match="no DICOM file directly"):
        copied(path, tmp_path)
    with pytest.raises(InputError, match="not a DICOM file"):
        copied(path, path)
    with pytest.raises(InputError, match="no such file"):
        copied(path, tmp_path / "missing")
    file = sorted(reference.iterdir())[0]
    one = pydicom.dcmread(file)
    other = copy.deepcopy(one)
    other.PatientID = "P-2"
    other.save_as(file)
    with pytest.raises(InputError, match="differ in PatientID") as caught:
        copied(path, reference)
    assert "P-2" not in str(caught.value)
    del one.StudyInstanceUID
    one.save_as(tmp_path / "no_study.dcm")
    with pytest.raises(InputError, match="no StudyInstanceUID"):
        copied(path, tmp_path / "no_study.dcm")


def test_without_geometry_nothing_can_be_checked_and_that_is_said(tmp_path):
    reference = scanner(tmp_path)
    (tmp_path / "out").mkdir()
    path = ours(tmp_path, frame=None)
    record = export_result(path, tmp_path / "out", ExportRequest(dicom=True, reference=reference))
    assert "nothing could check" in record["notes"][0]
    one = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm")))
    assert one.PatientID == "P-1"
    assert "FrameOfReferenceUID" not in one


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        ({"PatientID": "x" * 65}, "cannot hold this PatientID"),
        ({"PatientID": "a\\b"}, "backslash"),
        ({"PatientID": "a\nb"}, "printable"),
        ({"PatientID": " "}, "printable"),
        ({"StudyDate": "31.1.2026"}, "StudyDate"),
        ({"StudyDate": "20261301"}, "StudyDate"),
        ({"StudyDate": "2026"}, "a date is YYYYMMDD"),
        ({"StudyTime": "noon"}, "StudyTime"),
        ({"StudyInstanceUID": "1.2.abc"}, "StudyInstanceUID"),
        ({"PatientSex": "X"}, "F, M, O"),
        ({"Laterality": "both"}, "L, R"),
        ({"BodyPartExamined": "PHANTOM"}, "BodyPartExamined is one of"),
        ({"InstitutionName": "x"}, "cannot be given"),
        ({"PatientsID": "x"}, "did you mean"),
    ],
    ids=str,
)
def test_what_dicom_cannot_hold_is_refused(elements, says):
    with pytest.raises(InputError, match=says):
        given(elements)


def test_given_elements_are_written(tmp_path):
    elements = {"PatientID": "Ü1", "PatientName": "山田^太郎", "BodyPartExamined": "knee", "Laterality": "r"}
    (tmp_path / "out").mkdir()
    export_result(ours(tmp_path), tmp_path / "out", ExportRequest(dicom=True, elements=elements))
    for file in (tmp_path / "out").rglob("*.dcm"):
        one = pydicom.dcmread(file)
        assert (one.PatientID, str(one.PatientName)) == ("Ü1", "山田^太郎")
        assert (one.BodyPartExamined, one.Laterality) == ("KNEE", "R")


def test_both_ways_at_once_and_a_side_of_the_head_are_refused(tmp_path):
    reference = scanner(tmp_path)
    (tmp_path / "out").mkdir()
    for request, says in (
        (ExportRequest(dicom=True, reference=reference, elements={"PatientID": "x"}), "both from"),
        (ExportRequest(dicom=True, elements={"Laterality": "L"}), "no paired body part"),
    ):
        with pytest.raises(InputError, match=says):
            export_result(ours(tmp_path), tmp_path / "out", request)
    with pytest.raises(InputError, match="add `dicom`"):
        ExportRequest(nifti=True, elements={"PatientID": "x"})
    with pytest.raises(InputError, match="nothing to write"):
        ExportRequest()
