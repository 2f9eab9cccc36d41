"""Global heaps of an HDF5 file, where strings and ISMRMRD samples lie, checked before the library walks them.

In a damaged collection HDF5 loops for ever or crashes (seen with 2.0.0), which no `except` catches.  Layout:
HDF5 File Format Specification, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.hdf5 import reading

__all__ = ["REFERENCE", "check_heaps", "damaged", "has_references", "heap_object", "read_field", "read_text"]

HEADER = 16  # bytes, of a collection and of each object in it
REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])


def check_heaps(path: Path, dataset: h5py.Dataset) -> None:
    """Raise InputError where a variable-length dataset points to a damaged heap; others pass.

    Filtered references are not looked at: nobody compresses them.
    """
    with reading(path, f"'{dataset.name}'"):
        row, references = _references(dataset.id.get_type())
        if not references:
            return
        properties = dataset.file.id.get_create_plist()
        if properties.get_sizes() != (8, 8) or properties.get_userblock() != 0:
            raise InputError(f"{path}: an HDF5 file of an unusual layout; rewrite it with h5repack")
    collections: dict[int, dict[int, tuple[int, int]]] = {}
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        for _, rows in _raw_rows(path, dataset, row):
            for offset, width in references:
                cells = np.ascontiguousarray(rows[:, offset : offset + REFERENCE.itemsize]).view(REFERENCE)
                for count, address, index in cells.reshape(-1).tolist():
                    if count == 0:
                        continue
                    if address not in collections:
                        collections[address] = _collection(path, file.fileno(), address, end)
                    if collections[address].get(index, (0, -1))[1] != count * width:
                        raise damaged(path)


def read_text(path: Path, dataset: h5py.Dataset | h5py.Group | None, limit: int) -> bytes | str:
    """Return the one text that a dataset holds, at most `limit` bytes where that is declared.

    Raises InputError where it is no text, or more than one.
    """
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.size != 1
        or h5py.check_string_dtype(dataset.dtype) is None
        or dataset.dtype.itemsize > limit
    ):
        raise InputError(
            f"{path}: its ISMRMRD header must be one text of at most {limit} bytes; write it anew"
        )
    check_heaps(path, dataset)
    with reading(path, f"'{dataset.name}'"):
        value = np.asarray(dataset[()]).reshape(-1)[0]
    return value if isinstance(value, str) else bytes(value)


def has_references(kind: h5py.h5t.TypeID) -> bool:
    """Whether values of this type refer to a heap."""
    return bool(_references(kind)[1])


def _references(kind: h5py.h5t.TypeID) -> tuple[int, list[tuple[int, int]]]:
    """Return a row's bytes on disk, and where it has references with the bytes of one element behind each."""
    if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
        return REFERENCE.itemsize, [(0, 1)]  # a pointer of 8 bytes in memory, hence not get_size()
    if isinstance(kind, h5py.h5t.TypeVlenID):
        return REFERENCE.itemsize, [(0, kind.get_super().get_size())]
    if not isinstance(kind, h5py.h5t.TypeCompoundID):
        return kind.get_size(), []
    found, end = [], 0
    for member in range(kind.get_nmembers()):
        offset = kind.get_member_offset(member)
        size, inner = _references(kind.get_member_type(member))
        found += [(offset + start, width) for start, width in inner]
        end = max(end, offset + size)
    return max(end, kind.get_size()), found


def _raw_rows(path: Path, dataset: h5py.Dataset, row: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of the first row, bytes (rows, row)) of a dataset as they lie in the file."""
    places: list[tuple[int, int, int]] = []
    with reading(path, f"'{dataset.name}'"):
        if dataset.chunks is None:
            if (offset := dataset.id.get_offset()) is not None:
                places.append((0, offset, dataset.id.get_storage_size()))
        elif not _filtered(dataset):
            dataset.id.chunk_iter(lambda c: places.append((c.chunk_offset[0], c.byte_offset, c.size)))
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        for first, start, length in places:
            if start + length > end:
                raise damaged(path)
            raw = os.pread(file.fileno(), length, start)
            yield first, np.frombuffer(raw, np.uint8, len(raw) // row * row).reshape(-1, row)


def _filtered(dataset: h5py.Dataset) -> bool:
    return dataset.id.get_create_plist().get_nfilters() > 0


def read_field(path: Path, dataset: h5py.Dataset, name: str) -> np.ndarray:
    """Return a field of fixed size of all rows of a 1-D compound dataset, (row,).

    From the raw rows: h5py would read the variable-length fields with it, which are the whole scan.
    """
    with reading(path, f"'{dataset.name}'"):
        dtype, kind = dataset.dtype[name], dataset.id.get_type()
        offset = kind.get_member_offset(kind.get_member_index(name.encode()))
        row = _references(kind)[0]
        if dataset.chunks is not None and _filtered(dataset):
            blocks = [dataset.fields(name)[i : i + 256] for i in range(0, dataset.size, 256)]
            return np.concatenate(blocks)
        if kind.get_member_type(kind.get_member_index(name.encode())).get_size() != dtype.itemsize:
            raise damaged(path)
    field = np.zeros(dataset.size, dtype)
    for first, rows in _raw_rows(path, dataset, row):
        count = min(len(rows), len(field) - first)
        if count > 0:
            cells = np.ascontiguousarray(rows[:count, offset : offset + dtype.itemsize])
            field[first : first + count] = cells.reshape(-1).view(dtype)
    return field


def heap_object(path: Path, file: int, address: int, index: int, length: int, end: int, limit: int) -> bytes:
    """Return object `index` of the collection at `address`, at most `limit` bytes, without the library.

    file: a descriptor of `end` bytes; length: what refers to it says.  Raises InputError where damaged.
    """
    objects = _collection(path, file, address, end)
    if index not in objects or objects[index][1] != length or length > limit:
        raise damaged(path)
    return os.pread(file, length, objects[index][0])


def _collection(path: Path, file: int, address: int, end: int) -> dict[int, tuple[int, int]]:
    """Return (place, size) of each object of the collection at `address`; raise InputError where damaged."""
    header = os.pread(file, HEADER, address) if address + HEADER <= end else b""
    if len(header) < HEADER or header[:5] != b"GCOL\x01":
        raise damaged(path)
    size = struct.unpack("<Q", header[8:])[0]
    if size < 4096 or size > end - address:
        raise damaged(path)
    objects: dict[int, tuple[int, int]] = {}
    position = HEADER
    while size - position >= HEADER:
        index, _, _, length = struct.unpack("<HHIQ", os.pread(file, HEADER, address + position))
        # The free space is object 0, and its length has its header in it.
        step = length if index == 0 else HEADER + (length + 7) // 8 * 8
        if step < HEADER or step > size - position or index in objects:
            raise damaged(path)
        objects[index] = (address + position + HEADER, length)
        position += step
    return objects


def damaged(path: Path) -> InputError:
    """Return the error that says so of what lies in a file's heaps."""
    return InputError(f"{path}: its variable-length data are damaged; copy the file again")
