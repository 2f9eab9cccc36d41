"""k-space, masks, maps and noise as arrays, from memory or .npy, .npz, .mat, .h5, .cfl and .png files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Header, Scan, refuse_not_finite

__all__ = ["ArrayScan", "energy_spread", "open_array", "read_arrays", "read_part"]

SUFFIXES = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".cfl", ".hdr", ".png")
MAX_BYTES = 16 << 30
# How much more evenly the energy of coils is spread than that of k-space, and how evenly that may be.
APART, PEAKED = 2.0, 0.25
NAMED = ("kspace", "k_space", "ksp", "kdata", "rawdata")


class ArrayScan(Scan):
    """k-space that is in memory or mapped from a file: complex (slice, coil, readout, phase).

    Frames, if any, follow one another along the first axis.
    Nothing is known of it but its numbers: no field of view, no oversampling, no noise scan.
    Raises InputError for another number of axes, real numbers and an empty array.
    """

    loose = True  # nothing says where the centre of k-space is

    def __init__(
        self,
        kspace: np.ndarray,
        path: Path | str = "array",
        notes: Sequence[str] = (),
        frames: Frames | None = None,
    ) -> None:
        if kspace.ndim != 4 or kspace.dtype.kind != "c" or 0 in kspace.shape:
            raise InputError(
                f"k-space is complex (slice, coil, readout, phase), got {kspace.dtype} {kspace.shape}; give "
                "(coil, readout, phase) or all four axes, of one coil with k[None]"
            )
        self.path, self._kspace = Path(path), kspace
        slices, coils, readout, phase = kspace.shape
        self.header = Header(
            format="array",
            slices=slices,
            coils=coils,
            matrix=(readout, phase),
            unoversampled=readout,
            crop=(readout, phase),
            notes=tuple(notes),
            frames=frames,
        )

    def kspace(self, index: int) -> np.ndarray:
        index = self._index(index)
        kspace = np.ascontiguousarray(self._kspace[index], dtype=np.complex64)
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def acquired(self, index: int) -> np.ndarray:
        return (self._kspace[self._index(index)] != 0).any(axis=0)

    def close(self) -> None:
        """Nothing is kept open."""


def open_array(path: Path) -> ArrayScan:
    """Open the one complex array of a .npy, .npz or .mat file as k-space, its axes found by their energy.

    k-space has its energy about one place of readout and phase, coils and slices do not.  What was taken is
    in `header.notes`.  Raises InputError, with the call that says it, where axes are ambiguous.
    """
    every = read_arrays(path)
    arrays = {name: a for name, a in every.items() if a.dtype.kind == "c"}
    wide = {name: a for name, a in arrays.items() if sum(n > 1 for n in a.shape) >= 2 and a.size >= 64}
    named = [name for name in wide if name.lower() in NAMED]
    if not wide:
        raise _no_kspace(path, every)
    if len(wide) != 1 and len(named) != 1:
        found = ", ".join(f"{n} {a.shape}" for n, a in wide.items())
        raise InputError(
            f"{path}: holds {found}; name the one: mrunfold.recon({_call(path)}) in Python, with axes "
            "(slice, coil, readout, phase)"
        )
    name = named[0] if len(wide) != 1 else next(iter(wide))
    kspace, words = _in_order(path, name, wide[name])
    return ArrayScan(kspace, path, [f"{name} of the file, {wide[name].shape}, is taken as {words}"])


def _no_kspace(path: Path, arrays: dict[str, np.ndarray]) -> InputError:
    """Return what to say of a file without a complex array that could be k-space."""
    found = ", ".join(f"{name} {a.dtype} {a.shape}" for name, a in arrays.items()) or "no array of numbers"
    way = "save k-space as a variable of its own, not in a structure, cell or list"
    if arrays:
        way = (
            "save the complex samples; real and imaginary parts along an axis of two are "
            "k[..., 0] + 1j * k[..., 1], and k-space cannot be had out of magnitudes"
        )
    return InputError(f"{path}: no complex array of k-space in it, but {found}; {way}")


def _call(path: Path) -> str:
    load = {".npy": "np.load('{}')", ".npz": "np.load('{}')['NAME']"}
    return load.get(path.suffix.lower(), "scipy.io.loadmat('{}')['NAME']").format(path.name)


def _in_order(path: Path, name: str, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the array as (slice, coil, readout, phase), a view, and its axes in words."""
    kept = [axis for axis, n in enumerate(array.shape) if n > 1]
    squeezed = array.reshape([array.shape[axis] for axis in kept])
    how = f"mrunfold.recon(np.transpose({name}, …)) in Python takes (slice, coil, readout, phase)"
    if squeezed.ndim > 4:
        raise InputError(f"{path}: {name} has {squeezed.ndim} axes, {array.shape}; take some out: {how}")
    spread = energy_spread(squeezed)
    if (spread == 1).all() and not array.any():
        raise InputError(f"{path}: {name} {array.shape} is zero everywhere; save it again")
    order = np.argsort(spread)
    if squeezed.ndim == 2 and spread.max() <= PEAKED:
        return squeezed[None, None], "(readout, phase) of one coil"
    if squeezed.ndim == 2:
        raise InputError(
            f"{path}: {name} {array.shape} has not its energy about one place, as Cartesian k-space has "
            f"(is it an image? A radial scan needs its `trajectory`); if it is all the same, {how}"
        )
    if not (spread[order[1]] <= PEAKED and spread[order[2]] >= APART * spread[order[1]]):
        raise InputError(
            f"{path}: which axes of {name} {array.shape} are coils cannot be told by its energy (is it "
            f"k-space, and not images?); {how}"
        )
    read, phase = sorted(int(a) for a in order[:2])
    others = [axis for axis in range(squeezed.ndim) if axis not in (read, phase)]
    if squeezed.ndim == 3:
        names = {read: "readout", phase: "phase", others[0]: "coil"}
        ordered = np.moveaxis(squeezed, others[0], 0)[None]
        tail = "; slices of one coil are k[:, None] in Python"
    elif others == [2, 3]:
        raise InputError(
            f"{path}: {name} {array.shape} may have its coils before its slices or after them; {how}"
        )
    else:
        names = {read: "readout", phase: "phase", others[0]: "slice", others[1]: "coil"}
        ordered, tail = np.transpose(squeezed, (*others, read, phase)), ""
    return ordered, f"({', '.join(names[axis] for axis in range(squeezed.ndim))}){tail}"


