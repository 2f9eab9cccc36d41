"""Coil sensitivities by ESPIRiT, from the calibration region alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mrunfold.coils.calibration import calibration_block
from mrunfold.coils.eigenmaps import covariance_kernels, eigen_maps
from mrunfold.coils.noise import live_coils
from mrunfold.coils.phase import smooth_phase
from mrunfold.coils.sets import needed_sets
from mrunfold.errors import InputError

__all__ = ["EspiritSettings", "espirit_maps", "maps_from_block"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EspiritSettings:
    """Parameters of ESPIRiT, with SigPy's defaults.

    calibration_width: samples an axis that are used at most; kernel_width: k-space kernel, samples an axis;
    threshold: singular values of the calibration matrix below this fraction of the largest are noise;
    crop: pixels whose eigenvalue is not above it are outside the coils' support; max_iterations: steps of
    SigPy's power method in each pixel, None for 100; pad_below: a side of the calibration region that is
    shorter than this is filled with zeros up to it; backend: "torch" for this project's own code, "sigpy" for
    the reference, whose maps are the same (docs/concepts/coils.md) and slower; sets: map sets, "auto" for one
    or two as `needed_sets` finds them, two where the object reaches the edge of the field of view or folds
    over (soft SENSE); further_crop: as crop, for the sets after the first, whose eigenvalues climb slowly
    where folding begins.

    A thin region, as 24×8, has few patches: alone, its eigenvalues fall below any crop and the object is
    lost.  Zeros let patches that straddle its border count.  16 had the least error on simulated scans;
    docs/concepts/coils.md has the numbers.
    """

    calibration_width: int = 24
    threshold: float = 0.02
    kernel_width: int = 6
    crop: float = 0.95
    max_iterations: int | None = None
    pad_below: int = 16
    backend: Literal["torch", "sigpy"] = "torch"
    sets: int | Literal["auto"] = 1
    further_crop: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.kernel_width <= self.calibration_width:
            raise InputError(
                f"ESPIRiT's kernel is from 2 to calibration_width = {self.calibration_width} wide, "
                f"got {self.kernel_width}"
            )
        steps = self.max_iterations
        if not (0 < self.threshold < 1 and 0 <= self.crop < 1 and (steps is None or steps >= 1)):
            raise InputError(
                "ESPIRiT expects 0 < threshold < 1, 0 ≤ crop < 1 and max_iterations ≥ 1, "
                f"got {self.threshold}, {self.crop}, {steps}"
            )
        if self.backend not in ("torch", "sigpy"):
            raise InputError(f"maps are made by torch or sigpy, got {self.backend!r}")
        if self.backend == "torch" and steps is not None:
            raise InputError(
                "max_iterations is of SigPy's power method; leave it out, or use backend='sigpy'"
            )
        if self.sets == "auto":
            return
        many = isinstance(self.sets, int) and self.sets > 1
        if not isinstance(self.sets, int) or self.sets < 1 or (many and self.backend == "sigpy"):
            raise InputError(
                f'torch makes one or more sets of maps, or "auto", and sigpy one, got {self.sets!r}'
            )


def espirit_maps(kspace: np.ndarray, mask: np.ndarray, settings: EspiritSettings | None = None) -> np.ndarray:
    """Return coil sensitivities, complex64 (set, coil, y, x), Σ_c |s_c|² = 1 in a set's support, 0 outside.

    kspace: (coil, y, x); mask: bool (y, x), the samples that may be looked at; only the fully sampled centre
    is.  In their phase a coil combination is real that does not vanish in the object (`smooth_phase`).  Never
    NaN: a coil that is zero has a zero map; maps are zero everywhere where k-space is.  One coil has the map
    1 everywhere.  Raises InputError where the centre is smaller than the kernel.
    Uecker et al., Magn. Reson. Med. 71 (2014) 990–1001.
    """
    settings = settings or EspiritSettings()
    if len(kspace) == 1:
        return np.ones((1, *kspace.shape), np.complex64)  # one set, however many were asked for
    block = calibration_block(kspace, mask, settings.calibration_width, settings.kernel_width)
    return maps_from_block(block, (kspace.shape[1], kspace.shape[2]), settings)


def maps_from_block(
    block: np.ndarray, shape: tuple[int, int], settings: EspiritSettings | None = None
) -> np.ndarray:
    """As `espirit_maps`, from the calibration block (coil, h, w) itself, for images of `shape` (y, x).

    block: also (frame, coil, h, w), of several frames of one place, whose rows make one calibration matrix.
    SigPy knows one frame: InputError for several.
    """
    settings = settings or EspiritSettings()
    frames = _principal(block if block.ndim == 4 else block[None])
    if settings.backend == "sigpy" and len(frames) > 1:
        raise InputError("maps of several frames together are made by torch; choose backend='torch'")
    block = frames[0]
    live = live_coils(block)
    if not live.any():
        sets = 1 if settings.sets == "auto" else settings.sets
        return np.zeros((sets, len(block), *shape), np.complex64)
    # SigPy divides by the first coil's map: a coil that is exactly zero would make all of them NaN.
    if settings.backend == "sigpy":
        found = _sigpy_maps(block[live], shape, settings)
    else:
        found = _torch_maps(frames[:, live], shape, settings)
    bad = ~np.isfinite(found).all(axis=(0, 1))
    if bad.any():
        log.info(
            "ESPIRiT: %d pixels of %d where no coil has signal, left out of the support", bad.sum(), bad.size
        )
        found[:, :, bad] = 0
    found[0] = smooth_phase(found[0], block[live])
    norm = np.sqrt((np.abs(found) ** 2).sum(axis=1, keepdims=True))
    maps = np.zeros((len(found), len(block), *shape), np.complex64)
    maps[:, live] = np.divide(found, norm, out=np.zeros_like(found), where=norm > 0)
    if not maps.any():
        log.warning("ESPIRiT: no pixel's eigenvalue is above %.2f, the support is empty", settings.crop)
    return maps


def _principal(frames: np.ndarray) -> np.ndarray:
    """Return frames (frame, coil, h, w) mixed by a unitary matrix, so that the first holds most energy.

    Σ_f A_fᴴ A_f, which ESPIRiT's row space comes from, stays the same.  Of one frame nothing changes.
    """
    if len(frames) == 1:
        return frames
    data = frames.reshape(len(frames), -1).astype(np.complex128)
    mixing = np.linalg.eigh(data @ data.conj().T)[1][:, ::-1]
    return (mixing.conj().T @ data).reshape(frames.shape).astype(np.complex64)


def _window(block: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Return the middle of a block (coil, h, w) in a window (coil, *sides), zeros around, largest value 1."""
    window = np.zeros((len(block), *sides), np.complex64)
    window[_centre(window, block)] = block[_centre(block, window)] / (np.abs(block).max() or 1)
    return window


