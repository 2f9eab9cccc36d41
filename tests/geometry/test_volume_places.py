"""Points at known places of a 3-D scan come out in NIfTI and DICOM where they are, split along either axis.

k-space is made from places in mm by the Fourier integral, so that no index arithmetic of ours is in it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from exported import FRAMES, dicom_affine
from twixfiles import protocol, slab_readouts, write_twix
from volumefiles import write_mrd_volume

from mrunfold.export.run import ExportRequest, export_result
from mrunfold.pipeline import ReconSettings, reconstruct

VOXEL = (2.0, 3.0, 4.0)
CENTRE = np.array([14.0, -9.0, 31.0])
# k-space (readout, phase, partition) and final image: readout and slice oversampling, even and odd.
SIZES = {
    "even": ((24, 20, 12), (24, 20, 12)),
    "odd, oversampled": ((41, 19, 15), (21, 19, 11)),
}
# Nothing in it is symmetric: voxels from the centre along read, phase and slice, and how bright they are.
POINTS = {(3, 1, 0): 1.0, (-4, 2, 1): 0.8, (5, -3, -2): 0.6, (-2, -5, 3): 0.5, (0, 4, -4): 0.4}


def places(frame: np.ndarray) -> np.ndarray:
    return CENTRE + np.array([np.array(p) * VOXEL for p in POINTS]) @ np.asarray(frame)


def kspace(frame: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """(coil, readout, phase, partition) of the points: Σ a exp(−2πi k·u), u in mm along the three axes."""
    u = (places(frame) - CENTRE) @ np.asarray(frame).T  # (point, axis)
    waves = [
        np.exp(-2j * np.pi * np.outer((np.arange(n) - n // 2) / (n * mm), u[:, axis]))
        for axis, (n, mm) in enumerate(zip(size, VOXEL, strict=True))
    ]
    signal = np.einsum("xp,yp,zp,p->xyz", *waves, np.array(list(POINTS.values())))
    draws = np.random.default_rng(0).standard_normal((2, *size)) * 1e-4
    return (signal + draws[0] + 1j * draws[1])[None].astype(np.complex64)


def _export(folder: Path, request: ExportRequest) -> None:
    export_result(folder / "recon.h5", folder, request)


@pytest.mark.parametrize("split", ["partition", "readout"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FRAMES)
def test_points_lie_where_they_are(tmp_path, name, size, split):
    frame = np.asarray(FRAMES[name], float)
    encoded, image = SIZES[size]
    data = kspace(frame, encoded)
    vendor = "SIEMENS" if name == "double oblique" else None
    path = write_mrd_volume(
        tmp_path / "raw.h5",
        data.conj() if vendor else data,
        image,
        VOXEL,
        frame,
        CENTRE,
        held(encoded, split),
        vendor=vendor,
    )
    lie(path, tmp_path, frame, size, split)


@pytest.mark.parametrize("split", ["partition", "readout"])
@pytest.mark.parametrize("name", FRAMES)
def test_points_of_a_twix_file(tmp_path, name, split):
    """Written by twixtools: Siemens' rotation, its sign of the transform and its slice oversampling."""
    frame = np.array(FRAMES[name], float)
    if np.linalg.det(frame[[1, 0, 2]]) < 0:  # phase, read and slice of Siemens are right-handed
        frame[0] *= -1
    n, image = SIZES["odd, oversampled"]
    over = f"{n[2] / image[2] - 1:.9f}"
    texts = protocol(
        image[0], n[1], factor=n[0] / image[0], pixel_mm=VOXEL[:2], positions=[CENTRE], dimension=4,
        thickness=image[2] * VOXEL[2],
        more=f"sKSpace.lPartitions\t = \t{n[2]}\nsKSpace.dSliceOversamplingForDialog\t = \t{over}\n",
    )  # fmt: skip
    readouts = slab_readouts(kspace(frame, n).conj(), frame, CENTRE, held(n, split))
    path = write_twix(tmp_path / "meas.dat", [(texts, readouts)])
    lie(path, tmp_path, frame, "odd, oversampled", split)


def held(encoded: tuple[int, int, int], split: str) -> np.ndarray:
    """What is acquired, bool (phase, partition)."""
    mask = np.ones(encoded[1:], bool)
    if split == "readout":  # one missing corner of k-space leaves no axis but the readout complete
        mask[0, 0] = False
    return mask


def lie(path: Path, tmp_path: Path, frame: np.ndarray, size: str, split: str) -> None:
    """Reconstruct the file; the points are where they are in NIfTI and in DICOM."""
    encoded, image = SIZES[size]
    also = partial(_export, request=ExportRequest(dicom=True, nifti=True))
    settings = ReconSettings(method="zero_filled", cache=False)
    summary = reconstruct(path, tmp_path / "recon", settings, also=also)
    assert len(summary.record["slices"]) == (image[2] if split == "partition" else image[0])
    nifti = nibabel.load(tmp_path / "recon" / "recon.nii.gz")
    values = np.asarray(nifti.dataobj)
    assert values.shape == image
    assert nifti.header.get_zooms() == pytest.approx(VOXEL)
    ras = places(frame) * (-1, -1, 1)
    index = nibabel.affines.apply_affine(np.linalg.inv(nifti.affine), ras)
    np.testing.assert_allclose(index, np.rint(index), atol=0.01)
    found = values[tuple(np.rint(index).astype(int).T)]
    height = np.sqrt(np.prod(encoded))  # of a point of 1, by the unitary transform
    np.testing.assert_allclose(found / height, list(POINTS.values()), atol=0.02)
    files = sorted((tmp_path / "recon" / "dicom" / "001_reconstruction").iterdir())
    images = [pydicom.dcmread(file) for file in files]
    assert len(images) == image[2]
    for point, wanted in zip(places(frame), POINTS.values(), strict=True):
        assert dicom_value(images, point) / height == pytest.approx(wanted, abs=0.02)


def dicom_value(images: list, place: np.ndarray) -> float:
    """Return the value of the pixel whose centre lies at an LPS place."""
    hits = []
    for image in images:
        affine = dicom_affine(image)
        index, *_ = np.linalg.lstsq(affine[:, :2], place - affine[:, 2], rcond=None)
        if np.linalg.norm(affine @ [*index.round(), 1] - place) < 0.01:
            column, row = index.round().astype(int)
            slope = image.RealWorldValueMappingSequence[0].RealWorldValueSlope
            hits.append(float(image.pixel_array[row, column] * slope))
    assert len(hits) == 1, f"{place} is a pixel of {len(hits)} images"
    return hits[0]
