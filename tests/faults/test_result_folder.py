"""A result folder appears whole or not at all, and replaces nothing but results."""

from __future__ import annotations

import pytest

from mrunfold.errors import InputError
from mrunfold.io.folder import result_folder


def names(folder):
    return sorted(p.name for p in folder.rglob("*"))


def test_it_appears_at_the_end(tmp_path):
    final = tmp_path / "deep" / "er" / "out"
    with result_folder(final) as work:
        (work / "recon.h5").write_text("a")
        assert not final.exists()
    assert names(tmp_path / "deep") == ["er", "out", "recon.h5"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError, SystemExit])
def test_nothing_stays_of_a_failure(tmp_path, error):
    def fail():
        with result_folder(tmp_path / "deep" / "out") as work:
            (work / "recon.h5").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


def test_an_earlier_result_survives_a_failure_and_is_replaced_by_success(tmp_path):
    final = tmp_path / "out"
    with result_folder(final) as work:
        (work / "recon.h5").write_text("first")
        (work / "recon_1.nii.gz").write_text("first")
    with pytest.raises(InputError, match="`overwrite`"), result_folder(final):
        pass
    with pytest.raises(KeyboardInterrupt), result_folder(final, overwrite=True):
        raise KeyboardInterrupt
    assert (final / "recon.h5").read_text() == "first"
    with result_folder(final, overwrite=True) as work:
        (work / "recon.h5").write_text("second")
    assert names(tmp_path) == ["out", "recon.h5"]
    assert (final / "recon.h5").read_text() == "second"


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"), result_folder(tmp_path, overwrite=True):
        pass
    assert names(tmp_path) == ["notes.txt"]


def test_a_file_or_a_link_is_never_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="not a folder"), result_folder(tmp_path / name, overwrite=True):
            pass


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    with result_folder(tmp_path / "out") as work:
        (work / "record.json").write_text("{}")
    assert names(tmp_path) == ["out", "record.json"]
