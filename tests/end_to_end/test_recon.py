"""From a raw file to a folder of results: every format, method and kind of mask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from rawfiles import coil_kspace, write_fastmri
from typer.testing import CliRunner

from mrunfold import metrics
from mrunfold.cli import main
from mrunfold.methods import METHODS

FILES = ["preview.png", "recon.h5", "recon.nii.gz", "record.json"]
# A few steps only: these tests are about files, and those in tests/methods about images.
QUICK = {
    "zero_filled": [],
    "sense": ["--param", "max_iter=5"],
    "l1_wavelet": ["--param", "max_iter=3"],
    "tv": ["--param", "max_iter=20"],
}
MASKED = ["--mask", "random", "--accel", "3", "--calibration", "10"]  # a matrix of 48 lines is small
MASKS = [("poisson", "4"), ("poisson", "8"), ("random", "4")]


def recon(path: Path, out: Path, *arguments: str):
    result = CliRunner().invoke(main.app, ["recon", str(path), "--out", str(out), *arguments])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == FILES
    record = json.loads((out / "record.json").read_text())
    with h5py.File(out / "recon.h5") as file:
        volumes = {name: file[name][()] for name in file}
        attributes = dict(file.attrs)
    return result, record, volumes, attributes


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Coil maps are the slow part of small scans: these tests share theirs."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MRUNFOLD_CACHE", str(folder))
        yield folder


def brain(shape=(64, 48), count=3) -> np.ndarray:
    """Ellipses with some structure inside, different from slice to slice."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    head = ((y / 0.85) ** 2 + (x / 0.7) ** 2 < 1).astype(np.float32)
    inner = [head + 0.8 * (((y - 0.1 * s) / 0.3) ** 2 + (x / 0.2) ** 2 < 1) for s in range(count)]
    return np.stack(inner).astype(np.float32) * 1e-4


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    kspace = coil_kspace(brain(), coils=4, noise=1e-6)
    return write_fastmri(tmp_path_factory.mktemp("raw") / "brain.scan.h5", kspace)


def brain_8ch(shared_data: Path) -> np.ndarray:
    """(coil, readout, phase) of brain_8ch_full."""
    base = shared_data / "kspace" / "brain_8ch_full"
    shape = [int(n) for n in base.with_suffix(".hdr").read_text().splitlines()[1].split()]
    data = np.fromfile(base.with_suffix(".cfl"), "<c8").reshape(shape, order="F").squeeze()
    return data.transpose(2, 0, 1)


def mchiew_16ch(shared_data: Path) -> np.ndarray:
    """(coil, readout, phase) of mchiew_SENSE_16ch."""
    with h5py.File(shared_data / "kspace" / "mchiew_SENSE_16ch.mat") as file:
        raw = file["raw"][()]
    return (raw["real"] + 1j * raw["imag"])[:, 0].astype(np.complex64)


@pytest.mark.parametrize("method", sorted(QUICK))
def test_every_method_on_a_fastmri_file(tmp_path, scan, method):
    arguments = [*MASKED, "--method", method, *QUICK[method]]
    result, record, volumes, attributes = recon(scan, tmp_path / "out", *arguments)
    volume, target = volumes["reconstruction"], volumes["target"]
    assert volume.shape == (3, 64, 48)
    assert volume.dtype == np.float32
    assert record["target_kind"] == attributes["target_kind"] == "rss"  # the file has reconstruction_rss
    with h5py.File(scan) as file:
        np.testing.assert_allclose(target, file["reconstruction_rss"][()], rtol=1e-3, atol=1e-7)
    expected = metrics.score(target, volume, data_range=float(target.max()))
    assert record["metrics"]["psnr"] == pytest.approx(expected["psnr"], rel=1e-6)
    assert record["metrics"]["ssim"] == pytest.approx(expected["ssim"], rel=1e-6)
    assert record["metrics"]["nmse"] == pytest.approx(expected["nmse"], rel=1e-6)
    assert expected["psnr"] > 15
    for word in ("PSNR", "SSIM", "s/slice", "data range = maximum", *FILES):
        assert word in result.stdout
    nifti = nibabel.load(tmp_path / "out" / "recon.nii.gz")
    np.testing.assert_array_equal(nifti.get_fdata(dtype=np.float32), volume.transpose(1, 2, 0))


def test_a_sampler_with_a_prior_alone(tmp_path, scan):
    arguments = ["--method", "dds", "--param", "steps=6", "--param", "sigma_start=1"]
    _, record, volumes, _ = recon(scan, tmp_path / "out", *MASKED, *arguments)
    assert volumes["reconstruction"].shape == (3, 64, 48)
    assert record["metrics"]["psnr"] > 15


