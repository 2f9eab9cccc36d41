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


def panel(drawn, name: str, path, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of the PNG under one panel, from 0 to 1, sampled on a grid of `shape`."""
    from PIL import Image

    left, top, right, bottom = drawn.panels[name].box
    png = np.asarray(Image.open(path).convert("RGB"))[..., 0] / 255
    rows = top + (np.arange(shape[0]) + 0.5) / shape[0] * (bottom - top)
    columns = left + (np.arange(shape[1]) + 0.5) / shape[1] * (right - left)
    return png[np.ix_(rows.astype(int), columns.astype(int))]


def preview(image: np.ndarray, **changes) -> Preview:
    mask = np.zeros(image.shape, bool)
    mask[:, ::2] = True
    return Preview(mask=mask, zero_filled=0.5 * image, recon=image, heading="scan.h5", **changes)


@pytest.mark.parametrize("shape", [(64, 64), (65, 49), (400, 320)])
def test_an_f_is_an_f_in_the_png(tmp_path, shape):
    image = letter_f(shape)
    shown = preview(image)
    write_preview(tmp_path / "preview.png", shown)
    seen = panel(draw_preview(shown), "reconstruction", tmp_path / "preview.png", shape)
    np.testing.assert_allclose(seen, image, atol=0.02)


def test_a_view_turns_images_and_not_the_mask(tmp_path):
    image = letter_f((64, 48))
    turned = preview(image, view=View(True, False, True, ("A", "P", "R", "L")))
    drawn = draw_preview(turned)
    write_preview(tmp_path / "preview.png", turned)
    np.testing.assert_array_equal(drawn.panels["reconstruction"].image, image.T[:, ::-1])
    np.testing.assert_array_equal(drawn.panels["k-space mask"].image, turned.mask)
    assert {text for text, colour in drawn.texts if colour == "gold"} == set("APRL")
    seen = panel(drawn, "reconstruction", tmp_path / "preview.png", (48, 64))
    differ = np.abs(seen - image.T[:, ::-1]) > 0.02
    assert differ.mean() < 0.02  # the letters


def test_pixels_that_are_not_square_are_not_shown_square():
    drawn = draw_preview(preview(letter_f((64, 64)), pixel_mm=(2.0, 1.0)))

    def ratio(name: str) -> float:
        left, top, right, bottom = drawn.panels[name].box
        return (bottom - top) / (right - left)

    assert ratio("reconstruction") == 2.0
    assert ratio("k-space mask") == 1.0


def test_reference_error_and_deviation_have_panels_in_one_window():
    image = letter_f((64, 64))
    shown = preview(image, reference=0.9 * image, uncertainty={"std": 0.01 * image})
    panels = draw_preview(shown).panels
    assert list(panels) == [
        "k-space mask", "zero-filled", "reconstruction", "reference", "error ×5", "standard deviation ×5",
    ]  # fmt: skip
    np.testing.assert_allclose(panels["error ×5"].image, 5 * 0.1 * image, atol=1e-6)
    assert len({one.white for name, one in panels.items() if name != "k-space mask"}) == 1


def test_warnings_are_written_in_red_and_captions_are_not():
    drawn = draw_preview(preview(letter_f((64, 64)), warnings=("SIMULATED",), captions=("R=4",)))
    colours = dict(drawn.texts)
    assert colours["SIMULATED"] == "firebrick"
    assert colours["R=4"] != "firebrick"


def test_words_of_any_script_can_be_drawn(tmp_path):
    write_preview(tmp_path / "preview.png", preview(letter_f((64, 64)), captions=("σ² × 5 · 頭 $x_1$",)))
    assert (tmp_path / "preview.png").stat().st_size > 0


def test_an_empty_image_can_be_drawn(tmp_path):
    write_preview(tmp_path / "preview.png", preview(np.zeros((16, 16), np.float32)))
    assert (tmp_path / "preview.png").stat().st_size > 0


def test_same_preview_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_preview(tmp_path / name, preview(letter_f((64, 64))))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
