"""The page at the sizes that readers have: the cross, sides, fingers, measures, overlay."""

from __future__ import annotations

import numpy as np
import pytest
from browser import READY
from reviewed import AXIAL, phantom, write_result, zero_filled

from mrunfold.review.overlay import presets, relative_spread
from mrunfold.review.write import write_view


def shown_at(browser, width: int, height: int, mobile: bool = False) -> None:
    browser.cdp(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
    )
    browser.settle()
    browser.settle()


@pytest.fixture(scope="module")
def seven(browser, tmp_path_factory):
    """A page of seven panels."""
    folder = tmp_path_factory.mktemp("seven")
    both = {name: phantom()[name] for name in ("reconstruction", "target")}
    results = [
        write_result(folder / "unfold", phantom(), frame=AXIAL),
        write_result(folder / "sense", both, "sense", frame=AXIAL),
        write_result(folder / "zf", zero_filled(), "zero_filled", frame=AXIAL),
    ]
    write_view(folder / "v.html", results)
    browser.open(folder / "v.html", READY)
    assert browser.run("return window.mrunfold.panels.length") == 7
    return browser


@pytest.fixture
def page(seven):
    shown_at(seven, 1440, 900)
    seven.run("window.mrunfold.reset()")
    seven.settle()
    return seven


def box_of(browser, key: str) -> list[float]:
    return browser.run(
        "const b = window.mrunfold.panel(arguments[0]).canvas.getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height]",
        key,
    )


def place(browser, key: str, column: float, row: float) -> tuple[float, float]:
    """Where a pixel lies on the screen, by the sizes of panel and image: 40 x 48 pixels of 1.0 x 1.5 mm."""
    left, top, width, height = box_of(browser, key)
    scale = min(width / 40, height / 72)
    return (
        left + width / 2 + (column + 0.5 - 20) * scale,
        top + height / 2 + (row + 0.5 - 24) * 1.5 * scale,
    )


