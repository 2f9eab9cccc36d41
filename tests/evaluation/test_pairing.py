"""Reconstructions and targets are paired by name, whatever their names end in."""

from __future__ import annotations

import pytest

from mrunfold.errors import InputError
from mrunfold.evaluation.pairing import pair_folders


def folders(tmp_path, recons, targets):
    for folder, names in (("recons", recons), ("targets", targets)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"")
    return tmp_path / "recons", tmp_path / "targets"


def test_ends_of_names(tmp_path):
    found = pair_folders(
        *folders(tmp_path, ["a.h5", "b.h5", "c.h5", "x.h5"], ["a.h5", "b.H5", "c.hdf5", "d.mrd"])
    )
    assert [(r.name, t.name) for r, t in found.pairs] == [
        ("a.h5", "a.h5"),
        ("b.h5", "b.H5"),
        ("c.h5", "c.hdf5"),
    ]
    assert found.missing == ("d.mrd",)
    assert found.extra == ("x.h5",)


def test_two_of_one_name(tmp_path):
    with pytest.raises(InputError, match=r"targets holds a.H5 and a.h5"):
        pair_folders(*folders(tmp_path, ["a.h5"], ["a.h5", "a.H5"]))


def test_nothing_pairs(tmp_path):
    with pytest.raises(InputError, match=r"no file of recons is named as one in targets \(a.h5, b.hdf5, …\)"):
        pair_folders(*folders(tmp_path, ["a.h5"], ["b.hdf5"]))
