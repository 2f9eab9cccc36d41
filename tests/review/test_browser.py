"""The pages in a real browser: `pytest -m clinical tests/review/test_browser.py`.

Software rendering makes each page take seconds to load, so all tests of a page share one visit.
"""

from __future__ import annotations

import numpy as np
import pytest
from browser import HARMLESS, READY
from rawfiles import letter_f
from reviewed import AXIAL, phantom, write_result, zero_filled

from mrunfold.review.volumes import ROOTS
from mrunfold.review.write import write_view

pytestmark = pytest.mark.clinical


@pytest.fixture(scope="module")
def viewed(browser, tmp_path_factory):
    """The browser with the page of a result that has everything."""
    folder = tmp_path_factory.mktemp("view")
    full = write_result(folder / "full", phantom(), frame=AXIAL)
    zero = write_result(folder / "zero", zero_filled(), "zero_filled", frame=AXIAL)
    write_view(folder / "page.html", [full, zero])
    browser.requests()
    browser.open(folder / "page.html", READY)
    return browser


@pytest.fixture
def view(viewed):
    viewed.run("document.activeElement.blur(); window.mrunfold.reset()")
    viewed.settle()
    return viewed


def state(browser, key):
    return browser.run(f"return window.mrunfold.state.{key}")


def shown(browser, key, shape=(48, 40), pixel_mm=(1.5, 1.0), channel=0):
    """A panel's red values at the centres of the pixels of an image of this shape."""
    picture = browser.pixels(key)[..., channel]
    height, width = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    scale = min(picture.shape[0] / height, picture.shape[1] / width)
    rows = picture.shape[0] / 2 + scale * pixel_mm[0] * (np.arange(shape[0]) + 0.5 - shape[0] / 2)
    columns = picture.shape[1] / 2 + scale * pixel_mm[1] * (np.arange(shape[1]) + 0.5 - shape[1] / 2)
    return picture[np.ix_(rows.astype(int), columns.astype(int))]


def grey(image, low, high):
    return np.clip((image - low) / (high - low), 0, 1) * 255


def test_it_opens_alone_and_quietly(view):
    asked = [url for url in view.requests() if not url.startswith(("data:", "blob:"))]
    assert asked
    assert all(url.startswith("file:") and url.endswith("/page.html") for url in asked)
    assert [m for m in view.console() if HARMLESS not in m] == []


def test_every_panel_shows_its_image_in_the_common_window(view):
    volumes, zeros = phantom(), zero_filled()
    high = state(view, "high")
    expected = {
        "reference": grey(volumes["target"][2], 0, high),
        "zero_filled": grey(zeros["reconstruction"][2], 0, high),
        "recon": grey(volumes["reconstruction"][2], 0, high),
        "error": grey(np.abs(volumes["reconstruction"] - volumes["target"])[2], 0, high / 5),
        "std": grey(volumes["std"][2], 0, high / 5),
        "film": grey(volumes["sample_01"][2], 0, high),
    }
    for key, image in expected.items():
        np.testing.assert_allclose(shown(view, key), image, atol=4, err_msg=key)


def test_keys_scroll_all_panels_together(view):
    volumes = phantom()
    assert state(view, "slice") == 2
    for keys, place in ((["down"], 3), (["end"], 4), (["home"], 0), (["down", "down", "up"], 1)):
        view.press(*keys)
        assert state(view, "slice") == place
        for key, name in (("reference", "target"), ("recon", "reconstruction"), ("std", "std")):
            high = state(view, "high") / (5 if key == "std" else 1)
            np.testing.assert_allclose(shown(view, key), grey(volumes[name][place], 0, high), atol=4)
        assert f"slice {place + 1} of 5" in view.run("return document.getElementById('status').textContent")


def test_one_window_for_all(view):
    volumes = phantom()
    view.press("]", "]", ".")
    low, high = state(view, "low"), state(view, "high")
    assert low > 0
    assert high > 1.05
    for key, name in (("reference", "target"), ("recon", "reconstruction"), ("film", "sample_01")):
        np.testing.assert_allclose(shown(view, key), grey(volumes[name][2], low, high), atol=4)


def spread_over_signal(window):
    """Standard deviation over the mean of 5 x 5 pixels around, none in air, which pixels are no air, and how
    far off the page may be: it holds the standard deviation as whole numbers of its root."""
    volumes = phantom()
    padded = np.pad(volumes["reconstruction"], ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    around = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2)).mean(axis=(-2, -1))
    inside = around > 0.15 * window
    floor = np.maximum(around, 0.05 * window)
    half_a_level = np.sqrt(volumes["std"] * volumes["std"].max()) / ROOTS
    return np.where(inside, volumes["std"] / floor, 0), inside, half_a_level / floor


