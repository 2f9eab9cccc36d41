"""The same input gives the same files, whatever the time; one UID never has two contents."""

from __future__ import annotations

import json
import time

import pydicom
import pytest
from exported import ECHOES, FRAMES, make_header, random_volumes, write_result

from mrunfold.export.run import ExportRequest, export_result

EVERYTHING = {"dicom": True, "nifti": True, "bids": True, "suffix": "T1w", "extras": ("samples",)}
HEADERS = {
    "placed": lambda: make_header((12, 9), 3, FRAMES["double oblique"]),
    "not placed": lambda: make_header((12, 9), 3, None, acquisition="AXT2", contrast={}),
    "several stacks": lambda: make_header((12, 9), 2, localizer=True),
    "echoes": lambda: make_header((12, 9), 2, labels=ECHOES),
}


def export(path, folder, **request):
    folder.mkdir()
    export_result(path, folder, ExportRequest(**(EVERYTHING | request)))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("request_", [{}, {"enhanced": True}, {"elements": {"PatientID": "P1"}}], ids=str)
def test_every_kind_of_file_is_the_same_later(tmp_path, kind, request_):
    header = HEADERS[kind]()
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header))
    first = export(path, tmp_path / "a", **request_)
    time.sleep(1.1)  # DICOM's times have seconds
    second = export(path, tmp_path / "b", **request_)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert any(name.endswith(".dcm") for name in first)


def test_no_time_of_export_is_in_any_file(tmp_path):
    """Every date in a file is the study's, where it is given, or the one that nobody takes for a date."""
    header = HEADERS["placed"]()
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header))
    for elements, date in (({}, "19000101"), ({"StudyDate": "20260131", "StudyTime": "1112"}, "20260131")):
        folder = tmp_path / date
        export(path, folder, elements=elements)
        for file in folder.rglob("*.dcm"):
            one = pydicom.dcmread(file)
            found = [e.value for e in one.iterall() if e.VR in ("DA", "DT") and e.value]
            assert set(found) <= {date}, file


def test_what_changes_the_content_changes_the_uid(tmp_path):
    header = HEADERS["placed"]()
    volumes = random_volumes(header)
    contents: dict[str, bytes] = {}
    kinds = 0
    for number, (changes, request) in enumerate(
        [
            ({}, {}),
            ({"flags": ["simulated data"]}, {}),
            ({"mrunfold_version": "0.2.0"}, {}),
            ({"check": {"verdict": "as expected", "explained": 0.9, "sense": 1.0}}, {}),
            ({}, {"series_number": 700}),
            ({}, {"series_description": "other words"}),
            ({}, {"elements": {"StudyID": "S"}}),
            ({}, {"elements": {"BodyPartExamined": "KNEE"}}),
        ]
    ):
        folder = tmp_path / str(number)
        path = write_result(tmp_path / f"{number}.h5", header, volumes, **changes)
        files = export(path, folder, **request)
        for file in folder.rglob("*.dcm"):
            one = pydicom.dcmread(file)
            data = files[file.relative_to(folder).as_posix()]
            assert contents.setdefault(str(one.SOPInstanceUID), data) == data, (number, file)
        kinds += 1
    assert len(contents) == kinds * sum(name.endswith(".dcm") for name in files)


def test_a_second_push_after_a_second_export_has_nothing_to_send(tmp_path):
    """What was refused, with advice that led nowhere: export, push, export again, push again."""
    from mrunfold.pacs.files import find_instances

    header = HEADERS["placed"]()
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header))
    found = []
    for name in ("a", "b"):
        export(path, tmp_path / name)
        found.append({i.uid: i.digest for i in find_instances(tmp_path / name)})
        time.sleep(1.1)
    assert found[0] == found[1]
    assert json.loads((tmp_path / "a" / "export.json").read_text())
