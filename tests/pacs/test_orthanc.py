"""The round trip through Orthanc, in its own network namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dicomfiles import write_series
from exported import FRAMES, make_header, random_volumes, write_result

from mrunfold.export.run import ExportRequest, export_result

pytestmark = pytest.mark.clinical

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")

SCRIPT = Path(__file__).with_name("orthanc.py")
SAME = {"missing": [], "extra": [], "datasets_differ": [], "pixels_differ": [], "count": 9}


def export(folder: Path) -> Path:
    """An export of reconstruction, standard deviation, map and Enhanced MR."""
    header = make_header((24, 18), 3, FRAMES["double oblique"])
    path = write_result(folder / "recon.h5", header, random_volumes(header))
    out = folder / "exported"
    out.mkdir()
    export_result(path, out, ExportRequest(dicom=True, enhanced=True))
    return out


@pytest.fixture(scope="module")
def results(tmp_path_factory, certificate, alone):
    folder = tmp_path_factory.mktemp("orthanc")
    series = write_series(folder / "series", 9)
    exported = export(folder)
    done = subprocess.run(
        [*alone, sys.executable, str(SCRIPT), str(folder), str(series), str(exported), str(certificate[0])],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("way", ["store", "stow"])
def test_round_trip(results, way):
    if way not in results:
        pytest.skip("Orthanc has no DICOMweb plugin: apt-get install orthanc-dicomweb")
    found = results[way]
    assert found["first"] == 9
    assert found["after_first"] == SAME
    # The same again changes nothing.
    assert found["resend"] == 9
    assert found["after_resend"] == SAME


@pytest.mark.parametrize("way", ["store", "stow"])
def test_a_server_that_is_killed_in_the_middle(results, way):
    if way not in results:
        pytest.skip("Orthanc has no DICOMweb plugin: apt-get install orthanc-dicomweb")
    found = results[way]
    assert found["patient"] == 9
    assert found["after_patient"] == SAME
    assert "3 of 9 files are stored" in found["error"]
    assert found["resumed"] == [3, 6]
    assert found["after_resumed"] == SAME


@pytest.mark.parametrize("way", ["store", "stow"])
def test_verify_asks_orthanc_and_orthanc_commits(results, way):
    if way not in results:
        pytest.skip("Orthanc has no DICOMweb plugin: apt-get install orthanc-dicomweb")
    found = results[way]["verified"]
    count = found["first"][2]
    commits = count if way == "store" else 0  # by DICOMweb there is no storage commitment
    assert found["first"] == [True, commits, 9]
    assert found["second"] == [0, True, commits]
    assert found["stored"] == SAME
    (said,) = found["after_a_loss"][2]
    assert found["after_a_loss"][:2] == [1, True]
    assert "1 files that the list names were not there: sent again" in said
    if way == "store":
        (no_port,), (unknown,) = found["no_port"], found["unknown"]
        assert "did not answer within 1 s" in no_port
        assert "commitment_port" in no_port
        assert "storage commitment" in unknown


@pytest.mark.parametrize("way", ["store", "stow"])
def test_orthanc_draws_enhanced_frames_as_the_classic_images(results, way):
    if way not in results:
        pytest.skip("Orthanc has no DICOMweb plugin: apt-get install orthanc-dicomweb")
    drawn = results[way]["verified"]["previews"]
    kinds = Counter(one["class"] for one in drawn)
    assert kinds == {"MR Image Storage": 6, "Enhanced MR Image Storage": 2, "Parametric Map Storage": 1}
    classic = [one["frames"][0] for one in drawn if one["class"] == "MR Image Storage"]
    enhanced = [frame for one in drawn if one["class"].startswith("Enhanced") for frame in one["frames"]]
    assert len(enhanced) == 6
    for frame in (*classic, *enhanced):
        assert frame["shape"] == [24, 18] or frame["shape"] == [18, 24]
        assert max(map(max, frame["pixels"])) > min(map(min, frame["pixels"]))
    assert sorted(frame["pixels"] for frame in enhanced) == sorted(frame["pixels"] for frame in classic)
    # What docs/clinical.md says of the map: stored, given back, not drawn.
    assert [one["frames"] for one in drawn if "Parametric" in one["class"]] == [[None] * 3]


def test_orthanc_over_tls(results):
    found = results["tls"]
    assert "0 of 9 files are stored" in found["no TLS"]
    for name in ("not trusted", "web, not trusted"):
        assert "certificate is not trusted" in found[name]
    assert "give `cert` and `key`" in found["no certificate"]
    assert found["store"] == [9, 9]  # sent and committed: the answer came over TLS too
    if "stow" in found:
        assert found["stow"] == [9, 0]
        assert found["qido"] is True
