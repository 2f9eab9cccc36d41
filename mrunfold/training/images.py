"""Images to train on: a bank of slices, read from the files of many data sets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.io.images import read_photo
from mrunfold.operators.imaging.colour import LUMA
from mrunfold.protocols import ImageSet
from mrunfold.training.chance import smooth_field, uniform
from mrunfold.training.heads import head_slices
from mrunfold.training.leaves import DeadLeaves
from mrunfold.training.raw import RawFile, RawSlice, raw_files
from mrunfold.training.receive import read_coils

__all__ = ["ImageBank", "outline"]

log = logging.getLogger(__name__)

Slice = Tensor | Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class ImageBank:
    """Slices to draw from: float32 (y, x) scaled to a 99th percentile of 1, or integer tissue labels.

    sets: one list of slices a data set, tensors or functions that read or make one; weights: how often each
    set is drawn; coils: measured sensitivities, complex64 (coil, y, x) each; raw: of each set the scans whose
    k-space is trained on, none for a set of images; empty where no set has any.
    """

    sets: tuple[tuple[Slice, ...], ...]
    weights: tuple[float, ...]
    coils: tuple[Tensor, ...] = ()
    raw: tuple[tuple[RawFile, ...], ...] = ()

    def scans(self, generator: torch.Generator) -> tuple[RawFile, ...]:
        """Return the scans of a set drawn by weight, none where it is one of images.

        A bank without scans draws nothing: what it draws afterwards is what it always drew.
        """
        if not any(self.raw):
            return ()
        return self.raw[int(torch.multinomial(torch.tensor(self.weights), 1, generator=generator))]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return one slice at random; labels get random tissue intensities."""
        which = int(torch.multinomial(torch.tensor(self.weights), 1, generator=generator))
        slices = self.sets[which]
        chosen = slices[int(torch.randint(len(slices), (1,), generator=generator))]
        image = chosen if isinstance(chosen, Tensor) else chosen(generator)
        return image if image.is_floating_point() else _tissue(image, generator)

    @staticmethod
    def load(root: Path, sets: Sequence[ImageSet], coils: str = "", held_back: bool = False) -> ImageBank:
        """Read the sets below `root`; coils: pattern of files with measured sensitivities.

        held_back: read what the sets keep from training instead, of those that keep any.
        Raises InputError for a set, or a pattern of coils, without a file.
        """
        chosen = [s for s in sets if s.held_back or not held_back]
        if not chosen:
            raise InputError("no image set of the protocol holds files back; name some under held_back")
        raw = ("kspace", "acquired")
        read = [_read_raw(root, s, held_back) if s.reader in raw else () for s in chosen]
        sets = [scans or _read_set(root, s, held_back) for s, scans in zip(chosen, read, strict=True)]
        return ImageBank(
            tuple(_images_of(s) for s in sets),
            tuple(float(s.weight) for s in chosen),
            read_coils(root, coils) if coils else (),
            tuple(read) if any(read) else (),
        )


def _images_of(found: tuple[RawFile, ...] | tuple[Slice, ...]) -> tuple[Slice, ...]:
    images: list[Slice] = []
    for one in found:
        images += [RawSlice(one.file, i) for i in one.slices] if isinstance(one, RawFile) else [one]
    return tuple(images)


def _read_raw(root: Path, spec: ImageSet, held_back: bool) -> tuple[RawFile, ...]:
    """Return the scans of a set whose k-space can be trained on, none where no file has any, and say so."""
    full = spec.reader == "kspace"
    found, without = raw_files(_files(root, spec, held_back), spec.least_content, full)
    if not found and not full:
        raise InputError(
            f"no file of {root / spec.pattern} has k-space of several coils on a grid, its centre fully "
            "sampled; give others with `data=FOLDER`"
        )
    if not found:
        log.warning(
            "%s: no file has fully sampled k-space of several coils; coils and phase are simulated for their "
            "root-sum-of-squares images instead",
            root / spec.pattern,
        )
    elif without:
        names = ", ".join(file.name for file in without[:3]) + (" …" if len(without) > 3 else "")
        log.warning(
            "%s: %d of %d files are left out, their k-space is of one coil or %s: %s",
            *(root / spec.pattern, len(without), len(found) + len(without)),
            "not fully sampled" if full else "has no centre to calibrate on",
            names,
        )
    return tuple(found)