def test_the_overlay_covers_what_is_above_the_threshold(view):
    ratio, inside, error = spread_over_signal(state(view, "high"))
    start, top = np.percentile(ratio[inside], [95, 99.9])  # the highest 5 % of the object, to begin with
    assert state(view, "threshold") == pytest.approx(start, rel=1e-3)

    def coloured():
        return np.abs(shown(view, "recon") - shown(view, "recon", channel=2)) > 30

    assert not coloured().any()
    covered = []
    for keys, steps in ((["u"], 0), (["t"] * 4, -4), (["T"] * 6, 2)):
        view.press(*keys)
        threshold = state(view, "threshold")
        assert threshold == pytest.approx(start + steps * top / 20, rel=1e-3)
        clear = np.abs(ratio[2] - threshold) > error[2] + top / 255  # 255 colours
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(coloured()[clear], (ratio[2] > threshold)[clear])
        covered.append(coloured().sum())
    assert covered[1] > covered[0] > covered[2]
    view.run(
        "const s = document.getElementById('threshold'); s.value = 100; s.dispatchEvent(new Event('input'))"
    )
    view.settle()
    assert coloured().sum() < 0.01 * inside[2].sum()  # one pixel in a thousand lies at the top of the colours


def test_samples_are_a_film(view):
    volumes = phantom()
    view.press("\ue014")  # arrow to the right
    assert state(view, "sample") == 1
    np.testing.assert_allclose(
        shown(view, "film"), grey(volumes["sample_02"][2], 0, state(view, "high")), atol=4
    )
    view.press(" ")
    view.wait("window.mrunfold.state.sample !== 1")
    view.press(" ")
    assert view.run("return document.getElementById('play').textContent") == "Play"


def test_everything_can_be_reached_by_tab_and_fits(view):
    controls = view.run(
        "return [...document.querySelectorAll('aside input, aside select, aside button')]"
        ".filter((e) => e.getClientRects().length).map((e) => e.id || e.name)"
    )
    assert {
        "slice",
        "low",
        "high",
        "gain",
        "overlay",
        "threshold",
        "sample",
        "play",
        "reset",
        "print",
    } <= set(controls)
    reached = {}
    for _ in range(len(set(controls)) + 3):  # the browser's own stops between the last and the first
        view.press("tab")
        name, seen = view.run(
            "const e = document.activeElement, b = e.getBoundingClientRect();"
            "return [e.id || e.name, b.top >= 0 && b.bottom <= innerHeight]"
        )
        reached[name] = seen
    assert set(controls) - set(reached) == set()
    assert [name for name in controls if not reached[name]] == []  # the sidebar scrolls to where the focus is
    view.run("document.activeElement.blur()")
    size = view.run("const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]")
    assert size == [1280, 800]


@pytest.mark.parametrize("focus", ["on its button", "on nothing"])
def test_the_page_of_keys_keeps_the_keys_and_escape_closes_it(view, focus):
    view.press("?")
    assert view.run("return document.getElementById('help').open")
    if focus == "on nothing":  # as after a click on its text
        view.run("document.activeElement.blur()")
    view.press("down", "u")
    assert (state(view, "slice"), state(view, "overlay")) == (2, False)
    view.press("esc")
    assert not view.run("return document.getElementById('help').open")
    view.press("down")
    assert state(view, "slice") == 3


def test_the_cross_says_where_it_is(view):
    view.press("c")
    text = view.run("return document.getElementById('status').textContent")
    assert "L 3.0, P -20.0, S 19.0 mm" in text  # the centre pixel lies at the slice's position
    value = view.run("return window.mrunfold.panel('reference').value.textContent")
    assert float(value) == pytest.approx(phantom()["target"][2, 24, 20], rel=0.01)


def test_the_print_shows_pictures_and_no_controls(view):
    view.run("window.dispatchEvent(new Event('beforeprint'))")
    view.cdp("Emulation.setEmulatedMedia", media="print")
    seen = view.run(
        "const all = (s) => [...document.querySelectorAll(s)];"
        "const seen = (s) => all(s).filter((e) => e.getClientRects().length).length;"
        "return ['img.picture', '.stage canvas', 'input', '.purpose', '#words li'].map(seen)"
    )
    width = view.run("return document.querySelector('img.picture').naturalWidth")
    view.cdp("Emulation.setEmulatedMedia", media="")
    view.run("window.dispatchEvent(new Event('afterprint'))")
    assert seen[:4] == [6, 0, 0, 1]
    assert seen[4] > 3
    assert width > 100
    pdf = view.pdf()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
    assert view.run("return document.querySelectorAll('img.picture').length") == 0


@pytest.mark.parametrize(
    ("frame", "turn", "letters"),
    [
        (((0, -1, 0), (-1, 0, 0), (0, 0, 1)), lambda i: i[::-1, ::-1], "APRL"),
        (((1, 0, 0), (0, 1, 0), (0, 0, 1)), lambda i: i.T, "APRL"),
        (((0, 0, 1), (0, -1, 0), (1, 0, 0)), lambda i: i[::-1, ::-1], "SIAP"),
        (None, lambda i: i, ""),
    ],
)
def test_an_f_is_where_radiologists_expect_it(browser, tmp_path, frame, turn, letters):
    """The F is stored upright (readout downwards, phase to the right); `turn` is worked out by hand."""
    image = letter_f((33, 40))
    result = write_result(tmp_path / "f", {"reconstruction": np.stack([image] * 3)}, frame=frame)
    write_view(tmp_path / "f.html", [result])
    browser.open(tmp_path / "f.html", READY)
    expected = turn(image)
    pixel_mm = (1.5, 1.0) if expected.shape == image.shape else (1.0, 1.5)
    np.testing.assert_allclose(shown(browser, "recon", expected.shape, pixel_mm), 255 * expected, atol=2)
    assert (
        browser.run("return [...document.querySelectorAll('.letter')].map((e) => e.textContent).join('')")
        == letters
    )
