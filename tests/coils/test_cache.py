"""Maps on disk."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from mrunfold.coils import EspiritSettings, cache, cache_folder, cached_maps

SETTINGS = EspiritSettings()
SHAPE = (20, 18)


@pytest.fixture
def block() -> np.ndarray:
    draws = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    decay = np.exp(-np.hypot(*np.meshgrid(np.arange(-8, 8), np.arange(-8, 8))) / 2)
    return ((draws[0] + 1j * draws[1]) * decay).astype(np.complex64)


@pytest.fixture
def count(monkeypatch) -> list[int]:
    """Counts how often maps are computed; the maps are cheap ones."""
    calls: list[int] = []

    def fake(block, shape, settings):
        calls.append(1)
        unit = block.ravel()[0] / abs(block.ravel()[0])
        return np.full((1, len(block), *shape), unit * len(block) ** -0.5, np.complex64)

    monkeypatch.setattr(cache, "maps_from_block", fake)
    return calls


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "maps").iterdir())


def test_the_second_time_they_are_read(tmp_path, block, count):
    first, source = cached_maps(block, SHAPE, SETTINGS, tmp_path)
    assert source == "computed"
    again, source = cached_maps(block.copy(), SHAPE, SETTINGS, tmp_path)
    assert source == "cache"
    assert len(count) == 1
    np.testing.assert_array_equal(first, again)
    assert first.dtype == again.dtype


def test_other_content_shape_or_settings_are_computed(tmp_path, block, count):
    cached_maps(block, SHAPE, SETTINGS, tmp_path)
    cached_maps(block * np.float32(1.5), SHAPE, SETTINGS, tmp_path)
    cached_maps(block, (20, 20), SETTINGS, tmp_path)
    cached_maps(block, SHAPE, EspiritSettings(crop=0.9), tmp_path)
    assert len(count) == len(kept(tmp_path)) == 4


def test_real_maps_come_back_equal(tmp_path, block):
    first, _ = cached_maps(block, SHAPE, SETTINGS, tmp_path)
    again, source = cached_maps(block, SHAPE, SETTINGS, tmp_path)
    assert source == "cache"
    np.testing.assert_array_equal(first, again)


def with_digest(maps: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, maps)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


WRONG = {
    "wrong shape": np.full((1, 3, 4, 4), 3**-0.5, np.complex64),
    "NaN": np.full((1, 3, *SHAPE), np.nan, np.complex64),
    "zero": np.zeros((1, 3, *SHAPE), np.complex64),
    "not normalised": np.ones((1, 3, *SHAPE), np.complex64),
}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", *WRONG])
def test_a_damaged_file_is_computed_again(tmp_path, block, count, caplog, damage):
    expected, _ = cached_maps(block, SHAPE, SETTINGS, tmp_path)
    (path,) = kept(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 0x40
    if damage in WRONG:
        path.write_bytes(with_digest(WRONG[damage]))
    else:
        path.write_bytes(
            {"truncated": data[: len(data) // 2], "empty": b"", "text": b"maps"}.get(damage, data)
        )
    with caplog.at_level(logging.WARNING):
        maps, source = cached_maps(block, SHAPE, SETTINGS, tmp_path)
    assert source == "computed"
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(maps, expected)
    assert cached_maps(block, SHAPE, SETTINGS, tmp_path)[1] == "cache"


def test_no_flipped_bit_passes(tmp_path, block, count):
    expected, _ = cached_maps(block, SHAPE, SETTINGS, tmp_path)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    places = [*range(128), *range(128, len(whole), 97), *range(len(whole) - 32, len(whole))]
    for place in places:
        for bit in (0, 6):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            maps, source = cached_maps(block, SHAPE, SETTINGS, tmp_path)
            assert source == "computed", (place, bit)
            np.testing.assert_array_equal(maps, expected)


def test_a_pipe_in_the_cache_is_not_waited_for(tmp_path, block, count):
    cached_maps(block, SHAPE, SETTINGS, tmp_path)
    (path,) = kept(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert cached_maps(block, SHAPE, SETTINGS, tmp_path)[1] == "computed"


def test_no_cache_keeps_nothing(tmp_path, block, count, monkeypatch):
    monkeypatch.setenv("MRUNFOLD_CACHE", str(tmp_path))
    for _ in range(2):
        assert cached_maps(block, SHAPE, SETTINGS, None)[1] == "computed"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, block, count, caplog):
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        _, source = cached_maps(block, SHAPE, SETTINGS, tmp_path / "file")
    assert source == "computed"
    assert "MRUNFOLD_CACHE" in caplog.text


def test_the_oldest_make_room(tmp_path, block, count, monkeypatch):
    cached_maps(block, SHAPE, SETTINGS, tmp_path)
    (oldest,) = kept(tmp_path)
    os.utime(oldest, (1, 1))
    monkeypatch.setattr(cache, "LIMIT_BYTES", int(1.5 * oldest.stat().st_size))
    cached_maps(block * 2, SHAPE, SETTINGS, tmp_path)
    assert len(kept(tmp_path)) == 1
    assert kept(tmp_path) != [oldest]


def test_the_folder_is_the_one_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("MRUNFOLD_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MRUNFOLD_CACHE")
    assert cache_folder().name == "mrunfold"