def _read_set(root: Path, spec: ImageSet, held_back: bool) -> tuple[Slice, ...]:
    if spec.reader == "leaves":
        return (_Outlined(DeadLeaves()),)
    files = _files(root, spec, held_back)
    if spec.reader in ("fastmri", "kspace"):
        found = [piece for file in files for piece in _fastmri_slices(file, spec.least_content)]
        return _some(found, root / spec.pattern)
    if spec.reader == "photo":
        return tuple(_Outlined(_GreyPhoto(file)) for file in files)
    if spec.reader == "heads":
        return _some([piece for file in files for piece in head_slices(file)], root / spec.pattern)
    slices: list[Slice] = []
    for file in files:
        volume = _READERS[spec.reader](file)  # (slice, y, x)
        _refuse_not_finite(volume, str(file))
        if volume.dtype == np.uint8:
            keep = (volume > 0).mean(axis=(1, 2)) > spec.least_content
            slices += [torch.from_numpy(s.copy()) for s in volume[keep]]
            continue
        top = np.percentile(volume, 99)
        keep = (volume > 0.1 * top).mean(axis=(1, 2)) > spec.least_content
        as_bytes = volume.clip(0, 255).astype(np.uint8)
        if np.array_equal(as_bytes, volume):  # a quarter of the memory
            slices += [_EightBit(image) for image in as_bytes[keep]]
        else:
            slices += [_scaled(image) for image in volume[keep]]
    return _some(slices, root / spec.pattern)


def _files(root: Path, spec: ImageSet, held_back: bool) -> list[Path]:
    """Return a set's files, those that it holds back or the others; InputError where there are none."""
    kept = {file for pattern in spec.held_back or () for file in root.glob(pattern)}
    files = [file for file in sorted(root.glob(spec.pattern)) if (file in kept) == held_back]
    if not files:
        what = "files held back of" if held_back else "training images at"
        raise InputError(f"no {what} {root / spec.pattern}; say where they are with `data=FOLDER`")
    return files


def _some(slices: Sequence[Slice], where: Path) -> tuple[Slice, ...]:
    if not slices:
        raise InputError(f"no slice of {where} is filled enough; lower least_content in the protocol")
    return tuple(slices)


def _scaled(image: np.ndarray) -> Tensor:
    return torch.from_numpy((image / max(np.percentile(image, 99), 1e-30)).astype(np.float32))


@dataclass(frozen=True)
class _EightBit:
    """A slice (y, x) kept in the 8 bits that its file has."""

    pixels: np.ndarray

    def __call__(self, generator: torch.Generator) -> Tensor:
        return _scaled(self.pixels.astype(np.float32))


def _read_nifti(file: Path) -> np.ndarray:
    import nibabel

    image: Any = nibabel.load(file)
    return np.moveaxis(np.asarray(image.dataobj, dtype=np.float32), -1, 0)


