"""Raw data are recognised by what is in the file, not by its name."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py

from mrunfold.errors import InputError
from mrunfold.io.centre import centred
from mrunfold.io.hdf5 import find, open_h5, reading
from mrunfold.io.hybrid import HybridScan
from mrunfold.io.layouts import LayoutScan, layout_of
from mrunfold.io.memory import require_memory
from mrunfold.io.mrd import find_groups
from mrunfold.io.scan import Header, Scan
from mrunfold.io.source import files_of, open_regular
from mrunfold.io.trajectory import Trajectory, open_along
from mrunfold.io.twix_file import TwixFile, looks_like_twix
from mrunfold.io.volume_centre import centred_volume
from mrunfold.registry import Registry

__all__ = ["READERS", "as_slices", "holds_raw_data", "open_scan", "raw_files"]

log = logging.getLogger(__name__)

# What a folder is searched for, in capitals too; other files are taken where raw data are in them.
FOLDER_SUFFIXES = (".h5", ".hdf5", ".mrd", ".cfl")
HDF5 = b"\x89HDF\r\n\x1a\n"
COPIES = 3  # of a slice, while it is read and looked at
READS = "fastMRI .h5, ISMRMRD .h5, Siemens twix .dat, BART .cfl/.hdr, .npy, .npz and .mat are read"
SEVERAL = ("mrd", "twix")  # readers of files that may hold several measurements
READERS = Registry(
    "reader",
    "mrunfold.readers",
    {
        "fastmri": "mrunfold.io.fastmri:FastmriScan",
        "mrd": "mrunfold.io.mrd:MrdScan",
        "cfl": "mrunfold.io.cfl:CflScan",
        "twix": "mrunfold.io.twix:TwixScan",
    },
)


def open_scan(
    path: str | os.PathLike[str],
    measurement: str | None = None,
    reader: str | None = None,
    trajectory: Trajectory | None = None,
) -> Scan:
    """Open raw k-space: fastMRI or ISMRMRD HDF5, twix, BART .cfl/.hdr (or their stem), .npy, .npz, .mat.

    measurement: which of an ISMRMRD file's groups, or of a twix file's measurements from 1, where it has
    several.  The centre of k-space is measured and put at N//2 where it is elsewhere, which `header.notes`
    says.  reader: the name of one of READERS, or package.module:Class, a subclass of Scan that is called with
    the path; None: the file is shown to the readers of other packages, then recognised by what is in it.
    trajectory: where samples lie, where that is not the grid and the file does not say it.
    Raises InputError, one line that says what the file is instead and what to do, for everything else.
    """
    path = Path(path)
    if trajectory is not None:
        return _along(path, measurement, trajectory)
    chosen = reader or next((name for name in READERS.others() if _recognised(name, path)), None)
    scan = _opened(path, measurement) if chosen is None else _opened_by(chosen, path, measurement)
    return as_slices(scan)


def as_slices(scan: Scan) -> Scan:
    """Return what a reader read as slices whose k-space has its centre at N//2; closes it where that fails.

    Of a 3-D scan, its positions or partitions (`HybridScan`).
    """
    try:
        whole = scan.volume is not None
        if scan.volume is not None:
            scan = HybridScan(centred_volume(scan.volume))
        header = scan.header
        slice_bytes = 8 * header.coils * header.matrix[0] * header.matrix[1]
        # What a file declares need not be on the disk: a sparse file has any size.
        require_memory(
            COPIES * slice_bytes, f"to read a slice of {scan.path.name}", "use a machine with more"
        )
        if whole or header.trajectory is not None:
            return scan
        return centred(scan, measure=getattr(scan, "loose", False))
    except BaseException:
        scan.close()
        raise


def _opened(path: Path, measurement: str | None) -> Scan:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give one raw data file")
    if path.suffix in (".cfl", ".hdr") or (not path.exists() and Path(f"{path}.hdr").is_file()):
        from mrunfold.io.cfl import CflScan

        named = path.suffix in (".cfl", ".hdr")
        if named and not any(path.with_suffix(suffix).exists() for suffix in (".cfl", ".hdr")):
            raise InputError(f"{path}: no such file")
        return CflScan(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; {READS}")
    start = _start(path)
    if path.suffix.lower() == ".mat" and _is_hdf5(start, path) and _is_layout(path):
        return LayoutScan(path)
    if start[:6] == b"\x93NUMPY" or path.suffix.lower() in (".npz", ".mat"):
        from mrunfold.io.arrays import open_array

        return open_array(path)
    if _is_hdf5(start, path):
        return _open_hdf5(path, measurement)
    if looks_like_twix(start):
        from mrunfold.io.twix import TwixScan

        return TwixScan(path, measurement)
    raise InputError(f"{path}: {_what(path, start)}")


def _along(path: Path, measurement: str | None, trajectory: Trajectory) -> Scan:
    """Open a file along a trajectory of the user's."""
    if path.is_file():
        start = _start(path)
        if looks_like_twix(start) and path.suffix.lower() not in (".cfl", ".hdr"):
            from mrunfold.io.twix import twix_along

            return twix_along(path, measurement, trajectory)
        if _is_hdf5(start, path):
            with open_h5(path) as file:
                groups = find_groups(path, file)
            if groups:
                from mrunfold.io.mrd_trajectory import mrd_along

                return mrd_along(path, measurement, trajectory)
    return open_along(path, trajectory)


