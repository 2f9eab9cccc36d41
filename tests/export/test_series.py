"""What tells series apart, whose they are and what made them: numbers, words, sources, network, check."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from exported import FRAMES, make_header, random_volumes, write_result
from test_reference import ours, scanner
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.export.result import open_reconstruction
from mrunfold.export.run import ExportRequest, export_result
from mrunfold.networks.weights import FOLDER

ALL = ("quantiles", "target", "samples")


def everything(folder, header=None, request=None, **said):
    """Export all kinds of image and return {folder name: first dataset}."""
    header = header or make_header((12, 9), 3)
    volumes = random_volumes(header)
    volumes |= dict.fromkeys(("quantile_05", "quantile_95", "target"), volumes["reconstruction"])
    path = write_result(folder / "recon.h5", header, volumes, **said)
    out = folder / "out"
    out.mkdir()
    export_result(
        path, out, ExportRequest(**({"dicom": True, "extras": ALL, "enhanced": True} | (request or {})))
    )
    return {p.name: pydicom.dcmread(min(p.iterdir())) for p in sorted((out / "dicom").iterdir())}


@pytest.mark.parametrize("method", ["unfold", "m" * 64])
def test_every_kind_of_image_has_its_own_type_and_description(tmp_path, method):
    found = everything(tmp_path, make_header((12, 9), 2, localizer=True), method=method)
    kinds = {name.split("_", 1)[1].removesuffix("_map").removesuffix("_enhanced") for name in found}
    assert len({one.ImageType[3] for one in found.values()}) == len(kinds) == 7
    descriptions = [one.SeriesDescription for one in found.values()]
    assert len(set(descriptions)) == len(found)
    assert max(map(len, descriptions)) <= 64
    whole = [one for one in descriptions if "(" in one]  # no bracket is left open: the purpose is not cut
    assert [one for one in whole if one.count("(") != one.count(")")] == []
    assert len({one.SeriesNumber for one in found.values()}) == len(found)
    assert len({one.SeriesInstanceUID for one in found.values()}) == len(found)


def test_numbers_lie_above_those_of_the_scanner(tmp_path):
    for highest, first in ((7, 1001), (999, 1001), (1000, 2001), (17021, 18001)):
        folder = tmp_path / str(highest)
        folder.mkdir()
        reference = scanner(folder, SeriesNumber=highest)
        (folder / "out").mkdir()
        export_result(ours(folder), folder / "out", ExportRequest(dicom=True, reference=reference))
        numbers = [pydicom.dcmread(f).SeriesNumber for f in (folder / "out").rglob("*.dcm")]
        assert min(numbers) == first


def test_number_and_description_can_be_given(tmp_path):
    request = {"series_number": 700, "series_description": "T2 knee, study 12"}
    found = everything(tmp_path, request=request)
    assert found["700_reconstruction"].SeriesNumber == 700
    assert found["701_std"].SeriesDescription == "Standard deviation, T2 knee, study 12"
    assert len({one.SeriesDescription for one in found.values()}) == len(found)
    for wrong in ({"series_number": 0}, {"series_description": "a\\b"}, {"series_description": " "}):
        with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
            ExportRequest(dicom=True, **wrong)


def test_a_reference_gives_issuer_and_source_images(tmp_path):
    reference = scanner(tmp_path, IssuerOfPatientID="Clinic", SeriesInstanceUID="1.2.3.9")
    (tmp_path / "out").mkdir()
    request = ExportRequest(dicom=True, reference=reference, enhanced=True)
    export_result(ours(tmp_path), tmp_path / "out", request)
    places = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, reference.iterdir())}
    seen = set()
    for file in sorted((tmp_path / "out" / "dicom" / "1001_reconstruction").iterdir()):
        one = pydicom.dcmread(file)
        assert one.IssuerOfPatientID == "Clinic"
        (item,) = one.SourceImageSequence
        there = places[item.ReferencedSOPInstanceUID]
        across = np.cross(*np.reshape([float(v) for v in one.ImageOrientationPatient], (2, 3)))
        off = np.subtract(*([float(v) for v in o.ImagePositionPatient] for o in (one, there)))
        assert abs(across @ off) < 0.01  # the same plane
        seen.add(item.ReferencedSOPInstanceUID)
    assert seen == set(places)
    whole = pydicom.dcmread(next((tmp_path / "out" / "dicom" / "1011_reconstruction_enhanced").iterdir()))
    (evidence,) = whole.SourceImageEvidenceSequence[0].ReferencedSeriesSequence
    assert evidence.SeriesInstanceUID == "1.2.3.9"
    assert {i.ReferencedSOPInstanceUID for i in evidence.ReferencedSOPSequence} == seen


def test_no_issuer_without_a_reference(tmp_path):
    assert not [one for one in everything(tmp_path).values() if "IssuerOfPatientID" in one]


@pytest.mark.parametrize(
    ("part", "said"), [("HEAD", "YES"), ("BRAIN", "YES"), ("NECK", "YES"), ("KNEE", "NO"), (None, "YES")]
)
def test_a_face_may_be_seen_where_there_is_one(tmp_path, part, said):
    contrast = {} if part is None else {"body_part": part}
    found = everything(tmp_path, make_header((12, 9), 3, contrast=contrast))
    assert {one.RecognizableVisualFeatures for one in found.values()} == {said}


def test_the_file_says_that_a_network_made_it_and_which(tmp_path):
    digest = json.loads((FOLDER / "sha256.json").read_text())["mri-compact.safetensors"]
    for one in everything(tmp_path, weights_sha256=digest).values():
        (item,) = one.ContributingEquipmentSequence
        for text in (
            item.ContributionDescription,
            one.get("DerivationDescription", item.ContributionDescription),
        ):
            assert "neural network" in text
            assert digest in text
            assert "method unfold, mri-compact" in text
        assert list(item.SoftwareVersions) == ["mrunfold 0.1.0", f"mri-compact, sha256 {digest[:12]}"]


def test_a_method_without_a_network_says_so(tmp_path):
    for one in everything(tmp_path, method="sense", weights_sha256="none").values():
        assert "no neural network" in one.ContributingEquipmentSequence[0].ContributionDescription


def test_the_verdict_of_the_check_is_in_every_file(tmp_path):
    verdict = "the data do not support 3 of 20 slices"
    check = {"verdict": verdict, "explained": 0.91234, "sense": 0.5, "slices": [1, 2]}
    words = f"{verdict} (explained 0.912, sense 0.5)"
    for one in everything(tmp_path, check=check).values():
        assert words in one.ImageComments
        assert words in one.ContributingEquipmentSequence[0].ContributionDescription
    assert json.loads((tmp_path / "out" / "export.json").read_text())["check"] == words


def test_the_verdict_is_read_from_the_run_record(tmp_path):
    header = make_header((12, 9), 3)
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header))
    for check, words in (
        (None, None),
        ({"verdict": "as expected"}, "as expected"),
        ({"verdict": "as expected", "explained": None, "sense": 1}, "as expected (sense 1)"),
    ):
        (tmp_path / "record.json").write_text(json.dumps({"check": check}))
        with open_reconstruction(path) as result:
            assert (None if result.check is None else result.check.words()) == words
    for broken in (
        "x",
        {"explained": 1},
        {"verdict": "x" * 900},
        {"verdict": "a\nb"},
        {"verdict": "a", "sense": "b"},
    ):
        (tmp_path / "record.json").write_text(json.dumps({"check": broken}))
        with pytest.raises(InputError, match="cannot be read"), open_reconstruction(path):
            pass


def test_no_map_and_enhanced_are_the_users_choice(tmp_path):
    header = make_header((12, 9), 3, FRAMES["coronal"])
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header))
    for options, ends in (
        ([], {"std_map"}),
        (["--no-map"], set()),
        (["--no-map", "--enhanced"], {"reconstruction_enhanced", "std_enhanced"}),
    ):
        out = tmp_path / "".join(["out", *options])
        done = CliRunner().invoke(main.app, ["export", str(path), "--dicom", *options, "--out", str(out)])
        assert done.exit_code == 0, done.output
        found = {p.name.split("_", 1)[1] for p in (out / "dicom").iterdir()}
        assert found - {"reconstruction", "std"} == ends
        assert CliRunner().invoke(main.app, ["export", str(out), "--check"]).exit_code == 0


def test_an_enhanced_object_holds_what_the_classic_images_hold(tmp_path):
    everything(tmp_path, make_header((12, 9), 3, FRAMES["double oblique"]))
    classic = [
        pydicom.dcmread(f) for f in sorted((tmp_path / "out" / "dicom" / "001_reconstruction").iterdir())
    ]
    whole = pydicom.dcmread(next((tmp_path / "out" / "dicom" / "011_reconstruction_enhanced").iterdir()))
    np.testing.assert_array_equal(whole.pixel_array, [one.pixel_array for one in classic])
    shared = whole.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == classic[0].PixelSpacing
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    for one, frame in zip(classic, whole.PerFrameFunctionalGroupsSequence, strict=True):
        assert frame.PlanePositionSequence[0].ImagePositionPatient == one.ImagePositionPatient
        assert orientation == one.ImageOrientationPatient
    assert whole.SOPInstanceUID not in {one.SOPInstanceUID for one in classic}
    assert shared.MREchoSequence[0].EffectiveEchoTime == float(classic[0].EchoTime)


@pytest.mark.parametrize("named", ["TE_ms", "TR_ms", "flip_deg", "TI_ms", "b_s_mm2", "trigger_ms"])
def test_each_frame_has_its_own_settings_in_classic_and_enhanced_objects(tmp_path, named):
    own = {"TE_ms": (4.5, 9.25), "TR_ms": (500.0, 800.0), "flip_deg": (5.0, 20.0), "TI_ms": (50.0, 1600.0)}
    own |= {"b_s_mm2": (0.0, 1000.0), "trigger_ms": (12.5, 80.0)}
    labels = [{"set": float(n), named: own[named][n]} for n in range(2)]
    everything(tmp_path, make_header((12, 9), 2, labels=labels))
    (first, second), (low, high) = _two_frames(tmp_path / "out" / "dicom"), own[named]
    keyword, group, inner = {
        "TE_ms": ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        "TR_ms": ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "flip_deg": ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
        "TI_ms": ("InversionTime", "MRModifierSequence", "InversionTimes"),
        "b_s_mm2": ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
        "trigger_ms": ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    }[named]
    for (classic, enhanced), value in ((first, low), (second, high)):
        assert [float(one[keyword].value) for one in classic] == [value, value]
        (shared,) = enhanced.SharedFunctionalGroupsSequence
        assert np.ravel(shared[group][0][inner].value) == value
    if named == "b_s_mm2":  # no direction is made up where there is diffusion
        groups = [one[1].SharedFunctionalGroupsSequence[0].MRDiffusionSequence[0] for one in (first, second)]
        assert [one.get("DiffusionDirectionality") for one in groups] == ["NONE", None]
    others = {"MRModifierSequence", "MRDiffusionSequence", "MRTimingAndRelatedParametersSequence"} - {group}
    assert not any(other in second[1].SharedFunctionalGroupsSequence[0] for other in others)


def _two_frames(folder):
    """The classic images, two a frame, and the Enhanced object of each of two frames."""
    classic = [pydicom.dcmread(f) for f in sorted((folder / "001_reconstruction").iterdir())]
    enhanced = [pydicom.dcmread(f) for f in sorted((folder / "011_reconstruction_enhanced").iterdir())]
    return [(classic[:2], enhanced[0]), (classic[2:], enhanced[1])]
