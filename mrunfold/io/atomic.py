"""Files appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["atomic_path", "beside"]

LONGEST = 255  # bytes of a name, on every file system in common use

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_path(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that becomes `final` when the block ends, and is removed if it fails.

    It lies beside `final` and ends as that does (`.nii.gz`, `.png`), since writers choose by suffix.  Raises
    InputError when the folder is missing or cannot be written and when the disk is full; everything else,
    KeyboardInterrupt too, passes through after the temporary file is gone.
    """
    final = Path(final)
    if final.is_dir():
        raise InputError(f"{final} is a folder; name a file to write")
    if not final.parent.is_dir():
        raise InputError(f"cannot write {final}: no folder {final.parent}; create it first")
    temporary = beside(final, f".part-{secrets.token_hex(4)}-")
    with _disk_errors(final, temporary):
        # Made here rather than by the writer, so that an unwritable folder is known before any work is done.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            _fsync(temporary)
            os.replace(temporary, final)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        with suppress(OSError):  # some file systems cannot sync a folder; the file itself is safe by now
            _fsync(final.parent)


def beside(final: Path, before: str, after: str = "") -> Path:
    """Return `final` with its name between `before` and `after`, its beginning cut where that is too long."""
    room = LONGEST - len(os.fsencode(before + after))
    name = final.name
    while len(os.fsencode(name)) > room:
        name = name[1:]
    return final.parent / f"{before}{name}{after}"


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(final: Path, temporary: Path) -> Iterator[None]:
    """Turn what the disk says into an InputError that says what to do."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        # HDF5 reports a full disk on closing as RuntimeError, and not always with an errno.
        code = getattr(error, "errno", None)
        if code in FULL or "No space left on device" in str(error):
            raise InputError(
                f"cannot write {final}: no space left on the disk; free some or write elsewhere"
            ) from error
        if code in FORBIDDEN and str(getattr(error, "filename", "")) in (str(final), str(temporary)):
            raise InputError(
                f"cannot write {final}: no permission to write in {final.parent}; choose another folder"
            ) from error
        raise
