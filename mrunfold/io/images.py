"""Photographs: PNG, JPEG, TIFF and what else Pillow reads, 8 or 16 bits, upright, their alpha kept."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.io.memory import require_memory

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SUFFIXES",
    "Photo",
    "photo_size",
    "photos_in",
    "png_bytes",
    "read_kernel",
    "read_mask",
    "read_photo",
    "write_photo",
]

# Pillow's own decoders of pictures: others start programs (EPS) or read other files.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# One axis, and all of an image: beyond this a file is taken for damaged, or for an attack on memory.
MAX_SIDE, MAX_PIXELS = 32768, 200_000_000
BYTES_A_PIXEL = 40  # that reading takes for a while: bytes of the file, as RGBA, and float32 twice
# Pillow keeps the high byte of 16-bit colour; told the other byte order, it keeps the low one.
OTHER_ORDER = {"16B": "16L", "16L": "16B"}


@dataclass(frozen=True)
class Photo:
    """An upright image: pixels float32 (channel, y, x) from 0 to 1, grey (1) or RGB (3), as stored (gamma).

    alpha: float32 (y, x) from 0 to 1, or None; bits: 8 or 16, of the file.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """Open an image; whatever is wrong with it is one InputError."""
    from PIL import Image, UnidentifiedImageError

    if not file.is_file():
        raise InputError(f"no image {file}; check the path")
    if file.stat().st_size == 0:
        raise InputError(f"{file} is empty (0 bytes); copy it again")
    try:
        with warnings.catch_warnings():
            # A large image is judged below, by its header, before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                if max(image.size) > MAX_SIDE or image.size[0] * image.size[1] > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.size}")
                pixels = image.size[0] * image.size[1]
                require_memory(BYTES_A_PIXEL * pixels, f"to read {file}", "cut it into parts")
                yield image
    except Image.DecompressionBombError:
        raise InputError(
            f"{file} claims to be larger than {MAX_PIXELS // 10**6} million pixels or {MAX_SIDE} a side; "
            "cut it into parts"
        ) from None
    except UnidentifiedImageError:
        raise InputError(f"{file} is not an image that can be read; give PNG, JPEG or TIFF") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{file} is damaged ({reason}); copy or export it again") from None


def photo_size(file: Path) -> tuple[int, int]:
    """Return the (height, width) of an upright image from its header; InputError as `read_photo`."""
    with _opened(file) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return image.size if turned else (image.size[1], image.size[0])


def read_photo(file: Path) -> Photo:
    """Read an image, turned as its EXIF orientation says.

    CMYK, palettes and other colour spaces become RGB.  InputError: not an image, empty, damaged, too large.
    """
    from PIL import ImageOps

    with _opened(file) as image:
        if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
            return _deep_grey(image, file)
        deep = _deep_colour(image, file)
        if deep is not None:
            return deep
        upright = ImageOps.exif_transpose(image)
        transparent = "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "RGBa", "La")
        grey = upright.mode in ("1", "L", "LA", "La")
        mode = ("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")
        return _photo(np.asarray(upright.convert(mode)), 8, transparent)


def _photo(array: np.ndarray, bits: int, transparent: bool) -> Photo:
    """Return the photo of (y, x) or (y, x, channel) integers, alpha last."""
    values = array if array.ndim == 3 else array[..., None]
    values = np.moveaxis(values.astype(np.float32), -1, 0) / np.float32(2**bits - 1)
    if transparent:
        return Photo(np.ascontiguousarray(values[:-1]), np.ascontiguousarray(values[-1]), bits)
    return Photo(np.ascontiguousarray(values), None, bits)


def _deep_grey(image: Image, file: Path) -> Photo:
    from PIL import ImageOps

    array = np.asarray(ImageOps.exif_transpose(image))
    if image.mode == "F" or array.min() < 0 or array.max() > 65535:
        raise InputError(f"{file} holds numbers that are not 8 or 16 bits; export it as 16-bit PNG or TIFF")
    return _photo(array.astype(np.uint16), 16, transparent=False)


