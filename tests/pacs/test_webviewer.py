"""What the web viewer of Orthanc shows of our series: docs/clinical.md says it in a table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from exported import ECHOES, FRAMES, make_header, random_volumes, write_result

from mrunfold.export.run import ExportRequest, export_result

pytestmark = pytest.mark.clinical

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")

SCRIPT = Path(__file__).with_name("webviewer.py")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancWebViewer.so")
SLICES = 3


@pytest.fixture(scope="module")
def shown(tmp_path_factory, alone):
    """Gives what is shown of a series of three echoes, and its files."""
    if not PLUGIN.exists():
        pytest.skip("Orthanc has no web viewer: apt-get install orthanc-webviewer")
    if shutil.which("chromedriver") is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    folder = tmp_path_factory.mktemp("viewer")
    for name, frame in (("placed", FRAMES["double oblique"]), ("capture", None)):
        header = make_header((64, 48), SLICES, frame, labels=ECHOES)
        path = write_result(folder / f"{name}.h5", header, random_volumes(header))
        out = folder / "exported" / name
        out.mkdir(parents=True)
        export_result(path, out, ExportRequest(dicom=True, enhanced=frame is not None))
    done = subprocess.run(
        [*alone, sys.executable, str(SCRIPT), str(folder), str(folder / "exported")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["uid"]: one for one in json.loads(done.stdout.splitlines()[-1])}

    def of(series: str) -> tuple[dict, list[pydicom.Dataset]]:
        images = stored(folder / "exported" / series)
        return found[str(images[0].SeriesInstanceUID)], images

    return of


def stored(folder: Path) -> list[pydicom.Dataset]:
    return sorted((pydicom.dcmread(file) for file in folder.iterdir()), key=lambda one: one.InstanceNumber)


def same(view: dict, pixels: np.ndarray) -> bool:
    """Whether the viewer holds this image, and no other: it gets it as JPEG, of 95 % quality."""
    assert view["shape"] == list(pixels.shape)
    found = np.array(view["pixels"], float).reshape(pixels.shape)
    return np.corrcoef(found.ravel(), pixels.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("series", "count"),
    [
        ("placed/dicom/001_reconstruction", 3 * SLICES),
        ("placed/dicom/002_std", 3 * SLICES),
        ("capture/dicom/001_reconstruction", SLICES),  # without a place each echo is a series
    ],
)
def test_echoes_follow_each_other_slice_by_slice_in_the_files_window(shown, series, count):
    view, images = shown(series)
    assert (view["slices"], len(images)) == (count, count)
    assert view["alerts"] == []
    assert same(view["first"], images[0].pixel_array)
    assert same(view["middle"], images[count // 2].pixel_array)
    assert not same(view["middle"], images[0].pixel_array)
    assert view["first"]["grey"] > 200
    width, centre = float(images[0].WindowWidth), float(images[0].WindowCenter)
    assert view["first"]["window"] == f"WW/WL:{width:.0f}/{centre:.0f}"
    assert "research" in view["first"]["caption"]


def test_every_frame_of_enhanced_objects_in_a_window_of_the_viewers_own(shown):
    """It does not read the window of a frame's group, and takes one of the image's range."""
    view, images = shown("placed/dicom/011_reconstruction_enhanced")
    frames = np.concatenate([one.pixel_array for one in images])
    assert (view["slices"], len(images), len(frames)) == (3 * SLICES, 3, 3 * SLICES)
    assert view["alerts"] == []
    assert same(view["first"], frames[0])
    assert same(view["middle"], frames[3 * SLICES // 2])
    group = images[0].SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    assert view["first"]["window"] != f"WW/WL:{float(group.WindowWidth):.0f}/{float(group.WindowCenter):.0f}"


def test_a_parametric_map_is_refused_in_words(shown):
    view, _ = shown("placed/dicom/006_std_map")
    assert view["slices"] == 3 * SLICES
    assert "does not support the decoding" in view["alerts"][0]
    assert view["first"]["shape"] is None
    assert view["first"]["grey"] == 0