def _read_nifti_all_axes(file: Path) -> np.ndarray:
    volume = _read_nifti(file)
    side = max(volume.shape)
    cube = np.pad(volume, [((side - n) // 2, side - n - (side - n) // 2) for n in volume.shape])
    return np.concatenate([np.moveaxis(cube, axis, 0) for axis in range(3)])


def _read_mat(file: Path) -> np.ndarray:
    import h5py

    with h5py.File(file, "r") as h5:
        name = next((n for n in ("im_ori", "data_fs") if n in h5), None)
        if name is None:
            raise InputError(f"{file} has neither im_ori nor data_fs; leave it out of the protocol's pattern")
        data = np.abs(np.asarray(h5[name], dtype=np.float32))
    return data if data.ndim == 3 else data[None]


def _read_npz(file: Path) -> np.ndarray:
    with np.load(file, allow_pickle=False) as content:
        if "image" not in content:
            raise InputError(f"{file} has no image; leave it out of the protocol's pattern")
        image = np.abs(content["image"]).astype(np.float32)
    return image if image.ndim == 3 else image[None]


def _read_labels(file: Path) -> np.ndarray:
    labels = np.load(file, allow_pickle=False)["labels"].astype(np.uint8)
    return np.moveaxis(labels, -1, 0)[::4]  # neighbours at 1 mm are nearly the same slice


@dataclass(frozen=True)
class _FastmriSlice:
    """One slice of a fastMRI file's reference image, read when it is drawn: the sets outgrow memory."""

    file: Path
    name: str
    index: int

    def __call__(self, generator: torch.Generator) -> Tensor:
        from mrunfold.io.hdf5 import open_h5, reading

        with open_h5(self.file) as h5, reading(self.file, self.name):
            return _scaled(np.asarray(h5[self.name][self.index], dtype=np.float32))


@dataclass(frozen=True)
class _GreyPhoto:
    """A photograph as one grey slice, read when it is drawn."""

    file: Path

    def __call__(self, generator: torch.Generator) -> Tensor:
        pixels = read_photo(self.file).pixels
        return _scaled(np.einsum("c,cyx->yx", LUMA, pixels) if len(pixels) == 3 else pixels[0])


@dataclass(frozen=True)
class _Outlined:
    """Scenes that fill their frame, cut to a random outline with air around it in most of the draws."""

    scene: Callable[[torch.Generator], Tensor]

    def __call__(self, generator: torch.Generator) -> Tensor:
        image = self.scene(generator)
        shape = (image.shape[0], image.shape[1])
        return image * outline(shape, generator) if uniform(0, 1, generator) < 0.7 else image


def outline(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a bent ellipse (y, x), 1 inside and 0 outside, with an edge of about a pixel."""
    height, width = shape
    y = torch.linspace(-1, 1, height)[:, None] / uniform(0.55, 1.0, generator)
    x = torch.linspace(-1, 1, width) / uniform(0.55, 1.0, generator)
    distance = (y**2 + x**2).sqrt() + 0.12 * smooth_field((height, width), 5, generator)
    return ((1 - distance) * min(shape) / 2).clamp(0, 1)


def _fastmri_slices(file: Path, least_content: float) -> list[_FastmriSlice]:
    """Return the slices of a file that are filled enough; InputError where one holds NaN or infinity.

    Every row is looked at, before any training: a slice that cannot be used would stop it when it is drawn.
    """
    from mrunfold.io.hdf5 import check_size, find, open_h5, reading

    with open_h5(file) as h5:
        names = ("reconstruction_rss", "reconstruction_esc")
        found = next(((n, d) for n in names if (d := find(file, h5, n)) is not None), None)
        if found is None:
            raise InputError(f"{file} has no reconstruction_rss to train on; leave it out of the pattern")
        name, dataset = found
        if getattr(dataset, "ndim", 0) != 3:
            raise InputError(f"{file}: '{name}' must be (slice, y, x); leave it out of the pattern")
        check_size(file, dataset, dataset.shape[0])
        kept = []
        for index in range(dataset.shape[0]):
            with reading(file, name):
                image = np.asarray(dataset[index], dtype=np.float32)
            _refuse_not_finite(image[None], f"{file}: '{name}'", index)
            kept.append(image[::4].copy())
    rows = np.stack(kept)
    filled = (rows > 0.1 * np.percentile(rows, 99)).mean(axis=(1, 2)) > least_content
    return [_FastmriSlice(file, name, i) for i in np.flatnonzero(filled).tolist()]


def _refuse_not_finite(volume: np.ndarray, name: str, first: int = 0) -> None:
    """Raise InputError where a volume (slice, …) that begins with slice `first` has NaN or infinity."""
    finite = np.isfinite(volume.reshape(len(volume), -1)).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{name} has NaN or infinity in slice {first + int(np.argmin(finite))}; leave the file out of "
            "the protocol's pattern or repair it"
        )


_READERS = {
    "nifti": _read_nifti,
    "nifti-all-axes": _read_nifti_all_axes,
    "mat": _read_mat,
    "npz": _read_npz,
    "labels": _read_labels,
}


def _tissue(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Random intensities for tissue classes, with partial volume at their borders and slow variation."""
    count = int(labels.max()) + 1
    values = torch.rand(count, generator=generator) * 0.9 + 0.1
    values[0] = 0
    image = values[labels.long()]
    side = uniform(0, 0.25, generator)
    kernel = torch.tensor([side, 1 - 2 * side, side])
    image = F.conv2d(image[None, None], (kernel[:, None] * kernel)[None, None], padding=1)[0, 0]
    shape = (labels.shape[0], labels.shape[1])
    image = image * (1 + 0.08 * smooth_field(shape, 24, generator))
    return image / image.flatten().kthvalue(int(0.99 * image.numel())).values.clamp_min(1e-3)
