"""Three planes, frames and the folder beside the page in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
from browser import HARMLESS, READY
from reviewed import phantom, write_result

from mrunfold.review.write import folder_beside, write_view

pytestmark = pytest.mark.clinical

# Images across the patient, oblique by 10 degrees about the axis from right to left, stored upside down.
TILT = np.deg2rad(10.0)
OBLIQUE = (
    (0.0, -np.cos(TILT), np.sin(TILT)),
    (1.0, 0.0, 0.0),
    (0.0, np.sin(TILT), np.cos(TILT)),
)
ROWS, COLUMNS, SLICES, STEP = 48, 40, 12, 4.0


def points() -> np.ndarray:
    """A dim box, and one bright pixel (slice, readout, phase) that no symmetry hides."""
    volume = np.full((SLICES, ROWS, COLUMNS), 0.2, np.float32)
    volume[9, 11, 29] = 1.0
    return volume


@pytest.fixture(scope="module")
def planes(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planes")
    result = write_result(folder / "r", {"reconstruction": points()}, frame=OBLIQUE)
    write_view(folder / "v.html", [result])
    browser.open(folder / "v.html", READY)
    browser.cdp(
        "Emulation.setDeviceMetricsOverride", width=1440, height=900, deviceScaleFactor=1, mobile=False
    )
    browser.press("m")
    browser.wait("window.mrunfold.panels.length === 3")
    browser.settle()
    return browser


def extent(key: str) -> tuple[float, float]:
    """Width and height of a plane in mm; pixels are 1.5 mm along the readout and 1.0 mm along the phase."""
    across, along, through = COLUMNS * 1.0, ROWS * 1.5, SLICES * STEP
    return {"axial": (across, along), "coronal": (across, through), "sagittal": (along, through)}[key]


def expected_at(key: str) -> tuple[float, float]:
    """Where the bright pixel lies in a plane, as fractions from left and top, by hand.

    Phase runs to the left, which readers have on their right; the readout runs to anterior, so that posterior
    is at the first pixel; slices run to the head.
    """
    right, posterior, up = (29 + 0.5) / COLUMNS, 1 - (11 + 0.5) / ROWS, (9 + 0.5) / SLICES
    return {"axial": (right, posterior), "coronal": (right, 1 - up), "sagittal": (posterior, 1 - up)}[key]


def on_picture(browser, key: str) -> tuple[float, float]:
    picture = browser.pixels(key)
    width, height = extent(key)
    scale = min(picture.shape[1] / width, picture.shape[0] / height)
    x, y = expected_at(key)
    return (
        picture.shape[1] / 2 + (x - 0.5) * width * scale,
        picture.shape[0] / 2 + (y - 0.5) * height * scale,
    )


def click(browser, key: str, x: float, y: float) -> None:
    left, top, scale = browser.run(
        "const c = window.mrunfold.panel(arguments[0]).canvas, b = c.getBoundingClientRect();"
        "return [b.left, b.top, b.width / c.width]",
        key,
    )
    at = {"x": left + x * scale, "y": top + y * scale, "button": "left", "clickCount": 1}
    browser.cdp("Input.dispatchMouseEvent", type="mousePressed", **at)
    browser.cdp("Input.dispatchMouseEvent", type="mouseReleased", **at)
    browser.settle()


def place(browser) -> list[int]:
    return browser.run("const s = window.mrunfold.state; return [s.column, s.row, s.slice]")


def cross(browser, key: str) -> list[float]:
    """Where the cross of a plane is, in pixels of its picture: between the ends of its first two lines."""
    return browser.run(
        "const p = window.mrunfold.panel(arguments[0]), box = p.stage.getBoundingClientRect();"
        "const lines = [...p.lines.querySelectorAll('line.cross')];"
        "const [a, b] = lines.map((l) => l.getBoundingClientRect());"
        "const scale = p.canvas.width / box.width;"
        "return [(a.right + b.left) / 2 - box.left, a.top - box.top].map((v) => v * scale)",
        key,
    )


def test_the_cross_is_in_the_middle_as_the_planes_open(planes):
    """Column 20 of 40, row 24 of 48 and slice 6 of 12: half a pixel from the middle of each picture."""
    for key in ("axial", "coronal", "sagittal"):
        height, width = planes.pixels(key).shape[:2]
        scale = min(width / extent(key)[0], height / extent(key)[1])
        x, y = cross(planes, key)
        assert (x, y) == pytest.approx((width / 2, height / 2), abs=2.5 * scale), key


@pytest.mark.parametrize("key", ["axial", "coronal", "sagittal"])
def test_a_point_lies_where_it_is_in_all_three_planes(planes, key):
    """A click on it in one plane shows it in the two others, under the cross, with its position in mm."""
    planes.run("window.mrunfold.update({column: 29, row: 36, slice: 9, crosshair: false})")
    planes.settle()
    x, y = on_picture(planes, key)
    click(planes, key, x, y)
    assert place(planes) == [29, ROWS - 1 - 11, 9]
    for other in ("axial", "coronal", "sagittal"):
        x, y = on_picture(planes, other)
        assert planes.pixels(other)[int(y), int(x), 0] > 200, other
        assert cross(planes, other) == pytest.approx([x, y], abs=3), other
    read, phase, normal = np.array(OBLIQUE)
    # The header's positions are of the centre pixel, 24 along the readout and 20 along the phase.
    lps = np.array([3.0, -20.0, 11.0]) + 9 * STEP * normal + (11 - 24) * 1.5 * read + (29 - 20) * 1.0 * phase
    said = planes.run("return document.getElementById('status').textContent")
    assert "L {:.1f}, P {:.1f}, S {:.1f} mm".format(*lps) in said


def test_letters_and_wheel_belong_to_each_plane(planes):
    letters = planes.run(
        "return window.mrunfold.panels.map((p) => p.letters.map((e) => e.textContent).join(''))"
    )
    assert letters == ["APRL", "SIRL", "SIAP"]
    before = place(planes)
    for key, axis in (("coronal", 1), ("sagittal", 0), ("axial", 2)):
        planes.run(
            "window.mrunfold.panel(arguments[0]).canvas.dispatchEvent("
            "new WheelEvent('wheel', {deltaY: -120, bubbles: true, cancelable: true}))",
            key,
        )
        planes.settle()
        after = place(planes)
        assert [a - b for a, b in zip(after, before, strict=True)] == [
            -1 if n == axis else 0 for n in range(3)
        ]
        before = after


def test_a_distance_is_measured_in_mm_of_its_plane(planes):
    planes.run(
        "window.mrunfold.update({measure: {kind: 'distance', plane: 1, from: [10.5, 20.5, 2.5],"
        " to: [10.5, 20.5, 7.5]}, row: 20, column: 10})"
    )
    planes.settle()
    assert planes.run("return document.getElementById('measured').textContent") == "20.0 mm"
    drawn = planes.run(
        "return window.mrunfold.panels.map((p) => p.lines.querySelectorAll('.measure').length)"
    )
    assert drawn == [0, 1, 0]


def test_m_brings_all_panels_back(planes, tmp_path):
    planes.screenshot(tmp_path / "planes.png")
    planes.press("m")
    planes.wait("window.mrunfold.panels.length === 1")
    assert planes.run("return window.mrunfold.state.cut") is None
    planes.press("m")
    planes.wait("window.mrunfold.panels.length === 3")


@pytest.fixture(scope="module")
def moving(browser, tmp_path_factory):
    """Three frames of two slices, each of its own brightness, with samples; most of it lies in the folder."""
    folder = tmp_path_factory.mktemp("moving")
    volumes = phantom(6, (24, 20))
    for name in volumes:
        volumes[name] = volumes[name] * np.array([1, 0.8, 0.6] * 2, np.float32)[:, None, None]
    result = write_result(folder / "r", volumes, frame=OBLIQUE, frames=(0, 1, 2, 0, 1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrunfold.review.page.WIDEST", 0)
        write_view(folder / "v.html", [result])
    assert len(list(folder_beside(folder / "v.html").iterdir())) == 4
    browser.requests()
    browser.open(folder / "v.html", READY)
    return browser, folder


def test_the_folder_beside_the_page_is_all_that_is_read(moving):
    browser, folder = moving
    asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:"))]
    names = {url.removeprefix(folder.as_uri() + "/") for url in asked}
    assert names == {"v.html", *(f"v_files/volume-{n}.js" for n in range(4))}
    assert [m for m in browser.console() if HARMLESS not in m] == []


def test_frames_are_a_cine(moving):
    browser, _ = moving
    assert browser.run("return document.getElementById('plays').value") == "sample"
    browser.run(
        "const s = document.getElementById('plays'); s.value = 'frame'; s.dispatchEvent(new Event('change'))"
    )
    means = []
    for _ in range(3):
        means.append(browser.pixels("reference")[..., 0].mean())
        browser.press("\ue014")  # arrow to the right
    assert means == pytest.approx([means[0] * part for part in (1, 0.8, 0.6)], rel=0.03)
    assert browser.run("return window.mrunfold.state.frame") == 0  # from the last to the first
    browser.press("\ue014")
    assert "repetition 1" in browser.run("return window.mrunfold.panel('recon').caption.textContent")
    browser.press(" ")
    browser.wait("window.mrunfold.state.frame !== 1")
    browser.press(" ")
    assert browser.run("return document.getElementById('play').textContent") == "Play"


def test_a_page_without_its_folder_says_so(moving, tmp_path):
    browser, folder = moving
    (tmp_path / "v.html").write_bytes((folder / "v.html").read_bytes())
    browser.open(tmp_path / "v.html", "cannot show")
    said = browser.run("return document.getElementById('status').textContent")
    assert "v_files/volume-" in said
    assert "keep the page and its folder together" in said


def test_a_folder_of_another_page_is_refused(moving, tmp_path):
    browser, folder = moving
    (tmp_path / "v_files").mkdir()
    (tmp_path / "v.html").write_bytes((folder / "v.html").read_bytes())
    for path in folder_beside(folder / "v.html").iterdir():
        text = path.read_text()
        name = text.split("'")[1]
        (tmp_path / "v_files" / path.name).write_text(text.replace(name, "0" * len(name)))
    browser.open(tmp_path / "v.html", "cannot show")
    assert "of another page" in browser.run("return document.getElementById('status').textContent")
