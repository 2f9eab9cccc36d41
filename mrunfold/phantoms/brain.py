"""The scan that `mrunfold sample` writes: simulated from the ICBM 152 template, in fastMRI's format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from mrunfold.errors import InputError
from mrunfold.extras import require
from mrunfold.io.atomic import atomic_path
from mrunfold.io.disk import new_h5
from mrunfold.operators import fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.phantoms.header import simulated_header

__all__ = ["NOTICE", "write_sample"]

NOTICE = (
    "Simulated from the ICBM 152 nonlinear T1 template (2009). Copyright (C) 1993-2004 Louis Collins, "
    "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University. Permission to "
    "use, copy, modify, and distribute this software and its documentation for any purpose and without "
    "fee is hereby granted, provided that the above copyright notice appear in all copies. The authors "
    "and McGill University make no representations about the suitability of this software for any "
    'purpose. It is provided "as is" without express or implied warranty. The authors are not '
    "responsible for any data loss, equipment damage, property loss, or injury to subjects or patients "
    "resulting from the use or misuse of this software package."
)
FIELD = (256, 218)  # field of view (readout, phase) in mm, and samples of the template in it: it has 1 mm
THICKNESS = 3  # mm, template planes that a slice averages
BOTTOM, TOP = -15.0, 50.0  # mm above the anterior commissure
OVERSAMPLING = 2
BRIGHTEST = 5e-4  # of the order of fastMRI's images, so that a lost scale shows


def write_sample(
    path: str | os.PathLike[str],
    *,
    coils: int = 8,
    slices: int = 3,
    size: tuple[int, int] = FIELD,
    noise: float = 0.01,
    seed: int = 0,
) -> Path:
    """Write a simulated, fully sampled multicoil brain scan as a fastMRI file and return its path.

    Axial slices, anterior at the top and the patient's right at the left: k-space (slice, coil, 2·readout,
    phase) of the template with a smooth phase, simulated coils and complex noise.  size: (readout, phase) of
    the images over a field of view of 256×218 mm; noise: standard deviation of an image's complex noise over
    its brightest tissue; seed: of phase, coils and noise, equal seeds give equal files.  The file has the
    attributes simulated=True and notice.  Raises InputError for numbers out of range or without nilearn.
    """
    _check(coils, slices, size, noise)
    require("nilearn", what="the simulated scan (its anatomy is a template)")

    anatomy = _anatomy(slices)  # (slice, readout, phase) at 1 mm
    stored = OVERSAMPLING * size[0]
    peak = norm = 0.0
    with atomic_path(path) as temporary, new_h5(temporary) as (file, disk):
        shape = (slices, coils, stored, size[1])
        kspace = file.create_dataset("kspace", shape, np.complex64, chunks=(1, *shape[1:]))
        images = file.create_dataset("reconstruction_rss", (slices, *size), np.float32, chunks=(1, *size))
        maps = simulated_maps(coils, FIELD, torch.Generator().manual_seed(seed)).numpy()
        for index, image in enumerate(anatomy):
            rng = np.random.default_rng((seed, index))
            one = _scan(image * _phase(rng) * BRIGHTEST, maps, size, noise * BRIGHTEST, rng)
            rss = _root_sum_of_squares(one, size)
            kspace[index], images[index] = one, rss
            disk.check()
            peak, norm = max(peak, float(rss.max())), float(np.hypot(norm, np.linalg.norm(rss)))
        file["ismrmrd_header"] = _header(coils, slices, size)
        file.attrs.update(
            {"acquisition": "AXT1", "max": peak, "norm": norm, "simulated": True, "notice": NOTICE}
        )
    return Path(path)


def _check(coils: int, slices: int, size: tuple[int, int], noise: float) -> None:
    if not 1 <= coils <= 128:
        raise InputError(f"a sample has 1 to 128 coils, got {coils}")
    if not 1 <= slices <= int(TOP - BOTTOM) + 1:
        raise InputError(f"a sample has 1 to {int(TOP - BOTTOM) + 1} slices, got {slices}")
    if len(size) != 2 or not all(16 <= n <= most for n, most in zip(size, FIELD, strict=True)):
        raise InputError(
            f"a sample's images have 16×16 to {FIELD[0]}×{FIELD[1]} pixels, got {tuple(size)}: "
            "the template has 1 mm, more would be zero padding"
        )
    if not 0 <= noise <= 1:
        raise InputError(f"noise is a fraction of the brightest tissue, 0 to 1, got {noise}")


def _anatomy(slices: int) -> np.ndarray:
    """Return axial template slices, float32 (slice, *FIELD): rows from anterior, columns from the right."""
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    volume = np.asarray(template.dataobj, dtype=np.float32)  # (x to the right, y to anterior, z up)
    origin, step = template.affine[:3, 3], np.diag(template.affine)[:3]
    heights = np.linspace(BOTTOM, TOP, slices + 2)[1:-1]
    planes = np.rint((heights - origin[2]) / step[2]).astype(int)
    half = THICKNESS // 2
    result = np.zeros((slices, *FIELD), np.float32)
    for index, plane in enumerate(planes):
        image = volume[:, :, plane - half : plane + half + 1].mean(axis=2)
        image = image.T[::-1, ::-1]  # (anterior to posterior, right to left)
        start = [n // 2 - m // 2 for n, m in zip(FIELD, image.shape, strict=True)]
        result[index, start[0] : start[0] + image.shape[0], start[1] : start[1] + image.shape[1]] = image
    return result / result.max()


def _phase(rng: np.random.Generator) -> np.ndarray:
    """Return a smooth object phase exp(iφ), complex64 FIELD: what field inhomogeneity leaves."""
    y = np.linspace(-1, 1, FIELD[0])[:, None]
    x = np.linspace(-1, 1, FIELD[1])[None, :]
    phi = rng.uniform(-np.pi, np.pi) + np.zeros(FIELD)
    for term in (x, y, x * y, x**2, y**2):
        phi = phi + rng.uniform(-0.8, 0.8) * term
    for _ in range(3):
        kx, ky, start = *rng.uniform(-2, 2, size=2), rng.uniform(0, 2 * np.pi)
        phi = phi + rng.uniform(0.1, 0.4) * np.cos(np.pi * (kx * x + ky * y) + start)
    return np.exp(1j * phi).astype(np.complex64)


def _scan(
    image: np.ndarray, maps: np.ndarray, size: tuple[int, int], noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Return k-space (coil, 2·readout, phase): the oversampled field of view, cut to `size`, with noise."""
    field = np.zeros((len(maps), OVERSAMPLING * FIELD[0], FIELD[1]), np.complex64)
    start = field.shape[1] // 2 - FIELD[0] // 2
    field[:, start : start + FIELD[0]] = maps * image
    full = fft2c(torch.from_numpy(field)).numpy()
    wanted = (OVERSAMPLING * size[0], size[1])
    first = [n // 2 - m // 2 for n, m in zip(full.shape[1:], wanted, strict=True)]
    kspace = full[:, first[0] : first[0] + wanted[0], first[1] : first[1] + wanted[1]]
    # A unitary FFT of fewer samples would dim the image by the root of their ratio.
    kspace = kspace * np.sqrt(size[0] * size[1] / (FIELD[0] * FIELD[1]))
    draws = rng.standard_normal((2, *kspace.shape), dtype=np.float32)
    return (kspace + noise * np.sqrt(0.5) * (draws[0] + 1j * draws[1])).astype(np.complex64)


def _root_sum_of_squares(kspace: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = ifft2c(torch.from_numpy(kspace)).numpy()
    start = kspace.shape[-2] // 2 - size[0] // 2
    return np.linalg.norm(image[:, start : start + size[0]], axis=0).astype(np.float32)


def _header(coils: int, slices: int, size: tuple[int, int]) -> str:
    return simulated_header(
        coils,
        encoded=(OVERSAMPLING * size[0], size[1]),
        encoded_mm=(OVERSAMPLING * FIELD[0], FIELD[1]),
        recon=size,
        recon_mm=FIELD,
        thickness=THICKNESS,
        lines=(size[1], size[1] // 2),
        slices=slices,
    )
