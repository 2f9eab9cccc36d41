"""`mrunfold.recon`: reconstruct k-space given as an array; no file is read or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.array_volume import ArrayVolume
from mrunfold.io.arrays import ArrayScan
from mrunfold.io.centre import centred
from mrunfold.io.fastmri_axes import coils_last
from mrunfold.io.frames import Frames
from mrunfold.io.hybrid import HybridScan
from mrunfold.io.scan import Header, Scan
from mrunfold.io.stack import transform
from mrunfold.io.trajectory import Trajectory, TrajectoryScan, points_of
from mrunfold.io.volume_centre import centred_volume
from mrunfold.masks import Mask
from mrunfold.methods.registry import DEFAULT_METHOD, get_method
from mrunfold.pipeline.ahead import in_flight
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.own import Own, OwnParts, resolve
from mrunfold.pipeline.progress import begun, progress_lines
from mrunfold.pipeline.settings import ReconSettings
from mrunfold.pipeline.slices import Job, SliceImages, choose_device
from mrunfold.pipeline.together import by_place

__all__ = ["Recon", "recon"]

Progress = Callable[[float, int], None]


@dataclass(frozen=True)
class Recon:
    """A reconstruction; every array is of the kind that k-space was, NumPy or torch.

    image: complex64 (y, x), (slice, y, x) or (frame, slice, y, x), as k-space is; of a 3-D scan (readout,
    phase, partition), of a stack (y, x, partition), frames before it; std: float32, of |image| over the
    samples, None without; samples: complex64 (draw, *image), None without; maps: complex64 (coil, y, x) of
    the image, or (coil, readout, phase, partition), with an axis of sets before the coils where there are
    several, slices and frames before all; sigma: √E|n|², mean over coils, in k-space's units, of each slice
    of each frame, or of each 3-D volume; scale: what k-space was divided by, once whitened; record: what was
    done and found.
    """

    image: Any
    std: Any | None
    samples: Any | None
    maps: Any
    sigma: Any
    scale: Any
    record: dict[str, Any]

    @property
    def magnitude(self) -> Any:
        """|image|, float32."""
        return abs(self.image)

    def _repr_html_(self) -> str:
        """Return the image of the middle slice as notebooks show it."""
        from mrunfold.pipeline.picture import image_html

        image = np.abs(_numpy(self.image))
        whole = "split" in self.record  # of a 3-D scan a partition is shown
        image = np.moveaxis(image, -1, -3) if whole else image
        image = image.reshape(-1, *image.shape[-2:]) if image.ndim == 4 else image
        shown = image if image.ndim == 2 else image[len(image) // 2]
        spread = None if self.std is None else _numpy(self.std)
        if spread is not None and spread.ndim > 2:
            spread = np.moveaxis(spread, -1, -3) if whole else spread
            spread = spread.reshape(-1, *spread.shape[-2:])
            spread = spread[len(spread) // 2]
        return image_html(shown, spread, f"{self.record['method']}, {tuple(self.image.shape)}")


def recon(
    kspace: Any,
    mask: Any | None = None,
    *,
    volume: bool = False,
    maps: Any | None = None,
    noise: Any | None = None,
    sigma: float | None = None,
    method: str = DEFAULT_METHOD,
    samples: int = 0,
    coils: int | float | Literal["auto", "all"] = "auto",
    map_sets: int | Literal["auto"] = "auto",
    per_frame: bool = False,
    spikes: Literal["drop", "keep"] = "drop",
    seed: int = 0,
    device: str = "auto",
    trajectory: Any | None = None,
    matrix: int | tuple[int, int] | None = None,
    progress: bool | Progress = True,
    **parameters: Any,
) -> Recon:
    """Reconstruct k-space given as an array, as `mrunfold recon` does a file.

    kspace: complex (coil, readout, phase), (slice, coil, readout, phase) or (frame, slice, coil, readout,
    phase), frames being echoes, repetitions and the like; NumPy or torch, centre at N//2, zero where nothing
    was measured; volume: a 3-D scan: k-space is (coil, readout, phase, partition), frames before it, the mask
    (phase, partition), maps (coil, readout, phase, partition), sets before the coils; with a trajectory a
    stack, (coil, readout, interleaf, partition);
    mask: (phase,) or (readout, phase) of zeros and ones, or a Mask: what else is not looked at;
    maps: complex (coil, readout, phase), sets or slices before it, estimated where None; noise: a noise scan
    (coil, samples), or sigma, √E|n|² of every coil in k-space's units, estimated where both are None;
    samples: posterior draws of `unfold`, 0 for the mean; coils, map_sets, per_frame, spikes, seed, device:
    as in `ReconSettings`; trajectory: (readout, interleaf, 2), (ky, kx) in cycles per field of view, where
    samples lie off the grid, frames before it, or "golden-angle": k-space is then (coil, readout, interleaf),
    slices and frames before it, the mask one of interleaves; matrix: (y, x) of the image then, by default as
    far as the trajectory reaches; progress: False for none, or a function of
    (slices done, slices in all); parameters: of the method.  Raises InputError for bad input, in one line
    that says what to do.
    """
    array, wrap = _taken(kspace, volume)
    if samples:
        parameters["samples"] = samples
    settings = ReconSettings(
        mask="acquired" if mask is None else "given", maps="torch" if maps is None else "given", noise=sigma,
        method=method, parameters=parameters, coils=coils, map_sets=map_sets, seed=seed, device=device,
        per_frame=per_frame, spikes=spikes,
        target="combined", keep_samples=True, save=("complex", "maps"),
    )  # fmt: skip
    own = Own(mask if isinstance(mask, Mask) else _optional(mask), _optional(maps), _optional(noise))
    along = trajectory if isinstance(trajectory, str) else _optional(trajectory)
    stack = volume and along is not None
    lead, scan, parts = _lying(array, own, volume, along, matrix)
    one = get_method(method, **parameters)
    job = Job(scan, settings, one, "combined", None, None, choose_device(device), Clock(), parts)
    with progress_lines(progress is False) as lines:
        found = _slices(job, progress if callable(progress) else lines)
    scan.close()
    return _gathered(found, job, lead, wrap, stack)


def _lying(
    array: np.ndarray,
    own: Own,
    volume: bool,
    trajectory: np.ndarray | str | None,
    matrix: int | tuple[int, int] | None,
) -> tuple[tuple[int, ...], Scan, OwnParts]:
    """Return the axes before those of a slice, or of a 3-D volume, the scan and what the user brought."""
    if trajectory is None and matrix is not None:
        raise InputError("`matrix` is for k-space along a trajectory; give the trajectory or leave it out")
    if volume and trajectory is None:
        return array.shape[:-4], *_volume(array, own)
    if volume:
        array, own = _planes(array, own)
    lead = array.shape[:-3]
    return lead, *_slices_of(array, lead, own, trajectory, matrix)


def _planes(array: np.ndarray, own: Own) -> tuple[np.ndarray, Own]:
    """Return a stack (…, coil, readout, interleaf, partition) as slices (…, partition, coil, readout,
    interleaf), and maps (…, coil, y, x, partition) as those of slices.
    """
    planes = np.moveaxis(array, -1, -4).astype(np.complex64)  # a copy, which is transformed
    if not np.isfinite(planes).all():
        raise InputError("k-space of the stack has NaN or infinite values; repair it")
    transform(planes.reshape(-1, *planes.shape[-4:]))
    maps = own.maps
    if isinstance(maps, np.ndarray) and maps.ndim in (4, 5):
        maps = np.moveaxis(maps[None] if maps.ndim == 4 else maps, -1, 0)  # (partition, set, coil, y, x)
    return planes, replace(own, maps=maps)


def _slices_of(
    array: np.ndarray,
    lead: tuple[int, ...],
    own: Own,
    trajectory: np.ndarray | str | None,
    matrix: int | tuple[int, int] | None,
) -> tuple[Scan, OwnParts]:
    """Return the scan of 2-D slices, and what the user brought in its axes."""
    array = array.reshape(-1, *array.shape[-3:])
    frames = None if len(lead) < 2 else Frames.grid([{"frame": n} for n in range(lead[0])], lead[1])
    parts = resolve(own, _opened(array, frames, trajectory, matrix).header)
    if parts.mask is not None:  # what is outside of it was not measured, whatever is there
        array = np.where(_fitting(parts.mask, array), array, array.dtype.type(0))
    if trajectory is None and coils_last(array[len(array) // 2]):
        raise InputError(
            f"the energy of k-space {array.shape[1:]} lies about the middle of its first axis and is spread "
            "over its last: coils are last; give np.moveaxis(k, -1, -3), (coil, readout, phase)"
        )
    scan = _opened(array, frames, trajectory, matrix)
    return scan if trajectory is not None else centred(scan, measure=True), parts


def _volume(array: np.ndarray, own: Own) -> tuple[Scan, OwnParts]:
    """Return the slices of a 3-D scan (…, coil, readout, phase, partition), and what the user brought."""
    several = array.ndim == 5
    array = array if several else array[None]
    header = ArrayVolume(array, several).header
    plane = array.shape[-2:]
    flat: Header = replace(header, matrix=plane, unoversampled=plane[0], output=header)
    mask = resolve(Own(mask=own.mask), flat)
    if mask.mask is not None:
        array = np.where(_fitting(mask.mask, array), array, array.dtype.type(0))
    scan = HybridScan(centred_volume(ArrayVolume(array, several)))
    parts = resolve(Own(maps=own.maps, noise=own.noise), scan.header)
    return scan, replace(parts, mask=mask.mask, record={**mask.record, **parts.record})


def _opened(
    array: np.ndarray,
    frames: Frames | None,
    trajectory: np.ndarray | str | None,
    matrix: int | tuple[int, int] | None,
) -> Scan:
    if trajectory is None:
        return ArrayScan(array, frames=frames)
    size = (matrix, matrix) if isinstance(matrix, int) else matrix
    points = points_of(Trajectory(trajectory, size), array.shape[2:4], size)
    return TrajectoryScan(array, points, size, frames=frames)


def _fitting(mask: Mask, array: np.ndarray) -> np.ndarray:
    if mask.shape != array.shape[-2:]:
        raise InputError(
            f"the mask is {mask.shape} and k-space {array.shape}; draw it for {array.shape[-2:]}"
        )
    return mask.array


def _slices(job: Job, progress: Progress) -> list[SliceImages]:
    total = len(job.scan)
    # Of a 3-D scan one volume after another; else all frames of a place before the next.
    order = range(total) if job.scan.hybrid is not None else by_place(job.scan.header, range(total))
    with in_flight(job, list(order), progress=lambda number: begun(progress, number, total)) as slices:
        found = dict(zip(order, slices, strict=True))
    progress(total, total)
    return [found[index] for index in range(total)]


def _gathered(
    found: list[SliceImages],
    job: Job,
    lead: tuple[int, ...],
    wrap: Callable[[np.ndarray], Any],
    stack: bool = False,
) -> Recon:
    grid = job.scan.header.grid
    each = 1 if grid is None else len(found) // int(np.prod(lead))  # slices of a volume

    def stacked(arrays: list[np.ndarray], axis: int = 0) -> Any:
        one = arrays[0].shape
        if grid is None:
            whole = np.stack(arrays, axis=axis).reshape(*one[:axis], *lead, *one[axis:])
            return wrap(np.moveaxis(whole, axis + len(lead) - 1, -1) if stack else whole)
        whole = np.stack(arrays, axis=axis).reshape(*one[:axis], *lead, each, *one[axis:])
        return wrap(np.moveaxis(whole, axis + len(lead), -3 if grid.along == "readout" else -1))

    def nested(values: list[float]) -> Any:
        array = np.array(values[::each]).reshape(lead)
        return array.tolist()

    draws = [one.complex_samples for one in found if one.complex_samples is not None]
    spread = [one.uncertainty["std"].astype(np.float32) for one in found if one.uncertainty]
    maps = [one.coil_maps for one in found if one.coil_maps is not None]
    sets = max(len(one) for one in maps)
    # A slice that needs one set has zeros for the second.
    maps = [np.concatenate([one, np.zeros((sets - len(one), *one.shape[1:]), one.dtype)]) for one in maps]
    sigma = [float(np.mean(one.record["problem"]["noise"]["level"])) for one in found]
    scale = [one.record["scale"] for one in found]
    record = {
        "method": job.settings.method,
        "settings": job.settings.record(),
        "given": job.own.record,
        "flags": list(dict.fromkeys(flag for one in found for flag in one.flags)),
        "seconds": job.clock.seconds,
        "slices": [one.record for one in found],
        **({} if grid is None else {"split": grid.along}),
    }
    return Recon(
        stacked([one.image for one in found]),
        stacked(spread) if spread else None,
        stacked(draws, axis=1) if draws else None,
        stacked([one[0] if sets == 1 else one for one in maps]),
        nested(sigma),
        nested(scale),
        record,
    )


def _taken(kspace: Any, volume: bool) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """Return k-space as a complex array, and the function that converts results to its kind of array."""
    array = _numpy(kspace)
    if volume and (array.dtype.kind != "c" or array.ndim not in (4, 5)):
        raise InputError(
            "recon expects complex k-space (coil, readout, phase, partition) of a 3-D `volume`, or frames "
            f"before it, got {array.dtype} {array.shape}; one coil is k[None]"
        )
    if array.dtype.kind != "c" or array.ndim not in (3, 4, 5):
        raise InputError(
            "recon expects complex k-space (coil, readout, phase), before it slices or (frame, slice), got "
            f"{array.dtype} {array.shape}; one coil is k[None], (real, imaginary) pairs are "
            "k[..., 0] + 1j * k[..., 1]"
        )
    if 0 in array.shape:
        raise InputError(f"k-space {array.shape} is empty; give the samples that were measured")
    if not hasattr(kspace, "detach"):
        return array, lambda found: found
    return array, partial(_as_torch, device=kspace.device)


def _as_torch(array: np.ndarray, device: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _numpy(array: Any) -> np.ndarray:
    return array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)


def _optional(array: Any | None) -> np.ndarray | None:
    return None if array is None else _numpy(array)