def test_methods_are_all_tested():
    # Those that learned, that choose, or that are for photographs have files of their own.
    assert set(QUICK) == set(METHODS) - {
        *("unfold", "unet", "varnet", "modl", "dps", "diffpir", "ddnm", "daps", "dds"),
        "auto",
        "tikhonov",
        "tv_isotropic",
        "plug_and_play",
        "homodyne",
        "pocs",
    }


def test_the_record_says_what_was_done(tmp_path, scan):
    arguments = [
        "--mask",
        "poisson",
        "--accel",
        "4",
        "--seed",
        "7",
        "--slices",
        "1:",
        "--method",
        "zero_filled",
    ]
    _, record, volumes, attributes = recon(scan, tmp_path / "out", *arguments)
    assert volumes["reconstruction"].shape[0] == 2
    assert record["input"]["name"] == "brain.scan.h5"
    assert len(record["input"]["sha256"]) == 64
    assert attributes["input_sha256"] == record["input"]["sha256"]
    mask = record["mask"]
    assert mask["kind"] == "poisson"
    assert mask["asked"] == 4
    assert mask["seed"] == 7
    assert mask["delivered"] == pytest.approx([4, 4], rel=0.03)
    assert [one["index"] for one in record["slices"]] == [1, 2]
    assert set(record["seconds"]) == {"hash", "read", "problem", "method", "check", "write", "export"}
    assert record["peak_memory_mb"]["process"] > 1
    assert record["versions"]["torch"]
    assert json.loads(attributes["settings"])["slices"] == "1:"


def test_nothing_names_a_person_or_a_place(tmp_path, scan):
    recon(scan, tmp_path / "out", "--method", "zero_filled")
    for name in ("record.json", "recon.h5"):
        content = (tmp_path / "out" / name).read_bytes()
        assert b"CANARY" not in content
        assert str(scan.parent).encode() not in content
        assert str(tmp_path).encode() not in content


def test_a_slice_does_not_depend_on_the_others(tmp_path, scan):
    arguments = [*MASKED, "--method", "l1_wavelet", "--param", "max_iter=3"]
    _, _, together, _ = recon(scan, tmp_path / "all", *arguments)
    _, _, alone, _ = recon(scan, tmp_path / "one", *arguments, "--slices", "2")
    np.testing.assert_allclose(
        alone["reconstruction"][0], together["reconstruction"][2], rtol=1e-5, atol=1e-10
    )


def test_the_same_run_gives_the_same_images(tmp_path, scan):
    arguments = ["--mask", "poisson", "--accel", "4", "--method", "zero_filled", "--seed", "3"]
    first = recon(scan, tmp_path / "a", *arguments)[2]["reconstruction"]
    again = recon(scan, tmp_path / "b", *arguments)[2]["reconstruction"]
    other = recon(scan, tmp_path / "c", *arguments[:-1], "4")[2]["reconstruction"]
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=1e-3)


@pytest.mark.parametrize("target", ["rss", "combined"])
def test_what_the_method_began_with_is_kept_for_readers(tmp_path, scan, target):
    arguments = ["--mask", "poisson", "--accel", "4", "--seed", "3", "--target", target]
    method = ["--method", "sense", "--param", "max_iter=2"]
    plain = recon(scan, tmp_path / "zf", *arguments, "--method", "zero_filled")[2]
    volumes = recon(scan, tmp_path / "sense", *arguments, *method)[2]
    assert "zero_filled" not in plain  # it would be the reconstruction once more
    np.testing.assert_array_equal(volumes["zero_filled"], plain["reconstruction"])
    assert not np.allclose(volumes["zero_filled"], volumes["reconstruction"], rtol=1e-2)


def test_seed_by_name_is_fastmris(tmp_path, scan):
    from fastmri.data.subsample import RandomMaskFunc

    arguments = ["--mask", "random", "--accel", "4", "--center-fraction", "0.08", "--seed", "name"]
    _, record, _, _ = recon(scan, tmp_path / "out", *arguments, "--method", "zero_filled")
    law = RandomMaskFunc([0.08], [4])
    theirs, _ = law((1, 64, 48, 2), seed=tuple(map(ord, "brain.scan.h5")))
    assert record["mask"]["drawn"] == pytest.approx(48 / float(theirs.sum()))
    assert record["mask"]["seed"] == "of the file's name"


