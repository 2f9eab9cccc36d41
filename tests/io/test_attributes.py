"""Attributes are read as h5py has them, and damaged ones neither stop nor crash anything."""

from __future__ import annotations

import random
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.io.attributes import read_attribute

VALUES = {
    "word": "AXT2",
    "accents": "Schädel µ",
    "empty": "",
    "bytes": np.bytes_(b"CORPD_FBK"),
    "number": 3.5,
    "count": np.int64(7),
    "truth": True,
    "list": np.arange(4),
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("many", [0, 5, 40])
def test_they_are_what_h5py_reads(tmp_path, libver, many):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        for number in range(many):
            file.attrs[f"other{number}"] = "x" * number
        for name, value in VALUES.items():
            file.attrs[name] = value
        expected = dict(file.attrs)
    with h5py.File(path) as file:
        for name, value in expected.items():
            found = read_attribute(path, file, name)
            # With more than 8 of them, new files keep attributes where only the library finds them.
            if found is None and libver == "latest":
                assert len(expected) > 8
                assert isinstance(value, str)
                continue
            np.testing.assert_array_equal(found, value)
        assert read_attribute(path, file, "missing") is None


@pytest.mark.parametrize(
    "value", [np.array(["a", "b"], object), np.zeros(20_000)], ids=["several texts", "long"]
)
def test_what_no_reader_needs_is_refused(tmp_path, value):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        kind = h5py.string_dtype() if value.dtype == object else None
        file.attrs.create("strange", value, dtype=kind)
    with h5py.File(path) as file, pytest.raises(InputError, match="strange"):
        read_attribute(path, file, "strange")


PROGRAM = """
import sys
from pathlib import Path
from mrunfold.errors import InputError
from mrunfold.io.attributes import read_attribute
from mrunfold.io.hdf5 import open_h5
for path in map(Path, sys.argv[1:]):
    try:
        with open_h5(path) as file:
            for name in ("acquisition", "max"):
                read_attribute(path, file, name)
        print("read")
    except InputError as error:
        assert len(str(error)) < 500
        print("refused")
"""


def test_damaged_heaps_end(tmp_path):
    good = tmp_path / "good.h5"
    with h5py.File(good, "w") as file:
        file.attrs["acquisition"], file.attrs["max"] = "AXT2", 1.0
    data = good.read_bytes()
    heap = data.index(b"GCOL")
    rng = random.Random(0)
    paths = []
    # Sizes of the collection and of its objects, in which the library loops, and places around.
    spots = [*range(heap, heap + 64)] * 3 + [rng.randrange(len(data)) for _ in range(150)]
    for number, spot in enumerate(spots):
        changed = bytearray(data)
        changed[spot] = rng.choice([0, 1, 255, rng.randrange(256)])
        paths.append(tmp_path / f"{number}.h5")
        paths[-1].write_bytes(changed)
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = done.stdout.split()
    assert len(answers) == len(paths)
    assert answers.count("refused") > 50
    assert answers.count("read") > 50


def test_the_library_itself_does_not_end(tmp_path):
    """What the check is for: the same damage, read by h5py alone."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["acquisition"] = "AXT2"
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    data[first + 8 : first + 16] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(data)
    command = [sys.executable, "-c", f"import h5py; h5py.File({str(path)!r}).attrs['acquisition']"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        pass  # HDF5 2.0.0 loops
    else:
        assert done.returncode != 0
    with h5py.File(path) as file, pytest.raises(InputError, match="damaged"):
        read_attribute(path, file, "acquisition")
