"""DICOM beside the volumes of a batch: NAME_dicom for each NAME.h5, resumable like the batch itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from mrunfold.batch.manifest import only_batch
from mrunfold.batch.run import Batch
from mrunfold.errors import InputError
from mrunfold.export.manifest import check_sums
from mrunfold.export.run import EXPORTED, ExportRequest, export_result
from mrunfold.io import sha256_of
from mrunfold.io.folder import check_target, result_folder

__all__ = ["export_volumes"]

LEFT_BEHIND = re.compile(r"\..+_dicom\.[0-9a-f]{8}\.(part|old)")


def export_volumes(
    folder: Path, batch: Batch, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write `folder`/NAME_dicom for each volume that is done, and remove that of one that failed.

    An export that is whole and of this very volume is kept.  Nobody is named in it.  progress: called with
    (volumes done, in all).  Returns how many were {"written": …, "kept": …}; raises InputError where a
    volume is damaged or a folder in the way is no export.
    """
    count = {"written": 0, "kept": 0}
    names = sorted({*batch.done, *batch.kept})
    with only_batch(folder):
        for path in folder.iterdir():
            if path.is_dir() and LEFT_BEHIND.fullmatch(path.name):  # of a process that was killed
                shutil.rmtree(path, ignore_errors=True)
        for name in batch.failed:
            final = folder / f"{name}_dicom"
            # A raw file out of reach leaves its volume, and what was exported of it.
            if final.exists() and not (folder / f"{name}.h5").exists():
                check_target(final, True, EXPORTED)
                shutil.rmtree(final)
        for number, name in enumerate(names):
            if progress is not None:
                progress(number, len(names))
            final, source = folder / f"{name}_dicom", folder / f"{name}.h5"
            if _is_whole(final, source):
                count["kept"] += 1
                continue
            with result_folder(final, True, EXPORTED) as part:
                export_result(source, part, ExportRequest(dicom=True))
            count["written"] += 1
    if progress is not None:
        progress(len(names), len(names))
    return count


def _is_whole(final: Path, source: Path) -> bool:
    """Whether `final` is an undamaged export of `source` as it is now."""
    try:
        check_sums(final)
        record = json.loads((final / "export.json").read_text(encoding="utf-8"))
    except (InputError, OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("source_sha256") == sha256_of(source)