def energy_spread(array: np.ndarray) -> np.ndarray:
    """Return for each axis over how much of it the energy is spread, from 1/n (one place) to 1 (all)."""
    power = np.square(np.abs(array), dtype=np.float64)
    found = []
    for axis in range(array.ndim):
        profile = power.sum(axis=tuple(a for a in range(array.ndim) if a != axis))
        squares = float(np.sum(profile**2)) * len(profile)
        found.append(float(profile.sum()) ** 2 / squares if squares > 0 else 1.0)
    return np.array(found)


def read_part(path: Path, what: str, names: Sequence[str] = ()) -> np.ndarray:
    """Return the array of a file that holds a mask, maps or noise: the only one, or the first of `names`.

    A .png is True where it is brighter than half.  Raises InputError where it cannot be told which it is.
    """
    arrays = read_arrays(path)
    found = next((arrays[name] for name in names if name in arrays), None)
    if found is None and len(arrays) == 1:
        found = next(iter(arrays.values()))
    if found is None:
        held = ", ".join(f"{n} {a.shape}" for n, a in arrays.items()) or "no array"
        raise InputError(
            f"{path}: which is the {what}? It holds {held}; call it {names[0]!r} or leave it alone"
        )
    return found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the numeric arrays of a file by name; of a .npy, .cfl or .png the one, by the file's stem.

    MATLAB's 7.3 files have their axes as MATLAB shows them.  Raises InputError for what cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: an array is read from {', '.join(SUFFIXES)}; save it as one of these")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if suffix in (".cfl", ".hdr"):
        from mrunfold.io.cfl import read_cfl

        return {path.stem: read_cfl(path)}
    if suffix == ".png":
        from mrunfold.io.images import read_photo

        return {path.stem: read_photo(path).pixels.mean(axis=0) > 0.5}
    if suffix in (".npy", ".npz"):
        return _numpy(path)
    import h5py

    return _hdf5(path, suffix == ".mat") if h5py.is_hdf5(path) else _matlab(path)


def _numpy(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix.lower() == ".npy":
            # Mapped, so that slices are read one at a time.
            return _numbers({path.stem: np.load(path, mmap_mode="r", allow_pickle=False)})
        with zipfile.ZipFile(path) as packed:
            _check_size(path, sum(entry.file_size for entry in packed.infolist()))
        with np.load(path, allow_pickle=False) as file:
            return _numbers({name: file[name] for name in file.files})
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None


def _matlab(path: Path) -> dict[str, np.ndarray]:
    import scipy.io

    _check_size(path, path.stat().st_size)
    try:
        found = scipy.io.loadmat(path)
    except (ValueError, OSError, EOFError, KeyError, TypeError, NotImplementedError, IndexError) as error:
        raise _unreadable(path, error) from None
    return _numbers({name: a for name, a in found.items() if not name.startswith("__")})


def _hdf5(path: Path, matlab: bool) -> dict[str, np.ndarray]:
    """Return the datasets at the top of the file; complex may be a compound of `real` and `imag`."""
    import h5py

    from mrunfold.io.hdf5 import check_size, find, open_h5, reading

    found = {}
    with open_h5(path) as file:
        with reading(path, "its contents"):
            names = [name for name in file if not name.startswith("#")]
        for name in names:
            data = find(path, file, name)
            if not isinstance(data, h5py.Dataset) or data.ndim < 1:
                continue
            check_size(path, data)
            with reading(path, f"'{name}'"):
                array = data[()]
            if array.dtype.names == ("real", "imag"):
                array = array["real"] + 1j * array["imag"]
            found[name] = array.T if matlab else array
    return _numbers(found)


def _numbers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    kept = {
        n: a for n, a in arrays.items() if isinstance(a, np.ndarray) and a.dtype.kind in "biufc" and a.size
    }
    return {n: a for n, a in kept.items() if a.size > 1}


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(f"{path}: holds {size / 1e9:.3g} GB; save slices in files of their own")


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120]
    return InputError(f"{path}: cannot be read as {path.suffix.lower()} ({reason}); save it again")