def _start(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(4096)


def _reader(name: str) -> type[Scan]:
    found = READERS.load(name)
    if not (isinstance(found, type) and issubclass(found, Scan)):
        raise InputError(f"reader {name} is no reader: a subclass of mrunfold.io.Scan that is given a path")
    return found


def _recognised(name: str, path: Path) -> bool:
    """Whether a reader of another package takes the file; one that is broken takes none and is named."""
    if not path.is_file():
        return False
    try:
        return bool(_reader(name).recognises(path, _start(path)))
    except InputError as error:
        log.warning("%s; files are read without it", error)
        return False


def _opened_by(name: str, path: Path, measurement: str | None) -> Scan:
    make: Callable[..., Scan] = _reader(name)
    if not any(file.exists() for file in files_of(path)):
        raise InputError(f"{path}: no such file")
    scan = make(path, measurement) if name in SEVERAL else make(path)
    found = getattr(scan, "header", None), getattr(scan, "path", None)
    if not (isinstance(found[0], Header) and isinstance(found[1], Path)):
        raise InputError(f"reader {name} must set `header`, a Header, and `path`, a Path, of {path}")
    return scan


def holds_raw_data(path: Path) -> bool:
    """Return whether a file is a twix .dat or, whatever its name, HDF5 with raw data; none is read."""
    if not path.is_file():
        return False
    try:
        if path.suffix.lower() == ".dat" and looks_like_twix(_start(path)):
            TwixFile(path).close()
            return True
        if not h5py.is_hdf5(path):
            return False
        with open_h5(path) as file:
            if find(path, file, "kspace") is not None or find_groups(path, file):
                return True
            return layout_of(path, file) is not None
    except InputError:
        return False  # damaged, and not called raw data either


def _is_hdf5(start: bytes, path: Path) -> bool:
    # A user block may come first (MATLAB writes one of 512 bytes).
    return start.startswith(HDF5) or (HDF5 in start[512 : 512 + len(HDF5)]) or bool(h5py.is_hdf5(path))


def _what(path: Path, start: bytes) -> str:
    """Return what a file without k-space that we read seems to be, and what to do."""
    if not start:
        return f"the file is empty; {READS}"
    dicom = start[128:132] == b"DICM" or start[:8] in (
        b"\x08\x00\x00\x00UL\x04\x00",
        b"\x08\x00\x05\x00CS\x0a\x00",
    )
    if dicom:
        return "a DICOM image: k-space cannot be had out of DICOM, export the raw data on the scanner"
    if start[344:348] in (b"n+1\0", b"ni1\0") or path.name.endswith((".nii", ".nii.gz")):
        return "a NIfTI image: it holds no k-space; give the raw data"
    if _is_stream(start):
        return "an ISMRMRD stream; make an .h5 of it with `ismrmrd_stream_to_hdf5`"
    if start[:5] == b"yardl":
        return "an MRD 2 stream; make an .h5 of it with `mrd_to_ismrmrd` and `ismrmrd_stream_to_hdf5`"
    if start.startswith(b"MATLAB 5.0"):
        return "a MATLAB 5 file; name it .mat"
    return f"not raw data that is known; {READS}"


def _is_layout(path: Path) -> bool:
    with open_h5(path) as file:
        return layout_of(path, file) is not None


def _is_stream(start: bytes) -> bool:
    """Return whether this is the start of an ISMRMRD stream: messages of a number (16 bits) and a body."""
    if len(start) < 8:
        return False
    message, length = struct.unpack("<HI", start[:6])
    if message == 1:  # the name of a configuration, 1024 bytes
        return start[1026:1028] in (b"\x02\x00", b"\x03\x00")
    # 2 a configuration, 3 the header: XML behind its length
    return (
        message in (2, 3) and 0 < length < 1 << 24 and start[6:64].lstrip(b" \t\r\n\xef\xbb\xbf")[:1] == b"<"
    )


def _open_hdf5(path: Path, measurement: str | None) -> Scan:
    from mrunfold.io.fastmri import FastmriScan
    from mrunfold.io.mrd import MrdScan
    from mrunfold.io.mrd_trajectory import mrd_along, trajectory_of

    with open_h5(path) as file:
        known = layout_of(path, file) is not None
        kspace = find(path, file, "kspace") is not None
        groups = [] if kspace else find_groups(path, file)
        with reading(path, "its contents"):
            names = ", ".join(repr(name)[1:-1][:40] for name in list(file)[:8]) or "nothing"
    if known:
        return LayoutScan(path)
    if kspace:
        return FastmriScan(path)
    if groups and trajectory_of(path, measurement) is not None:
        return mrd_along(path, measurement)
    if groups:
        return MrdScan(path, measurement)
    raise InputError(
        f"{path}: an HDF5 file without k-space (no 'kspace' as fastMRI, no 'xml' and 'data' as ISMRMRD); "
        f"it holds {names}"
    )


def raw_files(inputs: Iterable[Path | str]) -> list[Path]:
    """Return the raw files of files and folders (not of folders within), those of a folder by name.

    Raises InputError where a path is missing or a folder holds no raw data.
    """
    found = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = [p for p in path.iterdir() if not p.name.startswith(".") and _is_raw(p)]
            if not inside:
                kinds = ", ".join(FOLDER_SUFFIXES)
                raise InputError(f"{path} holds no raw data ({kinds}); give another folder")
            found += sorted(inside)
        elif path.suffix == ".hdr":
            found.append(path.with_suffix(".cfl"))  # either name of BART's pair means both
        else:
            found.append(path)
        if not os.path.lexists(found[-1]):
            raise InputError(f"{found[-1]}: no such file")
    return found


def _is_raw(path: Path) -> bool:
    if path.suffix.casefold() in FOLDER_SUFFIXES:
        return True
    return path.suffix != ".hdr" and holds_raw_data(path)