def _deep_colour(image: Any, file: Path) -> Photo | None:
    """Read 16-bit colour, of which Pillow gives one byte at a time; None for 8 bits."""
    from PIL import Image, ImageOps

    rawmode = _rawmode(image)
    kind, _, depth = rawmode.partition(";")
    if kind not in ("RGB", "RGBA") or depth not in OTHER_ORDER:
        return None
    high = np.asarray(ImageOps.exif_transpose(image), dtype=np.uint16)
    again: Any
    with Image.open(file, formats=FORMATS) as again:
        again.tile = [_with_rawmode(tile, f"{kind};{OTHER_ORDER[depth]}") for tile in again.tile]
        low = np.asarray(ImageOps.exif_transpose(again), dtype=np.uint16)
    return _photo(high * 256 + low, 16, transparent=kind == "RGBA")


def _rawmode(image: Any) -> str:
    if not image.tile:
        return ""
    args: Any = image.tile[0][3]
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _with_rawmode(tile: Any, rawmode: str) -> Any:
    codec, box, offset, args = tile
    changed = rawmode if isinstance(args, str) else (rawmode, *args[1:])
    return tile._replace(codec_name=codec, extents=box, offset=offset, args=changed)


def photos_in(folder: Path) -> list[Path]:
    """Return the image files of a folder by their suffixes, sorted; InputError where there is none."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise InputError(f"{folder} holds no images ({', '.join(SUFFIXES)}); name another folder or files")
    return found


def read_kernel(file: Path) -> np.ndarray:
    """Return a blur kernel float32 (y, x) of sum 1 from a picture, white where light falls.

    An axis of even length gets a row of zeros, so that there is a middle.
    """
    kernel = read_photo(file).pixels.mean(axis=0)
    total = float(kernel.sum())
    if total <= 0:
        raise InputError(f"the kernel {file} is black; draw it in white on black")
    kernel = np.pad(kernel, [(0, 1 - n % 2) for n in kernel.shape])
    return (kernel / total).astype(np.float32)


def read_mask(file: Path, size: tuple[int, int]) -> np.ndarray:
    """Return which pixels are seen, bool (y, x), from a picture that is white where they are missing."""
    missing = read_photo(file).pixels.mean(axis=0) > 0.5
    if missing.shape != tuple(size):
        raise InputError(
            f"the mask {file} is {missing.shape} and the image {tuple(size)} (y, x); make them equal"
        )
    if missing.all():
        raise InputError(f"the mask {file} is white all over: nothing is seen; draw what is missing in white")
    return ~missing


def write_photo(file: Path, pixels: np.ndarray, alpha: np.ndarray | None = None, bits: int = 8) -> None:
    """Write a PNG of (channel, y, x), 1 or 3 channels, clipped to 0 … 1; whole or not at all.

    bits: 8 or 16; alpha: (y, x) from 0 to 1, or None.
    """
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or bits not in (8, 16):
        raise InputError(f"a PNG is (1 or 3, y, x) of 8 or 16 bits, got {pixels.shape} of {bits}")
    planes = pixels if alpha is None else np.concatenate([pixels, alpha[None]])
    top = 2**bits - 1
    values = np.rint(np.clip(planes, 0, 1).astype(np.float64) * top).astype(f">u{bits // 8}")
    with atomic_path(file) as temporary:
        temporary.write_bytes(_png(np.moveaxis(values, 0, -1)))


def png_bytes(grey: np.ndarray) -> bytes:
    """Return a PNG of 8 bits of (y, x) from 0 to 1."""
    return _png(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None])


def _png(values: np.ndarray) -> bytes:
    """Return a PNG file of (y, x, channel) big-endian integers: Pillow writes no colour of 16 bits.

    Portable Network Graphics (W3C, 2003), colour types 0, 4, 2 and 6, rows filtered by "up".
    """
    height, width, channels = values.shape
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(height, -1)
    rows = np.concatenate([rows[:1], rows[1:] - rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows], axis=1)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * values.dtype.itemsize, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)
