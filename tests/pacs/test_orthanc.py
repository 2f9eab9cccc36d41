"""The round trip through Orthanc, in its own network namespace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dicomfiles import write_series

pytestmark = pytest.mark.clinical

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")

SCRIPT = Path(__file__).with_name("orthanc.py")
SAME = {"missing": [], "extra": [], "datasets_differ": [], "pixels_differ": [], "count": 9}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    alone = ["unshare", "-n", "bash", "-c", 'ip link set lo up && exec "$@"', "alone"]
    try:
        if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
            raise FileNotFoundError
    except FileNotFoundError:
        pytest.skip("no network namespace can be made here: unshare -n needs root and iproute2")
    folder = tmp_path_factory.mktemp("orthanc")
    series = write_series(folder / "series", 9)
    done = subprocess.run(
        [*alone, sys.executable, str(SCRIPT), str(folder), str(series)],
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
