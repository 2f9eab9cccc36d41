"""Images to train on: a bank of slices, and random complex images made from it."""

from __future__ import annotations

import math
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
from mrunfold.operators import fft2c, ifft2c
from mrunfold.operators.imaging.colour import LUMA
from mrunfold.protocols import ImageSet
from mrunfold.training.leaves import DeadLeaves

__all__ = ["ImageBank", "random_image", "smooth_field"]

Slice = Tensor | Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class ImageBank:
    """Slices to draw from: float32 (y, x) scaled to a 99th percentile of 1, or integer tissue labels.

    sets: one list of slices a data set, tensors or functions that read or make one; weights: how often each
    set is drawn.
    """

    sets: tuple[tuple[Slice, ...], ...]
    weights: tuple[float, ...]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return one slice at random; labels get random tissue intensities."""
        which = int(torch.multinomial(torch.tensor(self.weights), 1, generator=generator))
        slices = self.sets[which]
        chosen = slices[int(torch.randint(len(slices), (1,), generator=generator))]
        image = chosen if isinstance(chosen, Tensor) else chosen(generator)
        return image if image.is_floating_point() else _tissue(image, generator)

    @staticmethod
    def load(root: Path, sets: Sequence[ImageSet]) -> ImageBank:
        """Read the sets below `root`; a set without a file is an InputError."""
        return ImageBank(tuple(_read_set(root, s) for s in sets), tuple(float(s.weight) for s in sets))


def _read_set(root: Path, spec: ImageSet) -> tuple[Slice, ...]:
    if spec.reader == "leaves":
        return (_Outlined(DeadLeaves()),)
    files = sorted(root.glob(spec.pattern))
    if not files:
        raise InputError(
            f"no training images at {root / spec.pattern}; say where they are with --data FOLDER"
        )
    if spec.reader == "fastmri":
        found = [piece for file in files for piece in _fastmri_slices(file, spec.least_content)]
        return _some(found, root / spec.pattern)
    if spec.reader == "photo":
        return tuple(_Outlined(_GreyPhoto(file)) for file in files)
    slices: list[Slice] = []
    for file in files:
        volume = _READERS[spec.reader](file)  # (slice, y, x)
        if volume.dtype == np.uint8:
            keep = (volume > 0).mean(axis=(1, 2)) > spec.least_content
            slices += [torch.from_numpy(s.copy()) for s in volume[keep]]
            continue
        top = np.percentile(volume, 99)
        keep = (volume > 0.1 * top).mean(axis=(1, 2)) > spec.least_content
        slices += [_scaled(image) for image in volume[keep]]
    return _some(slices, root / spec.pattern)


def _some(slices: Sequence[Slice], where: Path) -> tuple[Slice, ...]:
    if not slices:
        raise InputError(f"no slice of {where} is filled enough; lower least_content in the protocol")
    return tuple(slices)


def _scaled(image: np.ndarray) -> Tensor:
    return torch.from_numpy((image / max(np.percentile(image, 99), 1e-30)).astype(np.float32))


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
        return image * _outline(image.shape, generator) if uniform(0, 1, generator) < 0.7 else image


def _outline(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a bent ellipse (y, x), 1 inside and 0 outside, with an edge of about a pixel."""
    height, width = shape
    y = torch.linspace(-1, 1, height)[:, None] / uniform(0.55, 1.0, generator)
    x = torch.linspace(-1, 1, width) / uniform(0.55, 1.0, generator)
    distance = (y**2 + x**2).sqrt() + 0.12 * smooth_field((height, width), 5, generator)
    return ((1 - distance) * min(shape) / 2).clamp(0, 1)


def _fastmri_slices(file: Path, least_content: float) -> list[_FastmriSlice]:
    """Return the slices of a file whose middle is bright enough, judged by every fourth row of each."""
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
        with reading(file, name):
            rows = np.asarray(dataset[:, ::4], dtype=np.float32)
    if not np.isfinite(rows).all():
        raise InputError(f"{file}: '{name}' holds values that are not finite; leave it out")
    filled = (rows > 0.1 * np.percentile(rows, 99)).mean(axis=(1, 2)) > least_content
    return [_FastmriSlice(file, name, i) for i in np.flatnonzero(filled).tolist()]


_READERS = {
    "nifti": _read_nifti,
    "nifti-all-axes": _read_nifti_all_axes,
    "mat": _read_mat,
    "labels": _read_labels,
}


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def smooth_field(shape: tuple[int, int], knots: int, generator: torch.Generator) -> Tensor:
    """Return a smooth random field (y, x) of about unit variance with `knots` bumps an axis."""
    coarse = torch.randn(1, 1, knots, knots, generator=generator)
    return F.interpolate(coarse, size=shape, mode="bicubic", align_corners=True)[0, 0]


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


