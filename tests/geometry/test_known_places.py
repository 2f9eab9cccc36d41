"""A point and an F at known places in the patient come out in DICOM, NIfTI and the page where they are.

k-space is made from places in mm by the Fourier integral, so that no index arithmetic of ours is in it.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from exported import FRAMES, dicom_affine
from pagevolumes import nifti_of
from rawfiles import write_mrd
from twixfiles import protocol, readouts_of, write_twix

from mrunfold.export.run import ExportRequest, export_result
from mrunfold.pipeline import ReconSettings, reconstruct
from mrunfold.review.write import write_view

PIXEL = (2.0, 3.0)
CENTRE = np.array([14.0, -9.0, 31.0])
STEP = 7.0
# k-space (readout, phase), final image: even and odd sizes, readout oversampling twofold and odd.
SIZES = {
    "even": ((48, 40), (48, 40)),
    "odd": ((45, 39), (45, 39)),
    "oversampled": ((96, 40), (48, 40)),
    "oversampled, odd": ((91, 39), (45, 39)),
}
# An F in mm from its corner, along read and phase: a stem and two arms, each a row of points 2×3 mm apart.
LETTER = [(2.0 * i, 0.0) for i in range(12)]
LETTER += [(0.0, 3.0 * j) for j in range(1, 7)] + [(8.0, 3.0 * j) for j in range(1, 4)]


OPPOSITE = {"L": "R", "P": "A", "S": "I"}


def kspace(places: np.ndarray, origin: np.ndarray, frame, shape: tuple[int, int]) -> np.ndarray:
    """(coil, readout, phase) of unit points at LPS `places`: Σ exp(−2πi (k_r u + k_p v)), u, v in mm."""
    read, phase, _ = frame
    u, v = (places - origin) @ read, (places - origin) @ phase
    k_r = (np.arange(shape[0]) - shape[0] // 2) / (shape[0] * PIXEL[0])  # 1/mm
    k_p = (np.arange(shape[1]) - shape[1] // 2) / (shape[1] * PIXEL[1])
    signal = np.exp(-2j * np.pi * np.outer(k_r, u)) @ np.exp(-2j * np.pi * np.outer(v, k_p))
    return signal[None].astype(np.complex64)  # one coil: maps are not what is tested


def exported(
    tmp_path: Path, frame, shape, crop, points: list[np.ndarray], vendor: str | None = None
) -> tuple[list, nibabel.Nifti1Image]:
    """Raw file → reconstruction → DICOM datasets and NIfTI; points: places in each slice.

    Scanners of Siemens measure Σ exp(+2πi (k_r u + k_p v)): the conjugate, for the points are real.
    """
    origins = CENTRE + np.arange(len(points))[:, None] * STEP * frame[2]
    data = np.stack([kspace(p, o, frame, shape) for p, o in zip(points, origins, strict=True)])
    data = data if vendor is None else data.conj()
    noise = np.random.default_rng(0).standard_normal((2, *data.shape)) * 1e-4
    data = data + noise[0] + 1j * noise[1]
    if vendor == "twix":
        path = _twix(tmp_path / "meas.dat", data, crop, frame, origins)
    else:
        path = write_mrd(tmp_path / "raw.h5", data, crop, PIXEL, frame, origins, vendor)
    also = partial(_export, request=ExportRequest(dicom=True, nifti=True))
    reconstruct(path, tmp_path / "recon", ReconSettings(method="zero_filled", cache=False), also=also)
    folder = tmp_path / "recon" / "dicom" / "001_reconstruction"
    images = [pydicom.dcmread(f) for f in sorted(folder.iterdir())]
    return images, nibabel.load(tmp_path / "recon" / "nifti" / "recon.nii.gz")


def _twix(path: Path, data: np.ndarray, crop: tuple[int, int], frame, origins: np.ndarray) -> Path:
    """Write Siemens' raw data; what is cut off is readout oversampling."""
    factor = data.shape[-2] / crop[0]
    texts = protocol(*crop, factor=factor, pixel_mm=PIXEL, positions=origins)
    return write_twix(path, [(texts, readouts_of(data, frame, origins))])


def _export(folder: Path, request: ExportRequest) -> None:
    export_result(folder / "recon.h5", folder, request)


def dicom_values(images: list, places: np.ndarray) -> np.ndarray:
    """Value at the pixel whose centre is at each LPS place; fails if none is within 0.01 mm."""
    found = []
    for place in places:
        hits = []
        for one in images:
            affine = dicom_affine(one)
            index, *_ = np.linalg.lstsq(affine[:, :2], place - affine[:, 2], rcond=None)
            away = affine @ [*index.round(), 1] - place
            if np.linalg.norm(away) < 0.01:
                c, r = index.round().astype(int)
                hits.append(one.pixel_array[r, c] * one.RealWorldValueMappingSequence[0].RealWorldValueSlope)
        assert len(hits) == 1, f"{place} is a pixel of {len(hits)} images"
        found += hits
    return np.array(found)


def nifti_values(image: nibabel.Nifti1Image, places: np.ndarray) -> np.ndarray:
    """Value at the voxel whose centre is at each LPS place, by the affine of qform and by that of sform."""
    both = []
    for affine in (image.get_qform(), image.get_sform()):
        ras = places * [-1, -1, 1]
        index = np.linalg.solve(affine, np.column_stack([ras, np.ones(len(ras))]).T)
        np.testing.assert_allclose(index, index.round(), atol=5e-3)
        both.append(image.get_fdata()[tuple(index[:3].round().astype(int))])
    np.testing.assert_array_equal(*both)
    return both[0]


