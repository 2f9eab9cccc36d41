"""Fully sampled slices to measure on: any raw file mrunfold reads, and the .mat files of public data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.grid import without_oversampling
from mrunfold.io.images import SUFFIXES, read_photo
from mrunfold.io.scan import Header
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import loop_sensitivities, simulated_maps

__all__ = ["FullSlice", "full_slices", "scanned", "windowed"]

PHOTO = 256  # pixels a side, of a photograph as a scan


@dataclass(frozen=True)
class FullSlice:
    """One fully sampled slice: k-space complex64 (coil, readout, phase), and where it comes from."""

    name: str
    kspace: np.ndarray
    header: Header
    simulated: bool


def full_slices(
    path: Path, coils: int = 8, sigma: float = 0.01, shading: float | None = None
) -> Iterator[FullSlice]:
    """Yield the slices of a raw file, of a .mat or .npz file, of a photograph, or of a folder of these.

    In a .mat file `raw`, `data` or `kdata` is k-space and `Img` a complex image; each array of an .npz file
    is images (slice, y, x), complex, or magnitudes, which get a smooth random phase, as the middle of a
    photograph does, taken as grey.

    An image is scanned by `coils` simulated coils with noise of standard deviation `sigma` × its 99th
    percentile, seeded by its name, and marked simulated; shading: as `scanned`.  Raises InputError for
    anything else.
    """
    if path.is_dir():
        for file in _files(path):
            for piece in full_slices(file, coils, sigma, shading):
                yield replace(piece, name=f"{path.name}/{piece.name}")
    elif path.suffix.lower() in SUFFIXES:
        image = _middle(read_photo(path).pixels.mean(axis=0))
        yield scanned(_with_phase(image, path.stem), path.stem, coils, sigma, shading)
    elif path.suffix == ".mat":
        yield _from_mat(path, coils, sigma, shading)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            for name in content:
                for index, image in enumerate(content[name]):
                    label = f"{path.stem}/{name}/{index}"
                    yield scanned(_with_phase(image, label), label, coils, sigma, shading)
    else:
        with open_scan(path) as scan:
            for index in range(len(scan)):
                kspace = scan.kspace(index)
                if not scan.acquired(index).all():
                    raise InputError(
                        f"{path.name}: slice {index} is not fully sampled, there is no reference"
                    )
                kspace, header = without_oversampling(kspace, scan.header)
                yield FullSlice(f"{path.stem}/{index}", kspace, header, header.simulated)


def _files(folder: Path) -> list[Path]:
    """Return the raw files of a folder, or its photographs where there are none."""
    files = sorted(folder.iterdir())
    raw = [file for file in files if file.suffix in (".mat", ".npz", ".h5", ".cfl")]
    return raw or [file for file in files if file.suffix.lower() in SUFFIXES]


def _middle(image: np.ndarray) -> np.ndarray:
    """Return the middle of an image, PHOTO pixels a side at most."""
    height, width = (min(n, PHOTO) for n in image.shape)
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[y : y + height, x : x + width]


def windowed(full: FullSlice) -> FullSlice:
    """Return the slice under a separable Hann window of k-space, whose outermost samples are not zero."""
    windows = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in full.kspace.shape[-2:]]
    kspace = full.kspace * windows[0][:, None] * windows[1]
    return replace(full, name=f"hann {full.name}", kspace=kspace)


def _with_phase(image: np.ndarray, name: str) -> np.ndarray:
    if np.iscomplexobj(image):
        return image
    from mrunfold.training.chance import smooth_field

    shape = (image.shape[0], image.shape[1])
    generator = torch.Generator().manual_seed(_seed(f"phase of {name}"))
    phase = smooth_field(shape, 3, generator) + 0.2 * smooth_field(shape, 9, generator)
    return image * np.exp(1j * phase.numpy())


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _from_mat(path: Path, coils: int, sigma: float, shading: float | None) -> FullSlice:
    content = _read_mat(path)
    name = next((n for n in ("raw", "data", "kdata", "kdata1", "Img") if n in content), None)
    if name is None:
        raise InputError(
            f"{path.name} has none of raw, data, kdata, kdata1 (k-space) or Img (a complex image)"
        )
    data = np.squeeze(np.asarray(content[name])).astype(np.complex64)
    if name == "Img":
        return scanned(data, path.stem, coils, sigma, shading)
    kspace = data if data.ndim == 3 else data[None]
    return FullSlice(path.stem, kspace, _header(kspace.shape[1:], len(kspace), False), False)


def _read_mat(path: Path) -> dict[str, Any]:
    import h5py
    import scipy.io

    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if not h5py.is_hdf5(path):
        return dict(scipy.io.loadmat(path))
    with h5py.File(path, "r") as h5:
        arrays = {name: np.asarray(h5[name]) for name in h5}
    return {n: a["real"] + 1j * a["imag"] if a.dtype.names else a for n, a in arrays.items()}


def _header(matrix: tuple[int, ...], coils: int, simulated: bool) -> Header:
    size = (matrix[0], matrix[1])
    return Header("cfl", 1, coils, size, size[0], size, simulated=simulated)


def scanned(
    image: np.ndarray, name: str, coils: int = 8, sigma: float = 0.01, shading: float | None = None
) -> FullSlice:
    """Return a simulated scan of a complex image (y, x), marked so, seeded by its name; as `full_slices`.

    shading: None for maps with Σ_c|s_c|² = 1, which shade nothing; else the coils lie along a third of the
    outline, and their root sum of squares falls by this factor over the field of view.
    """
    generator = torch.Generator().manual_seed(_seed(name))
    x = torch.from_numpy(image / np.percentile(np.abs(image), 99))
    shape = (x.shape[0], x.shape[1])
    if shading is None:
        full = fft2c(simulated_maps(coils, shape, generator) * x)
    else:
        images = _one_sided(coils, shape, shading, generator) * x
        full = fft2c(images / float(np.percentile(torch.linalg.vector_norm(images, dim=0).numpy(), 99)))
    full = full + sigma * torch.randn(full.shape, dtype=full.dtype, generator=generator)
    label = name if shading is None else f"shaded {name}"
    return FullSlice(label, full.numpy().astype(np.complex64), _header(image.shape, coils, True), True)


def _one_sided(
    coils: int, shape: tuple[int, int], shading: float, generator: torch.Generator
) -> torch.Tensor:
    found = loop_sensitivities(coils, shape, generator, arc=2 * np.pi / 3)
    size = torch.linalg.vector_norm(found, dim=0)
    # A power of the shading keeps its shape and gives it the range that is asked for.
    power = np.log(shading) / float((size.max() / size.min()).log())
    return (found / size * (size / size.max()) ** power).to(torch.complex64)