def mouse(browser, *points: tuple[float, float]) -> None:
    (x, y), *more = points
    browser.cdp("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
    for x, y in more:
        browser.cdp("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
    browser.cdp("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)
    browser.settle()


def state(browser, name: str):
    return browser.run(f"return window.mrunfold.state[{name!r}]")


@pytest.mark.clinical
@pytest.mark.parametrize(("column", "row"), [(6, 10), (33, 10), (12, 40), (20, 24)])
def test_a_click_says_the_place_that_was_clicked(page, column, row):
    """A point to the right of the middle lies on the patient's left, and its value is that of its pixel."""
    mouse(page, place(page, "reference", column, row))
    assert (state(page, "column"), state(page, "row")) == (column, row)
    left, back = 3.0 + (column - 20) * 1.0, -20.0 + (row - 24) * 1.5
    text = page.run("return document.getElementById('status').textContent")
    assert f"L {left:.1f}, P {back:.1f}, S 19.0 mm" in text
    for key in ("reference", "recon", "std"):
        volume = phantom()[{"reference": "target", "recon": "reconstruction"}.get(key, key)]
        value = float(page.run("return window.mrunfold.panel(arguments[0]).value.textContent", key))
        assert value == pytest.approx(volume[2, row, column], rel=0.02, abs=1e-3)


@pytest.mark.clinical
@pytest.mark.parametrize("zoom", [1, 3])
@pytest.mark.parametrize("size", [(1440, 900), (1280, 800), (390, 844)])
def test_the_cross_is_seen_in_every_panel(page, tmp_path, size, zoom):
    shown_at(page, *size, mobile=size[0] < 500)
    page.run("window.mrunfold.update({column: 20, row: 24, crosshair: true, zoom: arguments[0]})", zoom)
    page.settle()
    found = page.run(
        "return window.mrunfold.panels.map((p) => [...p.lines.querySelectorAll('line.cross')].map((l) =>"
        " [l.getBoundingClientRect().width, l.getBoundingClientRect().height,"
        "  getComputedStyle(l).strokeWidth]))"
    )
    assert [len(lines) for lines in found] == [4] * 7
    assert all(float(width.removesuffix("px")) >= 1 for lines in found for *_, width in lines)
    assert all(max(w, h) > 20 for lines in found for w, h, _ in lines)
    page.screenshot(tmp_path / f"{size[0]}.png")


@pytest.mark.clinical
def test_a_telephone_shows_whole_panels_and_captions(page):
    shown_at(page, 390, 844, mobile=True)
    found = page.run(
        "return window.mrunfold.panels.map((p) => [p.canvas.getBoundingClientRect().width,"
        " p.caption.scrollWidth <= p.caption.clientWidth + 1, p.caption.textContent])"
    )
    assert min(width for width, *_ in found) > 300
    assert all(whole for _, whole, _ in found)
    assert page.run("return document.documentElement.scrollWidth") <= 390


@pytest.mark.clinical
def test_two_fingers_zoom_and_leave_the_window(page):
    shown_at(page, 390, 844, mobile=True)
    page.cdp("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    left, top, width, height = box_of(page, "reference")
    x, y = left + width / 2, top + height / 2
    before = [state(page, name) for name in ("low", "high", "slice")]

    def touch(kind: str, *points: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
        page.cdp("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    touch("touchStart", (x - 30, y), (x + 30, y))
    for reach in (40, 50, 60):
        touch("touchMove", (x - reach, y), (x + reach, y))
    touch("touchEnd")
    page.settle()
    assert state(page, "zoom") == pytest.approx(2, rel=0.15)
    assert [state(page, name) for name in ("low", "high", "slice")] == before
    # One finger to the left: the next slices.
    touch("touchStart", (x + 20, y))
    for moved in (4, -12, -28):
        touch("touchMove", (x + moved, y))
    touch("touchEnd")
    page.settle()
    page.cdp("Emulation.setTouchEmulationEnabled", enabled=False)
    assert state(page, "slice") > before[2]
    assert [state(page, name) for name in ("low", "high")] == before[:2]


@pytest.mark.clinical
def test_distance_and_region_are_measured(page):
    page.press("l")
    mouse(page, place(page, "recon", 5, 20), place(page, "recon", 15, 20), place(page, "recon", 25, 20))
    text = page.run("return document.getElementById('measured').textContent")
    assert float(text.removesuffix(" mm")) == pytest.approx(20.0, abs=0.6)
    page.press("o")
    mouse(page, place(page, "recon", 13, 21), place(page, "recon", 18, 22), place(page, "recon", 26, 25))
    said = page.run("return window.mrunfold.panel('reference').value.textContent")
    mean, sd = said.split(" (")[0].split(" ± ")
    assert float(mean) == pytest.approx(1.0, abs=0.01)  # inside of the bar
    assert float(sd) < 0.01
    noisy = page.run("return window.mrunfold.panel('recon').value.textContent")
    assert float(noisy.split(" ± ")[1].split()[0]) > 0.01
    page.press("w")
    high = state(page, "high")
    x, y = place(page, "recon", 20, 24)
    mouse(page, (x, y), (x + 20, y), (x + 40, y))
    assert state(page, "high") > high


@pytest.mark.clinical
def test_difference_invert_alone_and_presets(page):
    plain = page.pixels("zero_filled")
    page.press("d")
    assert "− reference" in page.run("return window.mrunfold.panel('zero_filled').caption.textContent")
    assert np.abs(page.pixels("zero_filled").astype(int) - page.pixels("reference")).mean() > 5
    np.testing.assert_allclose(page.pixels("recon"), page.pixels("error"), atol=3)
    page.press("d")
    np.testing.assert_array_equal(page.pixels("zero_filled"), plain)
    page.press("v")
    inverted = page.pixels("zero_filled")
    middle = tuple(n // 2 for n in plain.shape[:2])
    assert abs(int(inverted[middle][0]) + int(plain[middle][0]) - 255) < 20
    page.press("v")
    wide = box_of(page, "recon")[2]
    page.run("window.mrunfold.update({alone: 'recon'})")
    shown_at(page, 1440, 900)
    assert box_of(page, "recon")[2] > 2 * wide
    assert page.run("return window.mrunfold.panels.filter((p) => !p.box.hidden).length") == 1
    page.press("esc")
    shown_at(page, 1440, 900)
    assert page.run("return window.mrunfold.panels.filter((p) => !p.box.hidden).length") == 7


@pytest.mark.clinical
def test_the_overlay_leaves_most_of_the_image_and_has_a_bar(page):
    plain = page.pixels("recon")
    page.press("u")
    assert page.run("return !document.getElementById('bar').hidden")
    over = page.pixels("recon")
    coloured = (np.abs(over[..., 0] - over[..., 2]) > 20).sum()
    inside = (plain[..., 0] > 60).sum()
    assert 0 < coloured < 0.12 * inside
    page.run("window.mrunfold.update({opacity: 0.2})")
    page.settle()
    faint = page.pixels("recon")
    assert np.abs(faint - plain).sum() < 0.6 * np.abs(over - plain).sum()


def test_the_overlay_is_relative_and_begins_at_the_highest_five_percent():
    rng = np.random.default_rng(0)
    image = np.zeros((2, 40, 40), np.float32)
    image[:, 5:35, 5:35] = 1.0
    image[:, 5:35, 20:35] = 0.5
    std = 0.1 * image * rng.uniform(0.5, 1, image.shape)  # the same share of the signal on both sides
    found = relative_spread(std + 0.01, image, 1.0)
    inside = np.zeros(image.shape, bool)
    inside[:, 8:32, 8:17] = inside[:, 8:32, 23:32] = True
    assert found.volume[inside].max() < 0.15
    assert found.volume[:, 8:32, 8:17].mean() == pytest.approx(found.volume[:, 8:32, 23:32].mean(), rel=0.15)
    assert not found.volume[:, :2].any()  # air
    above = (found.volume > found.threshold).sum() / (found.volume > 0).sum()
    assert above == pytest.approx(0.05, abs=0.02)


def test_an_empty_image_has_no_overlay_and_one_window():
    nothing = np.zeros((1, 8, 8), np.float32)
    assert relative_spread(nothing, nothing, 1.0).top == 0
    assert presets(nothing, 1.0) == {"as opened": (0.0, 1.0)}


def test_presets_are_windows_of_the_object():
    image = np.linspace(0, 1, 1000, dtype=np.float32).reshape(1, 10, 100)
    found = presets(image, 0.995)
    assert {"as opened", "brain", "body", "whole range"} <= set(found)
    assert all(0 <= low < high <= 1.5 for low, high in found.values())
