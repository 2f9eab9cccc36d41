"""An F goes through reader, reconstruction, recon.h5, NIfTI and PNG without being turned."""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_cfl, write_fastmri, write_mrd
from typer.testing import CliRunner

from mrunfold.cli import main

# Columns: read, phase and slice directions of an oblique, left-handed frame.
ANGLE = np.deg2rad(30)
READ = np.array([np.cos(ANGLE), np.sin(ANGLE), 0.0])
PHASE = np.array([np.sin(ANGLE), -np.cos(ANGLE), 0.0])
SLICE = np.array([0.0, 0.0, 1.0])
SIZES = [
    ((48, 40), (48, 40), 48),
    ((45, 39), (45, 39), 90),
    ((48, 40), (33, 35), 96),
    ((40, 49), (40, 49), 81),
]


def phantom(shape: tuple[int, int]) -> np.ndarray:
    """Two slices: an F, and an F with a dot in a corner that tells them apart."""
    images = np.stack([letter_f(shape)] * 2)
    images[1, -6:-3, -6:-3] = 1
    return images


def cut(images: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """The centre, pixel N//2 to pixel crop//2."""
    starts = [n // 2 - m // 2 for n, m in zip(images.shape[-2:], crop, strict=True)]
    return images[..., starts[0] : starts[0] + crop[0], starts[1] : starts[1] + crop[1]]


def assert_upright(seen: np.ndarray, image: np.ndarray) -> None:
    """`seen` is `image` up to scale and shading, and no mirrored, turned or shifted one is as near."""

    def likeness(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.shape == b.shape else -1.0

    right = likeness(seen, image)
    assert right > 0.97
    others = [image[::-1], image[:, ::-1], image[::-1, ::-1]]
    others += [np.rot90(o) for o in (image, *others)]
    others += [np.roll(image, 1, axis) for axis in (0, 1)] + [np.roll(image, -1, axis) for axis in (0, 1)]
    assert right > max(likeness(seen, other) for other in others) + 0.02


def reconstruct(path, out):
    arguments = [
        "recon",
        str(path),
        "--method",
        "sense",
        "--param",
        "lamda=0.01",
        "--no-cache",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(main.app, arguments)
    assert result.exit_code == 0, result.output
    with h5py.File(out / "recon.h5") as file:
        return file["reconstruction"][()], nibabel.load(out / "recon.nii.gz")


@pytest.mark.parametrize(("shape", "crop", "readout"), SIZES)
def test_fastmri(tmp_path, shape, crop, readout):
    images = phantom(shape)
    path = write_fastmri(tmp_path / "f.h5", coil_kspace(images, readout=readout), crop, pixel_mm=(0.5, 0.75))
    volume, nifti = reconstruct(path, tmp_path / "out")
    assert volume.shape == (2, *crop)
    for seen, image in zip(volume, cut(images, crop), strict=True):
        assert_upright(seen, image)
    np.testing.assert_array_equal(nifti.get_fdata(dtype=np.float32), volume.transpose(1, 2, 0))
    assert (int(nifti.header["qform_code"]), int(nifti.header["sform_code"])) == (0, 0)
    np.testing.assert_allclose(nifti.header.get_zooms()[:2], (0.5, 0.75), rtol=1e-5)


@pytest.mark.parametrize(("shape", "crop", "readout"), SIZES)
def test_mrd_with_geometry(tmp_path, shape, crop, readout):
    images = phantom(shape)
    positions = np.array([[12.0, -7.0, 3.0], [12.0, -7.0, 9.0]])
    path = write_mrd(
        tmp_path / "f.h5",
        coil_kspace(images, readout=readout),
        crop,
        (2.0, 3.0),
        (READ, PHASE, SLICE),
        positions,
    )
    volume, nifti = reconstruct(path, tmp_path / "out")
    for seen, image in zip(volume, cut(images, crop), strict=True):
        assert_upright(seen, image)
    np.testing.assert_array_equal(nifti.get_fdata(dtype=np.float32), volume.transpose(1, 2, 0))
    assert (int(nifti.header["qform_code"]), int(nifti.header["sform_code"])) == (1, 1)
    r, c, s = 5, 9, 1
    point = positions[s] + READ * 2.0 * (r - crop[0] // 2) + PHASE * 3.0 * (c - crop[1] // 2)
    np.testing.assert_allclose((nifti.affine @ [r, c, s, 1])[:3], point * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose((nifti.get_qform() @ [r, c, s, 1])[:3], point * [-1, -1, 1], atol=1e-3)


@pytest.mark.parametrize("shape", [(48, 40), (45, 39)])
def test_cfl(tmp_path, shape):
    image = letter_f(shape)
    path = write_cfl(tmp_path / "f", coil_kspace(image[None])[0])
    volume, nifti = reconstruct(path, tmp_path / "out")
    assert_upright(volume[0], image)
    assert (int(nifti.header["qform_code"]), int(nifti.header["sform_code"])) == (0, 0)


def test_png_of_known_geometry_is_turned_for_the_reader(tmp_path):
    from matplotlib.image import imread

    shape = (48, 40)
    image = letter_f(shape)
    # Rows run to the head, columns to the right: turned by half a turn, an F is upright in a coronal view.
    frame = (np.array([0.0, 0, 1]), np.array([-1.0, 0, 0]), np.array([0.0, 1, 0]))
    turned = image[::-1, ::-1]
    path = write_mrd(
        tmp_path / "f.h5",
        coil_kspace(turned[None]),
        pixel_mm=(1.0, 1.0),
        frame=frame,
        positions=np.zeros((1, 3)),
    )
    volume, _ = reconstruct(path, tmp_path / "out")
    assert_upright(volume[0], turned)
    png = imread(tmp_path / "out" / "preview.png")[..., :3].mean(axis=-1)
    assert_upright(_reconstruction_panel(png, shape), image)


def _reconstruction_panel(png: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sample the last of a preview's three panels on a grid of `shape`."""
    start = png.shape[1] * 2 // 3
    dark = png[:, start:] < 0.2
    rows = np.flatnonzero(dark.mean(axis=1) > 0.2)
    columns = np.flatnonzero(dark.mean(axis=0) > 0.2) + start
    r = rows[0] + (np.arange(shape[0]) + 0.5) / shape[0] * (rows[-1] + 1 - rows[0])
    c = columns[0] + (np.arange(shape[1]) + 0.5) / shape[1] * (columns[-1] + 1 - columns[0])
    return png[np.ix_(r.astype(int), c.astype(int))]
