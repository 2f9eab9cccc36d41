"""What the preview shows, and that it shows it the right way round."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.export import View
from mrunfold.review import Preview, draw_preview, write_preview


def letter_f(shape: tuple[int, int]) -> np.ndarray:
    """An F, upright as stored: rows downwards, columns to the right."""
    image = np.zeros(shape, np.float32)
    r, c = shape[0] // 8, shape[1] // 8
    image[r : 7 * r, c : 2 * c] = 1
    image[r : 2 * r, c : 6 * c] = 1
    image[3 * r : 4 * r, c : 4 * c] = 1
    return image


def panel(figure, name: str, path, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of the PNG under one panel, sampled on a grid of `shape`."""
    from matplotlib.image import imread

    figure.canvas.draw()  # the panel takes its place when drawn
    (axes,) = (a for a in figure.axes if a.get_title() == name)
    png = imread(path)[..., 0]
    box = axes.images[0].get_window_extent()
    rows = png.shape[0] - (box.y1 - (np.arange(shape[0]) + 0.5) / shape[0] * box.height)
    columns = box.x0 + (np.arange(shape[1]) + 0.5) / shape[1] * box.width
    return png[np.ix_(rows.astype(int), columns.astype(int))]


def preview(image: np.ndarray, **changes) -> Preview:
    mask = np.zeros(image.shape, bool)
    mask[:, ::2] = True
    return Preview(mask=mask, zero_filled=0.5 * image, recon=image, heading="scan.h5", **changes)


@pytest.mark.parametrize("shape", [(64, 64), (65, 49)])
def test_an_f_is_an_f_in_the_png(tmp_path, shape):
    image = letter_f(shape)
    shown = preview(image)
    figure = draw_preview(shown)
    write_preview(tmp_path / "preview.png", shown)
    seen = panel(figure, "reconstruction", tmp_path / "preview.png", shape)
    np.testing.assert_allclose(seen, image, atol=0.02)


def test_a_view_turns_images_and_not_the_mask(tmp_path):
    image = letter_f((64, 48))
    turned = preview(image, view=View(True, False, True, ("A", "P", "R", "L")))
    figure = draw_preview(turned)
    write_preview(tmp_path / "preview.png", turned)
    axes = {a.get_title(): a for a in figure.axes}
    np.testing.assert_array_equal(axes["reconstruction"].images[0].get_array(), image.T[:, ::-1])
    np.testing.assert_array_equal(axes["k-space mask"].images[0].get_array(), turned.mask)
    assert {t.get_text() for t in axes["reconstruction"].texts} == set("APRL")


def test_pixels_that_are_not_square_are_not_shown_square():
    figure = draw_preview(preview(letter_f((64, 64)), pixel_mm=(2.0, 1.0)))
    axes = {a.get_title(): a for a in figure.axes}
    assert axes["reconstruction"].get_aspect() == 2.0
    assert axes["k-space mask"].get_aspect() == 1.0


def test_reference_error_and_deviation_have_panels_in_one_window():
    image = letter_f((64, 64))
    shown = preview(image, reference=0.9 * image, uncertainty={"std": 0.01 * image})
    axes = {a.get_title(): a for a in draw_preview(shown).axes}
    assert list(axes) == [
        "k-space mask", "zero-filled", "reconstruction", "reference", "error ×5", "standard deviation ×5",
    ]  # fmt: skip
    np.testing.assert_allclose(axes["error ×5"].images[0].get_array(), 5 * 0.1 * image, atol=1e-6)
    assert len({a.images[0].get_clim() for name, a in axes.items() if name != "k-space mask"}) == 1


def test_warnings_are_written_in_red_and_captions_are_not():
    figure = draw_preview(preview(letter_f((64, 64)), warnings=("SIMULATED",), captions=("R=4",)))
    colors = {t.get_text(): t.get_color() for t in figure.texts}
    assert colors["SIMULATED"] == "firebrick"
    assert colors["R=4"] != "firebrick"


def test_an_empty_image_can_be_drawn(tmp_path):
    write_preview(tmp_path / "preview.png", preview(np.zeros((16, 16), np.float32)))
    assert (tmp_path / "preview.png").stat().st_size > 0


def test_same_preview_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_preview(tmp_path / name, preview(letter_f((64, 64))))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
