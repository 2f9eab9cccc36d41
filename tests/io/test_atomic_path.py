"""A file is there whole, or it is not there."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess

import h5py
import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.io import atomic, atomic_path, sha256_of


def test_it_appears_when_the_block_ends(tmp_path):
    final = tmp_path / "result.nii.gz"
    with atomic_path(final) as path:
        path.write_bytes(b"new")
        assert path.parent == tmp_path
        assert path.name.endswith("result.nii.gz")
        assert not final.exists()
    assert final.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result.nii.gz"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as path:
            path.write_bytes(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, InputError])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    final = tmp_path / "result"
    final.write_bytes(b"old")

    def interrupted():
        with atomic_path(final) as path:
            path.write_bytes(b"new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert final.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("where", ["block", "fsync"])
def test_a_full_disk(tmp_path, monkeypatch, code, where):
    def full(*_):
        raise OSError(code, os.strerror(code))

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full)

    def write():
        with atomic_path(tmp_path / "a") as path:
            path.write_bytes(b"new")
            if where == "block":
                full()

    with pytest.raises(InputError, match="no space left on the disk"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_real_full_disk_under_hdf5(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here; the simulated errors cover it")
    try:
        with (
            pytest.raises(InputError, match="no space left on the disk"),
            atomic_path(disk / "a.h5") as path,
            h5py.File(path, "w") as file,
        ):
            file["x"] = np.random.default_rng(0).random(100_000)
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_an_unwritable_folder(tmp_path, monkeypatch, code):
    def refuse(path, *_):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(atomic.os, "open", refuse)
    with pytest.raises(InputError, match="no permission to write in"), atomic_path(tmp_path / "a"):
        pytest.fail("the block must not run")


def test_other_refusals_are_not_renamed(tmp_path):
    """Permission denied on a file that is read within the block is no matter of the folder."""
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="create it first"), atomic_path(tmp_path / "b" / "a"):
        pytest.fail("the block must not run")
    with pytest.raises(InputError, match="is a folder"), atomic_path(tmp_path):
        pytest.fail("the block must not run")


def test_sha256(tmp_path):
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