def test_target_can_be_chosen(tmp_path, scan):
    arguments = ["--mask", "random", "--accel", "2", "--method", "sense", "--target", "combined"]
    _, record, volumes, _ = recon(scan, tmp_path / "out", *arguments)
    assert record["target_kind"] == "combined"
    assert record["metrics"]["psnr"] > 20
    # Both kinds are in the file's scale.
    with h5py.File(scan) as file:
        rss = file["reconstruction_rss"][()]
    inside = rss > 0.5 * rss.max()
    assert np.median(volumes["target"][inside] / rss[inside]) == pytest.approx(1, abs=0.2)
    assert np.median(volumes["reconstruction"][inside] / rss[inside]) == pytest.approx(1, abs=0.2)


def test_slices_of_a_volume_share_one_scale(tmp_path):
    """The same object with the same noise twice: whitening is by slice, what is written is not."""
    image = brain(count=1)
    kspace = np.concatenate([coil_kspace(image, noise=1e-6, seed=1), coil_kspace(image, noise=4e-6, seed=1)])
    path = write_fastmri(tmp_path / "twice.h5", kspace)
    for target in ("combined", "rss"):
        arguments = ["--method", "zero_filled", "--target", target]
        _, _, volumes, _ = recon(path, tmp_path / target, *arguments)
        first, second = volumes["reconstruction"]
        inside = image[0] > 0
        assert np.median(second[inside] / first[inside]) == pytest.approx(1, abs=0.05)


def test_nothing_is_shown_where_no_coil_reaches(tmp_path, scan):
    arguments = [*MASKED, "--method", "l1_wavelet", "--param", "max_iter=3", "--target", "combined"]
    _, record, volumes, _ = recon(scan, tmp_path / "out", *arguments)
    support = record["slices"][0]["problem"]["support"]
    assert 0.1 < support < 0.99
    assert (volumes["reconstruction"][0] > 0).mean() <= support + 1e-3


def test_an_empty_slice_is_zero(tmp_path):
    kspace = coil_kspace(brain(), noise=1e-6)
    kspace[1] = 0
    path = write_fastmri(tmp_path / "hole.h5", kspace)
    for name, mask in {"as acquired": [], "masked": MASKED}.items():
        _, record, volumes, _ = recon(path, tmp_path / name, "--method", "sense", *mask)
        assert not volumes["reconstruction"][1].any()
        assert volumes["reconstruction"][2].any()
        assert len(record["slices"]) == 3


def test_a_mask_over_an_undersampled_file_is_flagged(tmp_path):
    lines = np.zeros(48, bool)
    lines[::2] = True
    lines[14:34] = True
    kspace = coil_kspace(brain(), coils=4, noise=1e-6) * lines
    path = write_fastmri(tmp_path / "test.h5", kspace, rss=False, mask=lines)
    result, record, _, _ = recon(path, tmp_path / "out", *MASKED, "--method", "zero_filled")
    assert any("itself undersampled" in flag for flag in record["flags"])
    assert "itself undersampled" in result.stdout
    assert record["mask"]["delivered"][0] > record["mask"]["drawn"]
    assert record["metrics"] is None


def test_maps_are_cached_unless_told_not_to(tmp_path, scan, monkeypatch):
    monkeypatch.setenv("MRUNFOLD_CACHE", str(tmp_path / "cache"))
    arguments = ["--method", "zero_filled", "--slices", "0"]
    recon(scan, tmp_path / "a", *arguments, "--no-cache")
    assert not (tmp_path / "cache").exists()
    recon(scan, tmp_path / "b", *arguments)
    assert any((tmp_path / "cache").rglob("*"))


