"""Attributes of an HDF5 file's root, read so that a damaged one can neither stop nor crash the library.

A text of variable length lies in a global heap, through which HDF5 walks without end where it is damaged
(`io.heap`).  Where an attribute's reference lies only the object header says, so that is read here.  Layout:
HDF5 File Format Specification, IV.A "Data Object Headers".
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.hdf5 import reading
from mrunfold.io.heap import REFERENCE, damaged, has_references, heap_object
from mrunfold.io.source import open_regular

__all__ = ["read_attribute"]

log = logging.getLogger(__name__)

ATTRIBUTE, CONTINUATION = 0x0C, 0x10  # types of header messages
SHARED = 0x02  # a flag of a message: it lies elsewhere
MAX_BYTES = 1 << 16  # an attribute is a word or a number
MAX_BLOCKS = 64  # of an object header


def read_attribute(path: Path, file: h5py.File, name: str) -> Any:
    """Return an attribute of the file's root, None where there is none; a text as str or bytes.

    Raises InputError where it is damaged, longer than 64 kB or of a kind that no reader needs.
    """
    with reading(path, f"the attribute '{name}'"):
        if not h5py.h5a.exists(file.id, name.encode()):
            return None
        attribute = h5py.h5a.open(file.id, name.encode())
        kind, size = attribute.get_type(), attribute.get_storage_size()
        single = attribute.get_space().get_simple_extent_npoints() == 1
        if size > MAX_BYTES:
            raise InputError(f"{path}: its attribute '{name}' has {size} bytes, more than a word or a number")
        if not has_references(kind):
            return file.attrs[name]
        address = h5py.h5o.get_info(file.id).addr
    if not (isinstance(kind, h5py.h5t.TypeStringID) and single):
        raise InputError(f"{path}: its attribute '{name}' is no plain text or number; write it anew")
    return _text(path, address, name)


def _text(path: Path, address: int, name: str) -> str | bytes | None:
    with open_regular(path) as file:
        end = os.fstat(file.fileno()).st_size
        content = None
        for kind, message in _messages(path, file.fileno(), address, end):
            if kind == ATTRIBUTE and (found := _content(path, message, name.encode())) is not None:
                content = found
        if content is None:
            log.warning("%s: its attribute '%s' is not read; repack the file with h5repack", path.name, name)
            return None
        if len(content) < REFERENCE.itemsize:
            raise damaged(path)
        length, heap, index = np.frombuffer(content[: REFERENCE.itemsize], REFERENCE)[0].tolist()
        text = heap_object(path, file.fileno(), heap, index, length, end, MAX_BYTES) if length else b""
    text = text.split(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text


def _messages(path: Path, file: int, address: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, data) of an object header's own messages, version 1 or 2, its continuations included."""
    start = _take(path, file, address, 16, end)
    modern = start[:5] == b"OHDR\x02"
    if modern:
        flags = start[5]
        at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        length = int.from_bytes(_take(path, file, at, width, end), "little")
        blocks, head = [(at + width, length)], (6 if flags & 0x04 else 4)
    elif start[0] == 1:
        blocks, head = [(address + 16, struct.unpack("<I", start[8:12])[0])], 8
    else:
        raise damaged(path)
    for number, (at, length) in enumerate(blocks):  # blocks grow on the way
        if number >= MAX_BLOCKS:
            raise damaged(path)
        data = _take(path, file, at, length, end)
        for kind, message in _in_block(path, data, head, modern):
            if kind == CONTINUATION and len(message) >= 16:
                further, size = struct.unpack("<QQ", message[:16])
                # A block of version 2 has a signature before and a checksum behind.
                blocks.append((further + 4, max(size - 8, 0)) if modern else (further, size))
            yield kind, message


def _in_block(path: Path, data: bytes, head: int, modern: bool) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + head <= len(data):
        kind, size, flags = struct.unpack("<BHB" if modern else "<HHB", data[at : at + (4 if modern else 5)])
        at += head
        if at + size > len(data):
            raise damaged(path)
        if not flags & SHARED:
            yield kind, data[at : at + size]
        at += size


def _content(path: Path, message: bytes, name: bytes) -> bytes | None:
    """Return the value's bytes of an attribute message that is called `name`, None for any other."""
    if len(message) < 8:
        raise damaged(path)
    version, flags = message[0], message[1]
    sizes = struct.unpack("<HHH", message[2:8])
    at = 9 if version == 3 else 8
    if message[at : at + sizes[0]].split(b"\0")[0] != name:
        return None
    if version not in (1, 2, 3) or (version > 1 and flags):
        return None  # its type is shared with others: no writer of scans does that
    rounded = [(size + 7) // 8 * 8 if version == 1 else size for size in sizes]
    return message[at + sum(rounded) :]


def _take(path: Path, file: int, address: int, length: int, end: int) -> bytes:
    if address < 0 or length > MAX_BYTES or address + length > end:
        raise damaged(path)
    return os.pread(file, length, address)