def _centre(array: np.ndarray, other: np.ndarray) -> tuple[slice, ...]:
    """Return the part (coil, y, x) of `array` that `other` covers when sample n//2 of both is one."""
    pairs = zip(array.shape[1:], other.shape[1:], strict=True)
    return (
        slice(None),
        *(slice(n // 2 - min(n, m) // 2, n // 2 - min(n, m) // 2 + min(n, m)) for n, m in pairs),
    )


def _torch_maps(frames: np.ndarray, shape: tuple[int, int], settings: EspiritSettings) -> np.ndarray:
    """Return maps (set, coil, y, x), each set zero where its eigenvalue is not above `crop`.

    frames: calibration blocks (frame, coil, h, w), the first of which holds most.
    """
    block = frames[0]
    height, width = (max(n, settings.pad_below) for n in block.shape[1:])
    peaks = [float(np.abs(one).max()) or 1.0 for one in frames]
    windows = [
        _window(one, (height, width)) * np.float32(peak / peaks[0])
        for one, peak in zip(frames, peaks, strict=True)
    ]
    kernels = covariance_kernels(
        torch.from_numpy(np.stack(windows)), settings.kernel_width, settings.threshold
    )
    sets = needed_sets(kernels, block, settings.further_crop) if settings.sets == "auto" else settings.sets
    maps, value = eigen_maps(kernels, shape, sets)
    crop = torch.tensor([settings.crop] + [settings.further_crop] * (sets - 1))[:, None, None]
    return torch.where((value > crop)[:, None], maps, torch.zeros_like(maps)).numpy()


def _sigpy_maps(block: np.ndarray, shape: tuple[int, int], settings: EspiritSettings) -> np.ndarray:
    """Return SigPy's maps (1, coil, y, x) of a calibration block at the centre of otherwise empty k-space."""
    from sigpy.mri.app import EspiritCalib  # imported here: it takes seconds, and fails where cupy is broken

    # SigPy calibrates on a square: the largest there is, or a thin region in a square of zeros.
    least = min(block.shape[1:])
    width = settings.calibration_width if least < settings.pad_below else least
    window = _window(block, (width, width))
    kspace = np.zeros((len(block), *shape), np.complex64)
    kspace[_centre(kspace, window)] = window[_centre(window, kspace)]
    with np.errstate(divide="ignore", invalid="ignore"):
        app = EspiritCalib(
            kspace,
            calib_width=width,
            thresh=settings.threshold,
            kernel_width=settings.kernel_width,
            crop=settings.crop,
            max_iter=settings.max_iterations or 100,
            show_pbar=False,
        )
        return np.ascontiguousarray(app.run())[None]