def page_of(result: Path) -> tuple[dict, nibabel.Nifti1Image]:
    """What the page of `view` holds: facts of its one case, and the volume of its reconstruction."""
    write_view(result / "page.html", [result])
    text = (result / "page.html").read_text(encoding="utf-8")
    (case,) = json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.DOTALL)[1])["cases"]
    number = next(p["volume"] for p in case["panels"] if p["key"] == "recon")
    return case, nifti_of(text, number)


def page_values(case: dict, image: nibabel.Nifti1Image, places: np.ndarray) -> np.ndarray:
    """Value at the pixel (column, row, slice) that the page's cross names by each LPS place."""
    index = np.linalg.solve(np.array(case["lps"]), np.column_stack([places, np.ones(len(places))]).T)
    np.testing.assert_allclose(index, index.round(), atol=5e-3)
    return image.get_fdata()[tuple(index[:3].round().astype(int))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("frame", FRAMES)
def test_a_point_and_an_f_are_where_they_are(tmp_path, frame, size):
    shape, crop = SIZES[size]
    read, phase, normal = FRAMES[frame]
    corner = CENTRE - 20.0 * read + 6.0 * phase
    letter = np.array([corner + a * read + b * phase for a, b in LETTER])
    point = np.array([CENTRE + STEP * normal + 12.0 * read - 27.0 * phase])
    images, nifti = exported(tmp_path, FRAMES[frame], shape, crop, [letter, point])
    # Where an F that was mirrored or turned would have ink, and this one has none.
    empty = np.array(
        [corner + a * read + b * phase for a, b in [(22.0, 18.0), (22.0, 9.0), (8.0, 15.0), (-4.0, 0.0)]]
    )
    case, page = page_of(tmp_path / "recon")
    # The letters on the reader's edges: where columns run to, and rows.
    towards = [max(zip(np.abs(v), np.sign(v), "LPS", strict=True)) for v in np.array(case["lps"]).T[:2, :3]]
    letters = [name if sign > 0 else OPPOSITE[name] for _, sign, name in towards]
    assert [case["edges"][3][0], case["edges"][1][0]] == letters
    readers = partial(dicom_values, images), partial(nifti_values, nifti), partial(page_values, case, page)
    for values in readers:
        bright = np.concatenate([values(letter), values(point)])
        np.testing.assert_allclose(bright, bright[-1], rtol=0.02)
        assert values(empty).max() < 0.02 * bright.min()
        assert values(empty + STEP * normal).max() < 0.02 * bright.min()
    assert np.argmax([one.pixel_array.max() for one in images]) in (0, 1)
    for one in images:  # and nothing else is bright: 21 points in one slice, one in the other
        levels = one.pixel_array
        assert (levels > 0.5 * levels.max()).sum() in (len(LETTER), 1)


@pytest.mark.parametrize("vendor", ["SIEMENS", "twix"])
@pytest.mark.parametrize("size", ["even", "oversampled, odd"])
@pytest.mark.parametrize("frame", FRAMES)
def test_siemens_sign_of_the_fourier_transform(tmp_path, frame, size, vendor):
    """The F of a Siemens scan lies where it is; without a word of the vendor it is turned by 180°."""
    shape, crop = SIZES[size]
    read, phase, normal = FRAMES[frame]
    if vendor == "twix":  # whose phase, read and slice directions are a rotation's
        normal = np.cross(phase, read)
    corner = CENTRE - 20.0 * read + 6.0 * phase
    letter = np.array([corner + a * read + b * phase for a, b in LETTER])
    point = np.array([CENTRE + STEP * normal + 12.0 * read - 27.0 * phase])
    images, nifti = exported(tmp_path, (read, phase, normal), shape, crop, [letter, point], vendor)
    record = json.loads((tmp_path / "recon" / "record.json").read_text())
    assert any(flag.startswith("a Siemens scan: k-space is conjugated") for flag in record["flags"])
    case, page = page_of(tmp_path / "recon")
    assert any("Siemens" in flag for flag in case["flags"])
    turned = 2 * CENTRE - letter
    for values in (
        partial(dicom_values, images),
        partial(nifti_values, nifti),
        partial(page_values, case, page),
    ):
        bright = np.concatenate([values(letter), values(point)])
        np.testing.assert_allclose(bright, bright[-1], rtol=0.02)
        assert values(turned).max() < 0.02 * bright.min()


def test_a_shift_by_one_pixel_is_found(tmp_path):
    read, phase, _ = FRAMES["axial"]
    place = np.array([CENTRE + 4.0 * read])
    images, nifti = exported(tmp_path, FRAMES["axial"], (48, 40), (48, 40), [place])
    for values in (partial(dicom_values, images), partial(nifti_values, nifti)):
        assert values(place)[0] > 50 * values(place + 2.0 * read)[0]
        assert values(place)[0] > 50 * values(place + 3.0 * phase)[0]


def test_the_export_lists_what_it_wrote(tmp_path):
    exported(tmp_path, FRAMES["axial"], (48, 40), (48, 40), [np.array([CENTRE])])
    record = json.loads((tmp_path / "recon" / "export.json").read_text())
    assert [one["folder"] for one in record["dicom"]] == ["001_reconstruction"]
