"""How files are damaged: by bits, bytes, blocks, cuts, extreme numbers, and words of their own grammar."""

from __future__ import annotations

import random

__all__ = ["damaged"]

EXTREMES = tuple(
    value.to_bytes(width, "little")
    for width in (1, 2, 4, 8)
    for value in (
        0,
        1,
        2 ** (8 * width - 1) - 1,
        2 ** (8 * width - 1),
        2 ** (8 * width) - 1,
        2 ** (8 * width) - 16,
    )
)
WORDS = (
    b"../victim", b"/etc/passwd", b"\x1b[31m", b"\xff\xfe", b"\0", b"1e999", b"-1", b"1" + b"0" * 30, b"NaN",
    b"Infinity", b"null", b"true", b'"x"', b"{}", b"[]", b"[" * 2000, b'{"a":' * 2000, b"<!DOCTYPE a>",
    b"&a;", b"=1+1", b"\n", b"'", b"%s%n", b"$\\frac", "\u202e".encode(),
)  # fmt: skip


def damaged(data: bytes, rng: random.Random, text: bool) -> bytes:
    """Return `data` damaged in one of a dozen ways; text: words are put in as well as bits turned."""
    ways = [_bits, _bits, _bytes, _cut, _zeros, _doubled, _swapped, _extreme, _extreme, _longer]
    if text:
        ways += [_word] * 6 + [_line] * 2
    changed = data
    while changed == data:  # zeros over zeros are no damage
        changed = bytes(rng.choice(ways)(bytearray(data), rng))
    return changed


def _place(data: bytearray, rng: random.Random, width: int = 1) -> int:
    """Mostly where the structure is: the beginning of the file, and its end."""
    most = max(len(data) - width, 0)
    kind = rng.random()
    if kind < 0.5:
        return rng.randint(0, min(most, 6000))
    return rng.randint(max(most - 2000, 0), most) if kind < 0.65 else rng.randint(0, most)


def _bits(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 1, 1, 3, 20])):
        if data:
            data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def _bytes(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 3, 20])):
        if data:
            data[_place(data, rng)] = rng.randrange(256)
    return data


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _zeros(data: bytearray, rng: random.Random) -> bytearray:
    at, length = _place(data, rng), rng.choice([4, 64, 512, 4096])
    data[at : at + length] = bytes(min(length, len(data) - at))
    return data


def _doubled(data: bytearray, rng: random.Random) -> bytearray:
    at, length = _place(data, rng), rng.choice([8, 64, 1024])
    return data[:at] + data[at : at + length] + data[at:]


def _swapped(data: bytearray, rng: random.Random) -> bytearray:
    length = rng.choice([8, 64, 512])
    a, b = _place(data, rng, length), _place(data, rng, length)
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


def _extreme(data: bytearray, rng: random.Random) -> bytearray:
    value = rng.choice(EXTREMES)
    at = _place(data, rng, len(value)) // len(value) * len(value)
    data[at : at + len(value)] = value
    return data


def _longer(data: bytearray, rng: random.Random) -> bytearray:
    return data + bytes(rng.randrange(256) for _ in range(rng.choice([1, 100, 5000])))


def _word(data: bytearray, rng: random.Random) -> bytearray:
    at, gone = rng.randint(0, len(data)), rng.choice([0, 0, 1, 5, 20])
    return data[:at] + rng.choice(WORDS) + data[at + gone :]


def _line(data: bytearray, rng: random.Random) -> bytearray:
    lines = data.split(b"\n")
    rng.choice([lines.pop, lambda n: lines.append(lines[n])])(rng.randrange(len(lines)))
    return bytearray(b"\n").join(lines)