def _contrast(image: Tensor, generator: torch.Generator) -> Tensor:
    """A random tone curve: a power, or a smooth curve through random heights that keeps 0 at 0."""
    if uniform(0, 1, generator) < 0.5:
        return image.clamp_min(0) ** uniform(0.6, 1.6, generator)
    heights = torch.rand(5, generator=generator) * 0.9 + 0.1
    heights[0] = 0
    x = image.clamp(0, 1.2) / 1.2 * 4
    low = x.floor().clamp(max=3).long()
    blend = x - low
    return heights[low] * (1 - blend) + heights[low + 1] * blend


def _placed(image: Tensor, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Turn, mirror, zoom and shift the image onto a grid somewhat finer than `shape`."""
    fine = tuple(2 * round(n * uniform(1.0, 1.6, generator) / 2) for n in shape)
    angle = (
        uniform(-math.pi, math.pi, generator)
        if uniform(0, 1, generator) < 0.5
        else uniform(-0.3, 0.3, generator)
    )
    # A slice shown larger than it was scanned is blurred: a prior that learns from it blurs detail.
    least = min(1.1, max(0.5, ((shape[0] * shape[1]) / (image.shape[0] * image.shape[1])) ** 0.5))
    zoom = math.exp(uniform(math.log(least), math.log(max(1.25, 1.4 * least)), generator))
    flip = 1.0 if uniform(0, 1, generator) < 0.5 else -1.0
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    dx, dy = uniform(-0.15, 0.15, generator), uniform(-0.15, 0.15, generator)
    # The grid's unit is half a field of view; lengths along x and y differ by the aspect ratios.
    ratio_out, ratio_in = fine[0] / fine[1], image.shape[0] / image.shape[1]
    theta = torch.tensor(
        [[flip * cos, flip * sin * ratio_out, dx], [-sin / ratio_in, cos * ratio_out / ratio_in, dy]]
    )
    grid = F.affine_grid(theta[None], [1, 1, *fine], align_corners=False)
    placed = F.grid_sample(image[None, None], grid, mode="bicubic", align_corners=False)[0, 0].clamp_min(0)
    return placed


def _decay(fine: tuple[int, int], shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return what of the signal is left when each sample of k-space is taken, real (y, x), on the fine grid.

    Lines of an echo train, and samples of a readout, are taken one after the other while the signal decays:
    k-space is heavier on one side of its centre, and edges get a part that is out of phase with the tissue.
    exp(slope·u) an axis, u = ±1 at the edges of the sampled band.  In turbo spin echo images of heads slopes
    of 0.5 to 0.8 along the phase axis were found, and none along the readout.
    """
    weights = torch.ones(fine)
    if uniform(0, 1, generator) < 0.35:
        return weights
    steep = int(torch.randint(2, (1,), generator=generator))
    for axis in range(2):
        bound = 1.0 if axis == steep else 0.2
        u = ((torch.arange(fine[axis]) - fine[axis] // 2) / (shape[axis] / 2)).clamp(-1, 1)
        along = torch.exp(uniform(-bound, bound, generator) * u)
        weights = weights * (along[:, None] if axis == 0 else along)
    return weights


def random_image(bank: ImageBank, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a random complex image (y, x), complex64, of 99th percentile about 1.

    A slice of the bank under a random tone curve, placement, bias field and smooth phase, sampled by a
    k-space window of `shape`, during which the signal decays, so that it rings as a scan of that matrix does.
    """
    image = _contrast(bank.draw(generator), generator)
    image = _placed(image, shape, generator)
    fine = (image.shape[0], image.shape[1])
    image = image * torch.exp(uniform(0, 0.35, generator) * smooth_field(fine, 3, generator))
    phase = uniform(0, 1.5, generator) * smooth_field(fine, 3, generator)
    if uniform(0, 1, generator) < 0.4:
        phase = phase + uniform(0, 0.6, generator) * smooth_field(fine, 9, generator)
    # Tissue has a phase of its own (susceptibility, chemical shift): without it in training, a prior learns
    # that anatomy is real but for a slow phase, and takes away what is not.
    if uniform(0, 1, generator) < 0.5:
        phase = phase + uniform(0, 0.35, generator) * smooth_field(fine, 24, generator)
    if uniform(0, 1, generator) < 0.5:
        phase = phase + uniform(-1, 1, generator) * image.clamp(max=1.2)
    ramp = torch.linspace(-1, 1, fine[0])[:, None] * uniform(-3, 3, generator) + torch.linspace(
        -1, 1, fine[1]
    ) * uniform(-3, 3, generator)
    k = fft2c(torch.polar(image, phase + ramp + uniform(-math.pi, math.pi, generator)))
    k = k * _decay(fine, shape, generator)
    top, left = (fine[0] // 2 - shape[0] // 2), (fine[1] // 2 - shape[1] // 2)
    cropped = ifft2c(k[top : top + shape[0], left : left + shape[1]])
    height = cropped.abs().flatten().kthvalue(max(1, int(0.99 * cropped.numel()))).values
    return cropped / height.clamp_min(1e-6) * uniform(0.8, 1.25, generator)
