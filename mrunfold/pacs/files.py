"""The DICOM files of a folder, checked before anything is sent."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrunfold.errors import InputError
from mrunfold.export.manifest import SUMS, read_sums

__all__ = ["Instance", "export_root", "find_instances", "read_instance"]

PREFIX = b"DICM"
MOST_BYTES = 1 << 31  # of one file; an explicit length in DICOM has 32 bits
PIXELS = (("PixelData", None), ("FloatPixelData", 4), ("DoubleFloatPixelData", 8))


@dataclass(frozen=True)
class Instance:
    """One DICOM file: its path, SOP class and instance, transfer syntax, sha256 of its bytes; study, series:
    their UIDs, empty where the file has none."""

    path: Path
    sop_class: str
    uid: str
    syntax: str
    digest: str
    study: str = ""
    series: str = ""


def find_instances(folder: Path) -> list[Instance]:
    """Return the DICOM files under `folder`, by path; the same bytes under one UID count once.

    Files without DICOM's prefix (records, manifests) are passed over unless they are named .dcm.  Raises
    InputError where there are none, where one is damaged, and where two files claim one SOP Instance UID with
    different content: a PACS would keep one of them.  Where the folder, or one of the two above it, has the
    SHA256SUMS of an export, a file that is not as it was written is an error too: DICOM itself does not
    notice a change.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; give one that holds DICOM files, as `export` writes")
    paths = [folder] if folder.is_file() else [p for p in sorted(folder.rglob("*")) if p.is_file()]
    found: dict[str, Instance] = {}
    for path in paths:
        if not _is_dicom(path):
            if path.suffix.lower() == ".dcm":
                raise InputError(f"{path}: named .dcm and no DICOM file; remove it, or export again")
            continue
        instance, _ = read_instance(path)
        other = found.setdefault(instance.uid, instance)
        if other.digest != instance.digest:
            raise InputError(
                f"{other.path} and {path} have the same SOP Instance UID and different content; a PACS would "
                "keep only one: push them from different folders, or export again"
            )
    if not found:
        raise InputError(f"{folder} holds no DICOM files; write them first: `mrunfold export RESULT --dicom`")
    _check_sums(folder.absolute(), list(found.values()))
    return list(found.values())


def export_root(folder: Path) -> Path | None:
    """Return the export that a folder or file is, or lies in up to three levels deep; None for none."""
    folder = folder.absolute()
    return next((p for p in (folder, *folder.parents[:3]) if (p / SUMS).is_file()), None)


def _check_sums(folder: Path, instances: list[Instance]) -> None:
    """Raise InputError where a file that SHA256SUMS lists under `folder` is missing or has changed."""
    root = export_root(folder)
    if root is None:
        return
    listed = {root / name: digest for name, digest in read_sums(root).items()}
    here = {i.path.absolute(): i.digest for i in instances}
    changed = [p for p, digest in here.items() if listed.get(p, digest) != digest]
    gone = [
        p for p in listed if p not in here and p.suffix == ".dcm" and (folder == p or folder in p.parents)
    ]
    for what, paths in (("changed since it was written", changed), ("missing", gone)):
        if paths:
            raise InputError(f"{paths[0]}: {what}, as {root / SUMS} says; export again")


def read_instance(path: Path) -> tuple[Instance, Any]:
    """Return a file's Instance and its pydicom dataset, or raise InputError where it is damaged."""
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are more than a DICOM instance can have")
    content = path.read_bytes()  # so that an OSError below is pydicom's word for damage, not the disk's
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pydicom only remarks on is for the PACS to judge
            dataset = pydicom.dcmread(io.BytesIO(content))
            for _ in dataset.iterall():  # what cannot be decoded is met here, not in the middle of a push
                pass
            sop_class, uid, syntax = _identity(dataset)
            _check_pixels(dataset)
            # C-STORE writes it once more: what can be read and not written would end the push there.
            pydicom.dcmwrite(io.BytesIO(), dataset)
    except (
        AttributeError,
        BytesLengthException,
        InvalidDicomError,
        EOFError,
        KeyError,
        LookupError,
        NotImplementedError,
        OSError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: damaged DICOM file ({reason}); export again") from None
    digest = hashlib.sha256(content).hexdigest()
    study, series = (str(dataset.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID"))
    return Instance(path, sop_class, uid, str(syntax), digest, study, series), dataset


def _identity(dataset: Any) -> tuple[str, str, Any]:
    """Return SOP class, SOP instance and transfer syntax, or raise ValueError where they cannot be."""
    meta = dataset.file_meta
    uid = dataset.SOPInstanceUID
    if (dataset.SOPClassUID, uid) != (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID):
        raise ValueError("its file meta names another instance")
    if not (meta.TransferSyntaxUID.is_transfer_syntax and uid.is_valid):
        raise ValueError("its UIDs are not valid")
    return str(dataset.SOPClassUID), str(uid), meta.TransferSyntaxUID


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == PREFIX


def _check_pixels(dataset: Any) -> None:
    """Raise ValueError where uncompressed pixels are not as many as the header says: a truncated file."""
    present = [(name, size) for name, size in PIXELS if name in dataset]
    if not present:
        raise ValueError("it holds no pixels")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    name, size = present[0]
    pixels = dataset.Rows * dataset.Columns * int(dataset.get("NumberOfFrames", 1) or 1)
    bits = dataset.BitsAllocated if size is None else 8 * size
    expected = (pixels * dataset.get("SamplesPerPixel", 1) * bits + 7) // 8
    if len(dataset[name].value) != expected + expected % 2:
        raise ValueError(f"{len(dataset[name].value)} bytes of pixels where its header says {expected}")


def batches(instances: list[Instance], contexts: int) -> Iterator[list[Instance]]:
    """Yield runs of instances that need at most so many presentation contexts."""
    run: list[Instance] = []
    kinds: set[tuple[str, str]] = set()
    for instance in instances:
        kind = (instance.sop_class, instance.syntax)
        if kind not in kinds and len(kinds) == contexts:
            yield run
            run, kinds = [], set()
        kinds.add(kind)
        run.append(instance)
    if run:
        yield run
