"""Photographs in and out: depth, orientation, alpha, colour spaces, and files that are none."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mrunfold.errors import InputError
from mrunfold.io.images import photo_size, photos_in, read_kernel, read_mask, read_photo, write_photo


def picture(*shape, depth=256, seed=0):
    return np.random.default_rng(seed).integers(0, depth, shape)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_what_is_written_is_read_back(tmp_path, bits, channels, alpha):
    if bits == 16 and channels == 1 and alpha:
        pytest.skip("Pillow reads grey with alpha as 8 bits")
    top = 2**bits - 1
    values = picture(channels + alpha, 7, 5, depth=top + 1)
    write_photo(tmp_path / "a.png", values[:channels] / top, values[-1] / top if alpha else None, bits)
    photo = read_photo(tmp_path / "a.png")
    assert photo.bits == bits
    assert photo_size(tmp_path / "a.png") == (7, 5)
    np.testing.assert_array_equal(np.rint(photo.pixels * top), values[:channels])
    if alpha:
        np.testing.assert_array_equal(np.rint(photo.alpha * top), values[-1])
    else:
        assert photo.alpha is None


def test_the_png_is_one_that_pillow_reads(tmp_path):
    values = picture(3, 9, 6)
    write_photo(tmp_path / "a.png", values / 255)
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.moveaxis(values, 0, -1))


def test_values_outside_the_range_are_clipped(tmp_path):
    write_photo(tmp_path / "a.png", np.array([[[-0.3, 0.5, 1.7]]]))
    np.testing.assert_allclose(read_photo(tmp_path / "a.png").pixels, [[[0, 128 / 255, 1]]], atol=1e-6)


def test_sixteen_bit_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = picture(6, 5, 3, depth=65536).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.rint(photo.pixels * 65535), np.moveaxis(values, -1, 0))
    assert photo.bits == 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    """The stored pixels are those of an upright picture, turned by the inverse of the tag."""
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = 250  # top left
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright, 1), 7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), np.moveaxis(upright, -1, 0))
    assert photo_size(tmp_path / "a.png") == (4, 6)


def test_colour_spaces_become_rgb_or_grey(tmp_path):
    Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    red = read_photo(tmp_path / "cmyk.jpg").pixels
    assert red.shape == (3, 3, 4)
    assert red[0].min() > 0.9
    assert red[1:].max() < 0.1
    Image.new("P", (4, 3)).save(tmp_path / "palette.png")
    assert read_photo(tmp_path / "palette.png").pixels.shape == (3, 3, 4)
    Image.new("1", (4, 3), 1).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "bits.png").pixels, np.ones((1, 3, 4)))
    Image.new("LA", (4, 3), (255, 51)).save(tmp_path / "la.png")
    photo = read_photo(tmp_path / "la.png")
    np.testing.assert_allclose(photo.alpha, 0.2, atol=1e-6)
    assert photo.pixels.shape == (1, 3, 4)


def enormous(path):
    """A PNG whose header says 60,000×60,000."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT" + bytes(104))


def test_files_that_are_no_images_get_one_line(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    enormous(tmp_path / "huge.png")
    write_photo(tmp_path / "whole.png", np.random.default_rng(0).random((3, 64, 64)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:4000])
    Image.fromarray(np.full((3, 3), 0.5, np.float32)).save(tmp_path / "float.tif")
    for name, message in {
        "none.png": "no image", "text.png": "not an image", "empty.png": "0 bytes", "huge.png": "larger than",
        "cut.png": "damaged", "float.tif": "not 8 or 16 bits",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=message) as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_folders_masks_and_kernels(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        photos_in(tmp_path)
    values = np.zeros((1, 4, 6))
    values[0, 1, 2] = 1
    write_photo(tmp_path / "b.png", values)
    (tmp_path / "notes.txt").write_text("x")
    assert [p.name for p in photos_in(tmp_path)] == ["b.png"]
    kernel = read_kernel(tmp_path / "b.png")
    assert kernel.shape == (5, 7)
    assert kernel.sum() == pytest.approx(1)
    seen = read_mask(tmp_path / "b.png", (4, 6))
    assert not seen[1, 2]
    assert seen.sum() == 23
    with pytest.raises(InputError, match="make them equal"):
        read_mask(tmp_path / "b.png", (6, 4))
    write_photo(tmp_path / "black.png", np.zeros((1, 3, 3)))
    with pytest.raises(InputError, match="is black"):
        read_kernel(tmp_path / "black.png")
    write_photo(tmp_path / "white.png", np.ones((1, 3, 3)))
    with pytest.raises(InputError, match="nothing is seen"):
        read_mask(tmp_path / "white.png", (3, 3))
