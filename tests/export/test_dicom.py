"""DICOM series, read back: places, scales, identifiers, what they say and what they do not."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from exported import FRAMES, dicom_affine, make_header, random_volumes, write_result

from mrunfold.errors import InputError
from mrunfold.export import lps_to_ras, open_reconstruction, stacks
from mrunfold.export.dicom import write_dicom
from mrunfold.export.dicom_reference import given

MR, SC = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


def export(path, out, extras=(), values=None):
    """Write and read back: {folder name: datasets}."""
    out.mkdir()
    with open_reconstruction(path) as result:
        facts = write_dicom(result, out, given(values or {}), extras=extras)
    found = {p.name: [pydicom.dcmread(f) for f in sorted(p.iterdir())] for p in sorted(out.iterdir())}
    assert set(found) == {one["folder"] for one in facts}
    return found


def values(one) -> np.ndarray:
    return one.pixel_array * one.RealWorldValueMappingSequence[0].RealWorldValueSlope


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("crop", [(12, 9), (11, 14)])
def test_every_pixel_lies_where_the_nifti_affine_has_it(tmp_path, frame, crop):
    header = make_header(crop, 3, FRAMES[frame])
    volumes = random_volumes(header)
    path = write_result(tmp_path / "recon.h5", header, volumes)
    (stack,) = stacks(header, range(3))
    to_voxel = np.linalg.inv(lps_to_ras(stack.lps)) @ np.diag([-1.0, -1, 1, 1])
    series = export(path, tmp_path / "d")["001_reconstruction"]
    assert len(series) == 3
    seen = np.zeros(volumes["reconstruction"].shape)
    for one in series:
        assert one.SOPClassUID == MR
        rows, columns = one.pixel_array.shape
        c, r = np.meshgrid(np.arange(columns), np.arange(rows))
        place = dicom_affine(one) @ np.stack([c.ravel(), r.ravel(), np.ones(c.size)])
        voxel = to_voxel @ np.vstack([place, np.ones(c.size)])
        np.testing.assert_allclose(voxel, voxel.round(), atol=1e-3)
        x, y, z, _ = voxel.round().astype(int)
        ours = np.asarray(
            [volumes["reconstruction"][stack.slices[k], i, j] for i, j, k in zip(x, y, z, strict=True)]
        )
        quantum = one.RealWorldValueMappingSequence[0].RealWorldValueSlope
        np.testing.assert_allclose(values(one).ravel(), ours, atol=quantum * 0.5001)
        seen[z, x, y] += 1
    assert (seen == 1).all()


def test_images_are_turned_for_the_reader(tmp_path):
    for name in FRAMES:
        header = make_header((12, 9), 2, FRAMES[name])
        path = write_result(tmp_path / f"{name}.h5", header, random_volumes(header))
        one = export(path, tmp_path / name)["001_reconstruction"][0]
        along, down, _ = dicom_affine(one).T
        if abs(np.cross(along, down)[0]) > 0.5 * np.linalg.norm(np.cross(along, down)):  # sagittal
            assert along[1] > 0
        else:
            assert along[0] > 0  # the patient's left is on the reader's right
        assert down[1] > 0 or down[2] < 0


def test_without_geometry_a_secondary_capture_has_no_place(tmp_path):
    header = make_header((12, 9), 2, None, acquisition="AXT2", contrast={})
    volumes = random_volumes(header)
    found = export(write_result(tmp_path / "recon.h5", header, volumes), tmp_path / "d")
    assert set(found) == {"001_reconstruction", "002_std"}  # a parametric map needs places
    one = found["001_reconstruction"][0]
    assert one.SOPClassUID == SC
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "FrameOfReferenceUID",
        "SliceLocation",
    ):
        assert keyword not in one
    assert [float(v) for v in one.PixelSpacing] == [0.7, 0.9]
    quantum = one.RealWorldValueMappingSequence[0].RealWorldValueSlope
    np.testing.assert_allclose(values(one), volumes["reconstruction"][0], atol=quantum * 0.5001)
    assert (
        "PixelSpacing"
        not in export(
            write_result(tmp_path / "b.h5", make_header((12, 9), 2, None, pixel_mm=None), volumes),
            tmp_path / "b",
        )["001_reconstruction"][0]
    )


def test_series_to_be_compared_share_one_scale_and_window(tmp_path):
    header = make_header((12, 9), 2)
    volumes = random_volumes(header)
    volumes["sample_02"] *= 1.5
    path = write_result(tmp_path / "recon.h5", header, volumes)
    found = export(path, tmp_path / "d", extras=["samples"])
    alone = export(path, tmp_path / "alone")
    slopes = {
        name: {
            (one.RealWorldValueMappingSequence[0].RealWorldValueSlope, one.WindowCenter, one.WindowWidth)
            for one in series
        }
        for name, series in found.items()
        if not name.endswith("map")
    }
    assert slopes["001_reconstruction"] == slopes["101_sample_01"] == slopes["102_sample_02"]
    assert len(slopes["001_reconstruction"]) == 1
    assert slopes["002_std"] != slopes["001_reconstruction"]
    assert max(one.pixel_array.max() for one in found["102_sample_02"]) == 4095
    # What else is exported must not change an image, or its identifier would say another thing.
    assert [o.SOPInstanceUID for o in alone["001_reconstruction"]] == [
        o.SOPInstanceUID for o in found["001_reconstruction"]
    ]


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_any_scale_fits_windows_and_decimal_strings(tmp_path, scale):
    header = make_header((12, 9), 1)
    volumes = random_volumes(header, scale=scale)
    found = export(write_result(tmp_path / "recon.h5", header, volumes), tmp_path / "d")
    one = found["001_reconstruction"][0]
    assert float(one.WindowWidth) >= 1
    quantum = one.RealWorldValueMappingSequence[0].RealWorldValueSlope
    np.testing.assert_allclose(values(one)[::, ::], values(one))
    assert values(one).max() == pytest.approx(
        max(v.max() for n, v in volumes.items() if n != "std"), rel=0.05
    )
    assert quantum > 0
    (shown,) = found["006_std_map"]
    np.testing.assert_array_equal(np.sort(shown.pixel_array.ravel()), np.sort(volumes["std"].ravel()))


def test_one_bright_pixel_and_no_pixel_at_all_have_windows(tmp_path):
    header = make_header((12, 9), 1)
    empty = np.zeros((1, 12, 9), np.float32)
    spike = empty.copy()
    spike[0, 3, 4] = 5
    for name, volume in (("empty", empty), ("spike", spike)):
        path = write_result(tmp_path / f"{name}.h5", header, {"reconstruction": volume, "std": empty})
        (one,) = export(path, tmp_path / name)["001_reconstruction"]
        assert float(one.WindowWidth) >= 1
        np.testing.assert_allclose(values(one).max(), volume.max())


def test_decimal_strings_keep_to_sixteen_characters(tmp_path):
    contrast = {
        "TR_ms": 1 / 3,
        "TE_ms": 1e-7 / 3,
        "flip_deg": 90.123456789012345,
        "field_T": 2.8936200141906734,
    }
    header = make_header(
        (12, 9), 2, FRAMES["double oblique"], start=(-123.4567890123, 1e-13, 98765.4321012345),
        pixel_mm=(1 / 3, 2 / 3), contrast=contrast,
    )  # fmt: skip
    out = tmp_path / "d"
    export(write_result(tmp_path / "recon.h5", header, random_volumes(header)), out)
    for file in sorted(out.rglob("0*.dcm")):
        for element in pydicom.dcmread(file).iterall():
            if element.VR == "DS" and element.value not in (None, ""):
                numbers = element.value if element.VM > 1 else [element.value]
                assert all(len(str(number)) <= 16 for number in numbers), element


def test_more_rows_than_dicom_can_count_are_refused(tmp_path):
    header = make_header((65536, 1), 1)
    path = write_result(tmp_path / "recon.h5", header, {"reconstruction": np.ones((1, 65536, 1), np.float32)})
    with pytest.raises(InputError, match="at most 65535 rows"):
        export(path, tmp_path / "d")


def uids(found) -> list[tuple[str, str]]:
    return [(one.SeriesInstanceUID, one.SOPInstanceUID) for series in found.values() for one in series]


def test_identifiers_follow_content(tmp_path):
    header = make_header((12, 9), 2)
    volumes = random_volumes(header)
    first = export(write_result(tmp_path / "a.h5", header, volumes), tmp_path / "a", ["samples"])
    again = export(write_result(tmp_path / "b.h5", header, volumes), tmp_path / "b", ["samples"])
    assert uids(first) == uids(again)
    assert len({u for pair in uids(first) for u in pair}) == sum(len(s) + 1 for s in first.values())
    for file in sorted((tmp_path / "a").rglob("*.dcm")):
        if "map" not in file.parent.name:  # whose content date is the time of export
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()
    assert all(u.startswith("2.25.") and len(u) <= 64 for pair in uids(first) for u in pair)
    study = first["001_reconstruction"][0].StudyInstanceUID
    assert {one.StudyInstanceUID for series in first.values() for one in series} == {study}


@pytest.mark.parametrize(
    "change",
    [
        {"pixel": 1e-7},
        {"weights_sha256": "ef" * 32},
        {"input_sha256": "12" * 32},
        {"mrunfold_version": "0.2.0"},
        {"method": "sense"},
        {"flags": ["something was found"]},
        {"patient": {"PatientID": "P"}},
        {"header": {"start": (12.0, -7.0, 3.001)}},
        {"header": {"pixel_mm": (0.7, 0.91)}},
    ],
    ids=str,
)
def test_whatever_changes_an_image_changes_its_identifiers(tmp_path, change):
    volumes = random_volumes(make_header((12, 9), 2))
    before = export(write_result(tmp_path / "a.h5", make_header((12, 9), 2), volumes), tmp_path / "a")
    header = make_header((12, 9), 2, **change.get("header", {}))
    for name in ("reconstruction", "std"):
        volumes[name][:, 5, 5] += change.get("pixel", 0.0)
    attributes = {k: v for k, v in change.items() if k not in ("pixel", "patient", "header")}
    path = write_result(tmp_path / "b.h5", header, volumes, **attributes)
    after = export(path, tmp_path / "b", values=change.get("patient"))
    assert not {u for pair in uids(before) for u in pair} & {u for pair in uids(after) for u in pair}


def test_what_the_images_say(tmp_path):
    header = make_header((12, 9), 2)
    flags = ["the data are simulated"]
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header), flags=flags)
    found = export(path, tmp_path / "d", ["samples"])
    assert set(found) == {"001_reconstruction", "002_std", "006_std_map", "101_sample_01", "102_sample_02"}
    for series in found.values():
        for one in series:
            assert one.ImageType[0] == "DERIVED"
            assert "research, not for diagnosis" in one.ManufacturerModelName  # anonymisers leave this one
            assert "research, not for diagnosis" in one.ContributingEquipmentSequence[0].ManufacturerModelName
            for word in ("cd" * 32, "ab" * 32, "unfold", "poisson", '"samples": 4', "0.1.0"):
                assert word in one.DerivationDescription, word
            assert "simulated" in one.ImageComments
            assert (one.PatientName, one.PatientID, one.PatientBirthDate, one.StudyDate) == ("", "", "", "")
            assert one.PatientIdentityRemoved == "YES"
    one = found["001_reconstruction"][0]
    assert (one.RepetitionTime, one.EchoTime, one.FlipAngle, one.MagneticFieldStrength) == (
        3000,
        101.5,
        150,
        2.89,
    )
    assert (one.PatientPosition, one.BodyPartExamined, one.SliceThickness) == ("HFS", "HEAD", 5)
    assert one.SpacingBetweenSlices == 6
    (shown,) = found["006_std_map"]
    assert (shown.SOPClassUID, shown.ContentQualification) == (PARAMETRIC_MAP, "RESEARCH")
    assert shown.ImageType[3] == "STD_DEVIATION"


def test_the_parametric_map_holds_the_values_at_their_places(tmp_path):
    header = make_header((12, 9), 3, FRAMES["double oblique"])
    volumes = random_volumes(header)
    found = export(write_result(tmp_path / "recon.h5", header, volumes), tmp_path / "d")
    (shown,) = found["006_std_map"]
    integer = {tuple(map(float, o.ImagePositionPatient)): o for o in found["002_std"]}
    assert shown.FrameOfReferenceUID == found["002_std"][0].FrameOfReferenceUID
    for frame, image in zip(shown.PerFrameFunctionalGroupsSequence, shown.pixel_array, strict=True):
        position = tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient))
        one = integer[position]
        quantum = one.RealWorldValueMappingSequence[0].RealWorldValueSlope
        np.testing.assert_allclose(values(one), image, atol=quantum * 0.5001)
        assert image.max() in volumes["std"]
    orientation = shown.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert list(orientation) == list(found["002_std"][0].ImageOrientationPatient)


def test_a_gap_makes_two_series_of_one_scale(tmp_path):
    header = make_header((12, 9), 4)
    header.geometry.positions[2:] -= [0, 0, 20.0]
    found = export(write_result(tmp_path / "recon.h5", header, random_volumes(header)), tmp_path / "d")
    assert {"001_reconstruction", "1001_reconstruction", "006_std_map", "1006_std_map"} <= set(found)
    both = found["001_reconstruction"] + found["1001_reconstruction"]
    assert len(both) == 4
    assert len({one.RealWorldValueMappingSequence[0].RealWorldValueSlope for one in both}) == 1
    assert len({one.FrameOfReferenceUID for one in both}) == 1


def test_what_is_not_there_cannot_be_asked_for(tmp_path):
    header = make_header((12, 9), 1)
    volumes = {"reconstruction": random_volumes(header)["reconstruction"]}
    path = write_result(tmp_path / "recon.h5", header, volumes)
    for extra, says in (("samples", "keep_samples=True"), ("target", "full data"), ("sample", "choose from")):
        with pytest.raises(InputError, match=says):
            export(path, tmp_path / extra, [extra])