@pytest.mark.slow
def test_memory_does_not_grow_with_slices(tmp_path):
    """Peak memory of a fresh process over 200 slices against 5 of them."""
    shape, count = (256, 128), 200
    path = write_fastmri(
        tmp_path / "long.h5", np.repeat(coil_kspace(brain(shape, 1), coils=8), count, 0), rss=False
    )
    code = "from mrunfold.cli.main import run; run()"
    peaks = []
    for slices in ("0:5", "0:200"):
        out = tmp_path / slices.replace(":", "_")
        arguments = ["recon", str(path), "--method", "zero_filled", "--slices", slices, "--out", str(out)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
        peaks.append(json.loads((out / "record.json").read_text())["peak_memory_mb"]["process"])
    volume_mb = count * shape[0] * shape[1] * 4 / 1e6
    assert peaks[1] - peaks[0] < 0.5 * volume_mb


def test_an_undersampled_file_as_acquired_has_no_score(tmp_path):
    lines = np.zeros(48, bool)
    lines[::2] = True
    lines[18:30] = True
    kspace = coil_kspace(brain(), coils=4, noise=1e-6) * lines
    path = write_fastmri(tmp_path / "test.h5", kspace, rss=False, mask=lines)
    result, record, volumes, _ = recon(path, tmp_path / "out", "--method", "sense", "--param", "max_iter=5")
    assert record["metrics"] is None
    assert "PSNR" not in result.stdout
    assert list(volumes) == ["image", "mask", "provenance", "reconstruction", "zero_filled"]
    assert record["mask"]["kind"] == "acquired"
    assert record["mask"]["delivered"][0] == pytest.approx(48 / lines.sum())


def test_quiet_prints_nothing(tmp_path, scan):
    result, *_ = recon(scan, tmp_path / "out", "--method", "zero_filled", "--quiet")
    assert result.stdout == ""
    assert result.stderr == ""


def test_default_folder_is_named_for_file_and_method(tmp_path, scan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main.app, ["recon", str(scan), "--method", "zero_filled", "--no-cache"])
    assert result.exit_code == 0, result.output
    assert [p.name for p in tmp_path.iterdir()] == ["brain.scan_zero_filled"]


def test_coils_can_be_compressed(tmp_path, scan):
    arguments = ["--method", "zero_filled", "--mask", "random", "--accel", "2", "--coils", "3"]
    _, record, _, _ = recon(scan, tmp_path / "out", *arguments)
    assert record["metrics"]["psnr"] > 15
    assert "3" in json.dumps(record["slices"][0]["problem"])


def test_the_sample(tmp_path):
    path = tmp_path / "sample.h5"
    assert CliRunner().invoke(main.app, ["sample", str(path)]).exit_code == 0
    arguments = ["--mask", "poisson", "--accel", "8", "--method", "sense", "--param", "max_iter=5"]
    result, record, _, attributes = recon(path, tmp_path / "out", *arguments, "--slices", "0")
    assert record["simulated"] is True
    assert bool(attributes["simulated"]) is True
    assert "simulated" in result.stdout


def test_real_brain_cfl_directly(tmp_path, shared_data):
    path = shared_data / "kspace" / "brain_8ch_full.cfl"
    arguments = ["--mask", "poisson", "--accel", "4", "--method", "sense", "--param", "max_iter=6"]
    _, record, volumes, _ = recon(path, tmp_path / "out", *arguments)
    assert volumes["reconstruction"].shape == (1, 230, 180)
    assert record["target_kind"] == "combined"
    assert record["metrics"]["psnr"] > 28
    assert record["input"]["format"] == "cfl"


def test_real_ismrmrd_as_acquired(tmp_path, shared_data):
    path = shared_data / "kspace" / "nhlbi_phantom_14ch_R3_ismrmrd.h5"
    _, record, volumes, _ = recon(
        path, tmp_path / "out", "--method", "sense", "--param", "max_iter=6", "--slices", "0"
    )
    assert record["input"]["format"] == "mrd"
    assert record["mask"]["kind"] == "acquired"
    assert record["mask"]["delivered"][0] > 1.5
    assert volumes["reconstruction"].max() > 0


@pytest.mark.parametrize("load", [brain_8ch, mchiew_16ch])
def test_real_scans_as_fastmri_files(tmp_path, shared_data, load):
    path = write_fastmri(tmp_path / "scan.h5", load(shared_data)[None])
    arguments = ["--mask", "random", "--accel", "4", "--method", "l1_wavelet", "--param", "max_iter=8"]
    _, record, _, _ = recon(path, tmp_path / "out", *arguments)
    assert record["target_kind"] == "rss"
    assert record["metrics"]["psnr"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("mask", MASKS, ids="-".join)
@pytest.mark.parametrize("method", sorted(QUICK))
@pytest.mark.parametrize("load", [brain_8ch, mchiew_16ch])
def test_every_method_and_mask_on_real_scans(tmp_path, shared_data, load, method, mask):
    path = write_fastmri(tmp_path / "scan.h5", load(shared_data)[None])
    out = tmp_path / "out"
    _, record, _, _ = recon(path, out, "--mask", mask[0], "--accel", mask[1], "--method", method)
    zero_filled = recon(
        path, tmp_path / "zf", "--mask", mask[0], "--accel", mask[1], "--method", "zero_filled"
    )[1]
    assert record["metrics"]["psnr"] >= zero_filled["metrics"]["psnr"] - 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(QUICK))
def test_every_method_on_the_ismrmrd_file_and_the_cfl(tmp_path, shared_data, method):
    folder = shared_data / "kspace"
    recon(folder / "nhlbi_phantom_14ch_R3_ismrmrd.h5", tmp_path / "mrd", "--method", method, "--slices", "0")
    recon(folder / "brain_8ch_full.cfl", tmp_path / "cfl", "--method", method)
