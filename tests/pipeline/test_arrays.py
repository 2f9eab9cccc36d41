"""`mrunfold.recon` on arrays gives what the command gives on files, and takes parts of the user's own."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from rawfiles import coil_kspace, write_cfl
from typer.testing import CliRunner

import mrunfold
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.masks import draw

SHAPE = (64, 48)
NOISE = 0.02


def disc() -> np.ndarray:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    image = np.exp(-(((y / 0.5) ** 2 + (x / 0.55) ** 2) ** 2)) * (1 + 0.3 * np.sin(9 * y + 4 * x))
    return image.astype(np.float32)[None]


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """(coil, readout, phase)."""
    return coil_kspace(disc(), coils=5, noise=NOISE)[0]


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    return draw("random", SHAPE, 3, seed=4, calibration=12).array


def command(path: Path, out: Path, *options: str) -> tuple[dict[str, np.ndarray], str]:
    result = CliRunner().invoke(main.app, ["recon", str(path), "--out", str(out), "--no-cache", *options])
    assert result.exit_code == 0, result.output
    with h5py.File(out / "recon.h5") as file:
        return {name: file[name][()] for name in file}, result.output


def quick(kspace, *args, **options):
    return mrunfold.recon(kspace, *args, progress=False, **({"method": "sense"} | options))


@pytest.mark.parametrize("method", ["unfold", "sense"])
def test_an_array_gives_what_its_file_gives(tmp_path, kspace, mask, method):
    np.save(tmp_path / "mask.npy", mask)
    path = write_cfl(tmp_path / "scan.cfl", kspace)
    volumes, _ = command(path, tmp_path / "out", "--mask", str(tmp_path / "mask.npy"), "--method", method)
    found = quick(kspace, mask, method=method)
    height = np.abs(found.image).max()
    np.testing.assert_allclose(volumes["image"][0], found.image, atol=1e-6 * height, rtol=0)
    np.testing.assert_allclose(volumes["reconstruction"][0], found.magnitude, atol=1e-6 * height, rtol=0)
    assert found.image.dtype == np.complex64


def test_slices_torch_and_samples(kspace, mask):
    two = np.stack([kspace, 1j * kspace])
    found = quick(two, mask, method="unfold", samples=3, steps=2)
    assert found.image.shape == (2, *SHAPE)
    assert found.samples.shape == (3, 2, *SHAPE)
    assert found.std.shape == (2, *SHAPE)
    assert found.maps.shape == (2, 5, *SHAPE)
    assert len(found.sigma) == len(found.scale) == 2
    np.testing.assert_allclose(np.abs(found.samples).std(axis=0, ddof=1), found.std, rtol=1e-3, atol=1e-6)
    bright = np.abs(found.image[0]) > 0.5
    # Convolutions may be in bfloat16, in which a turned phase is another number.
    np.testing.assert_allclose(found.image[1][bright] / found.image[0][bright], 1j, atol=0.02)
    as_torch = quick(torch.from_numpy(kspace), torch.from_numpy(mask))
    assert isinstance(as_torch.image, torch.Tensor)
    assert isinstance(as_torch.maps, torch.Tensor)
    np.testing.assert_array_equal(as_torch.image.numpy(), quick(kspace, mask).image)


def test_samples_outside_the_mask_are_not_looked_at(kspace, mask):
    spoilt = np.where(mask, kspace, 1e3)
    np.testing.assert_array_equal(quick(spoilt, mask).image, quick(kspace, mask).image)


def test_sigma_and_noise(kspace, mask):
    assert quick(kspace, mask, sigma=0.05).sigma == pytest.approx(0.05, rel=1e-3)
    rng = np.random.default_rng(0)
    noise = 0.03 * np.sqrt(0.5) * (rng.standard_normal((5, 4000)) + 1j * rng.standard_normal((5, 4000)))
    found = quick(kspace, mask, noise=noise)
    assert found.sigma == pytest.approx(0.03, rel=0.03)
    assert found.record["slices"][0]["problem"]["noise"]["source"] == "noise scan"
    assert found.record["given"]["noise"] == {"shape": [5, 4000]}


def test_own_maps_need_no_calibration_lines(kspace):
    """Maps of a full scan, and data of every third line alone, which nothing could be calibrated from."""
    full = quick(kspace)
    thirds = np.zeros(SHAPE[1], bool)
    thirds[::2] = True
    with pytest.raises(InputError, match="calibration"):
        quick(kspace, thirds)
    found = quick(kspace, thirds, maps=full.maps, max_iter=60)
    inside = np.abs(full.image) > 0.4
    assert np.median(np.abs(found.image - full.image)[inside] / np.abs(full.image)[inside]) < 0.1
    assert found.record["slices"][0]["problem"]["maps"] == "given"
    # The maps' own scale and a coil's own gain do not matter.
    scaled = quick(kspace, thirds, maps=7 * full.maps, max_iter=60)
    np.testing.assert_allclose(scaled.image, found.image, rtol=1e-3, atol=1e-4)


def test_maps_go_round(tmp_path, kspace, mask):
    """What `--save maps` keeps is what `--maps` takes: the image is the same."""
    np.save(tmp_path / "mask.npy", mask)
    path = write_cfl(tmp_path / "scan.cfl", kspace)
    options = ["--mask", str(tmp_path / "mask.npy"), "--method", "sense"]
    first, _ = command(path, tmp_path / "a", *options, "--save", "maps,complex")
    assert first["maps"].shape == (1, 1, 5, *SHAPE)
    assert first["mask"].shape == (1, *SHAPE)
    np.testing.assert_array_equal(first["mask"][0], mask)
    again, _ = command(path, tmp_path / "b", *options, "--maps", str(tmp_path / "a" / "recon.h5"))
    height = np.abs(first["image"]).max()
    np.testing.assert_allclose(again["image"], first["image"], atol=1e-3 * height, rtol=0)
    assert "maps" not in again
    nifti = nibabel.load(tmp_path / "a" / "recon_complex.nii.gz")
    assert nifti.get_data_dtype() == np.complex64
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), first["image"].transpose(1, 2, 0))


def test_maps_that_are_kspace_are_refused(tmp_path, kspace, mask):
    """As of a file in the wrong place: the image was made with them."""
    with pytest.raises(InputError, match="seem to be k-space"):
        quick(kspace, mask, maps=kspace)
    small = np.zeros_like(kspace)  # sensitivities of a small object are none
    small[:, 24:36, 18:27] = 5**-0.5
    assert quick(kspace, mask, maps=small).image.any()


def test_a_mask_in_every_kind_of_file(tmp_path, kspace, mask):
    import scipy.io
    from PIL import Image

    np.savez(tmp_path / "m.npz", mask=mask)
    scipy.io.savemat(tmp_path / "m.mat", {"mask": mask.astype(float), "R": 3.0})
    Image.fromarray((mask * 255).astype(np.uint8)).save(tmp_path / "m.png")
    write_cfl(tmp_path / "m.cfl", mask[None].astype(np.complex64))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["mask"] = mask[0]  # lines
    path = write_cfl(tmp_path / "scan.cfl", kspace)
    images = []
    for suffix in ("npz", "mat", "png", "cfl", "h5"):
        options = ["--mask", str(tmp_path / f"m.{suffix}"), "--method", "zero_filled"]
        volumes, output = command(path, tmp_path / suffix, *options)
        images.append(volumes["image"])
        assert re.search(r"given, R=\d.\d\d actual", output)
        assert "PSNR" in output  # the data are full: it is scored
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask": np.ones((48, 64))}, "it is transposed"),
        ({"mask": np.ones(64)}, "give 48 lines"),
        ({"mask": np.full(SHAPE, 0.5)}, "only zeros and ones"),
        ({"maps": np.ones((4, *SHAPE), complex)}, "5 coils"),
        ({"maps": np.zeros((5, *SHAPE), complex)}, "zero everywhere"),
        ({"maps": np.full((5, *SHAPE), np.nan, complex)}, "NaN"),
        ({"maps": np.ones((5, *SHAPE))}, "maps are complex"),
        ({"noise": np.ones((3, 100), complex)}, "5 coils here"),
        ({"sigma": -1.0}, "above 0"),
        ({"method": "unfolt"}, "did you mean unfold"),
    ],
)
def test_what_does_not_fit_is_said(kspace, options, words):
    with pytest.raises(InputError, match=words):
        quick(kspace, **options)


@pytest.mark.parametrize(
    "array", [np.ones((5, 64, 48)), np.ones((64, 48), complex), np.ones((1,) * 6, complex)]
)
def test_only_kspace_is_reconstructed(array):
    with pytest.raises(InputError, match=r"\(coil, readout, phase\)"):
        quick(array)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda k: k[:0], "is empty"),
        (lambda k: 0 * k, "slice 0 holds zeros alone"),
        (lambda k: np.nan * k, "NaN or infinite"),
        (lambda k: k.transpose(1, 2, 0), r"coils are last; give np.moveaxis\(k, -1, -3\)"),
    ],
)
def test_what_is_no_kspace_is_called_what_it_is(kspace, change, words):
    with pytest.raises(InputError, match=words):
        quick(change(kspace))


@pytest.mark.parametrize("sigma", ["a", [0.1, 0.2], None, 0, -1.0, float("nan")])
def test_a_noise_level_is_one_number(kspace, mask, sigma):
    if sigma is None:
        assert quick(kspace, mask, sigma=np.float32(NOISE)).image.any()
        return
    with pytest.raises(InputError, match="the noise level is a standard deviation above 0"):
        quick(kspace, mask, sigma=sigma)


def test_the_default_dtype_does_not_matter(kspace, mask):
    plain = quick(kspace, mask, method="unfold")
    torch.set_default_dtype(torch.float64)
    try:
        found = quick(kspace, mask, method="unfold")
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(found.image, plain.image, atol=1e-5 * np.abs(plain.image).max())


def test_a_file_that_is_not_there(tmp_path, kspace):
    path = write_cfl(tmp_path / "scan.cfl", kspace)
    for option in ("--mask", "--maps", "--noise"):
        result = CliRunner().invoke(main.app, ["recon", str(path), option, "nowhere.npy"])
        assert result.exit_code == 2
        assert "nowhere.npy: no such file" in result.output


def test_a_notebook_shows_the_image(kspace, mask):
    page = quick(kspace, mask)._repr_html_()
    assert page.startswith("<figure")
    assert 'src="data:image/png;base64,' in page
    assert "sense, (64, 48)" in page


def test_the_name_is_found_without_loading_torch():
    import subprocess
    import sys

    code = (
        "import sys, mrunfold; assert 'torch' not in sys.modules; "
        "mrunfold.recon; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing_here"):
        mrunfold.nothing_here  # noqa: B018
