"""Radial and spiral scans: BART's phantom along BART's trajectories, ISMRMRD files, measured scans."""

from __future__ import annotations

import json
import shutil
import subprocess

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

import mrunfold
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.cfl import read_cfl
from mrunfold.io.trajectory import Trajectory, as_trajectory, kind_of

BART = shutil.which("bart")
with_bart = pytest.mark.skipif(BART is None, reason="needs BART (`bart`)")
SIZE = 64


def bart(folder, *words):
    subprocess.run([BART, *map(str, words)], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """BART's geometric phantom of 4 coils along 101 spokes, noise added, and its image on the grid."""
    folder = tmp_path_factory.mktemp("radial")
    bart(folder, "traj", "-r", "-x", 2 * SIZE, "-y", 101, "full")
    bart(folder, "scale", 0.5, "full", "traj")  # the readout is twice oversampled
    bart(folder, "phantom", "-s", 4, "-k", "-t", "traj", "clean")
    bart(folder, "noise", "-s", 1, "-n", 100, "clean", "ksp")
    bart(folder, "phantom", "-s", 4, "-x", SIZE, "coils")
    bart(folder, "rss", 8, "coils", "image")
    return folder


def run(*words):
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def correlation(a, b):
    return float(np.corrcoef(np.abs(a).ravel(), np.abs(b).ravel())[0, 1])


def along(scan, *words):
    """Words of a command on BART's scan, by the stems that its users type, without messages."""
    return [scan / "ksp", "--trajectory", scan / "traj", "--matrix", SIZE, *words, "--quiet"]


def arrays(scan):
    kspace = np.squeeze(read_cfl(scan / "ksp.cfl")).transpose(2, 0, 1)
    return kspace, {"trajectory": read_cfl(scan / "traj.cfl"), "matrix": SIZE, "progress": False}


def images(path):
    with h5py.File(path) as file:
        return file["reconstruction"][:]


@with_bart
class TestOfBart:
    @pytest.mark.parametrize("method", ["sense", "unfold"])
    def test_the_image_stands_as_barts(self, scan, tmp_path, method):
        run("recon", *along(scan, "--method", method, "--out", tmp_path / "o", "--check", 0))
        (image,) = images(tmp_path / "o" / "recon.h5")
        truth = np.abs(read_cfl(scan / "image.cfl"))
        assert correlation(image, truth) > 0.92
        turned = [np.rot90(truth, n) for n in (1, 2, 3)] + [truth.T, truth[::-1], truth[:, ::-1]]
        assert max(correlation(image, one) for one in turned) < 0.75, "the phantom would pass turned as well"

    def test_arrays_files_and_batch_agree(self, scan, tmp_path):
        how = ["--method", "sense", "--out"]
        run("recon", *along(scan, *how, tmp_path / "o"))
        (image,) = images(tmp_path / "o" / "recon.h5")
        run("batch", scan / "ksp.cfl", *along(scan, *how, tmp_path / "b")[1:])
        (path,) = (tmp_path / "b").rglob("ksp*.h5")
        assert np.array_equal(images(path)[0], image)
        kspace, given = arrays(scan)
        found = mrunfold.recon(kspace, method="sense", **given)
        assert np.abs(found.magnitude - image).max() < 1e-5 * image.max()

    def test_samples_are_drawn(self, scan):
        kspace, given = arrays(scan)
        found = mrunfold.recon(kspace, samples=2, steps=2, **given)
        assert found.samples.shape == (2, SIZE, SIZE)
        assert found.std.shape == (SIZE, SIZE)
        assert found.std.max() > 0
        assert found.maps.shape[-3:] == (4, SIZE, SIZE)

    def test_a_mask_keeps_interleaves_and_is_scored(self, scan, tmp_path):
        how = ["--mask", "every", "--accel", 3, "--method", "sense", "--target", "rss"]
        run("recon", *along(scan, *how, "--out", tmp_path / "o"))
        record = json.loads((tmp_path / "o" / "record.json").read_text())
        assert record["slices"][0]["problem"]["trajectory"]["interleaves"] == 34
        assert record["metrics"]["psnr"] > 20
        assert record["check"]["slices"]["0"]["explained"] > 0.5
        assert nibabel.load(tmp_path / "o" / "recon.nii.gz").shape == (SIZE, SIZE, 1)

    def test_noise_is_found(self, scan):
        """BART adds noise of variance 100 to each sample."""
        kspace, given = arrays(scan)
        found = mrunfold.recon(kspace, method="sense", **given)
        level = found.record["slices"][0]["problem"]["noise"]["level"]
        assert level == pytest.approx([10.0] * 4, rel=0.1)

    def test_noise_alone_gives_an_image(self, scan):
        _, given = arrays(scan)
        noise = np.random.default_rng(0).standard_normal((4, 128, 101, 2)) @ [1, 1j]
        found = mrunfold.recon(noise.astype(np.complex64), method="sense", **given)
        assert np.isfinite(found.image).all()
        assert found.image.any()

    def test_info(self, scan):
        said = " ".join(run("info", *along(scan)[:-1]).split())
        assert "radial, 101 interleaves" in said
        assert "nominal R = 1.00 (Nyquist: 100 spokes)" in said  # π times the reach of 31.75

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--trajectory", "traj", "--mask", "random", "--accel", "2"], "first or every"),
            (["--matrix", "64"], "trajectory"),
            (["--trajectory", "nothing.cfl"], "no such file"),
            ([], "trajectory"),
        ],
    )
    def test_what_cannot_be_is_refused(self, scan, monkeypatch, words, message):
        monkeypatch.chdir(scan)
        result = CliRunner().invoke(main.app, ["recon", "ksp.cfl", *words])
        assert result.exit_code == 2
        assert message in result.output


def test_ismrmrd(tmp_path):
    """Two slices of spokes, written by ismrmrd-python: one bright point lies where its phase puts it."""
    ismrmrd = pytest.importorskip("ismrmrd")
    size, spokes, readout, at = 32, 51, 64, (5, -9)
    angle = np.pi * np.arange(spokes) / spokes
    r = (np.arange(readout) - readout // 2) / readout  # cycles a pixel
    xml = HEADER.format(size=size)
    path = tmp_path / "radial.h5"
    file = ismrmrd.Dataset(str(path))
    file.write_xml_header(xml)
    rng = np.random.default_rng(0)
    for number in range(2):
        for n, a in enumerate(angle):
            k = np.stack([r * np.cos(a), r * np.sin(a)], axis=-1).astype(np.float32)
            line = np.exp(-2j * np.pi * (k @ np.array(at))) * np.array([[1.0], [0.5j]]) * (number + 1)
            line = line + 0.01 * (rng.standard_normal((2, readout)) + 1j * rng.standard_normal((2, readout)))
            acquisition = ismrmrd.Acquisition.from_array(line.astype(np.complex64), k)
            acquisition.idx.slice, acquisition.idx.kspace_encode_step_1 = number, n
            acquisition.position[:] = (0, 0, 5.0 * number + 1)
            acquisition.read_dir[:], acquisition.phase_dir[:] = (1, 0, 0), (0, 1, 0)
            acquisition.slice_dir[:] = (0, 0, 1)
            file.append_acquisition(acquisition)
    file.close()
    with open_scan(path) as scan:
        assert (scan.header.format, scan.header.trajectory, len(scan)) == ("mrd", "radial", 2)
        assert scan.header.geometry.positions[1].tolist() == [0, 0, 6]
        assert scan.header.crop == (size, size)
    run("recon", path, "--method", "sense", "--out", tmp_path / "o", "--quiet", "--check", 0)
    with h5py.File(tmp_path / "o" / "recon.h5") as done:
        for image in done["reconstruction"][:]:
            place = np.unravel_index(image.argmax(), image.shape)
            assert place == (size // 2 + at[0], size // 2 + at[1])
    affine = nibabel.load(tmp_path / "o" / "recon.nii.gz").affine
    assert np.abs(np.linalg.det(affine[:3, :3])) == pytest.approx(2 * 2 * 5, rel=1e-3)


HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace><matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>64</x><y>64</y><z>5</z></fieldOfView_mm></encodedSpace>
    <reconSpace><matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>64</x><y>64</y><z>5</z></fieldOfView_mm></reconSpace>
    <encodingLimits/><trajectory>radial</trajectory>
  </encoding>
</ismrmrdHeader>"""


class TestTrajectories:
    def test_axes(self):
        bart_axes = np.random.default_rng(0).standard_normal((3, 8, 5)).astype(np.complex64)
        bart_axes[2] = 0
        bart_axes.imag = 0
        found = as_trajectory(bart_axes)
        assert found.shape == (8, 5, 2)
        assert (found[..., 1] == bart_axes[1].real).all()
        assert (as_trajectory(found[..., 0] + 1j * found[..., 1]) == found).all()

    def test_a_third_dimension_is_refused(self):
        with pytest.raises(InputError, match="3-D"):
            as_trajectory(np.random.default_rng(0).standard_normal((3, 8, 5)))

    def test_kinds(self):
        t = np.linspace(0, 1, 200)[:, None] + 0 * np.arange(4)
        spiral = 32 * t * np.exp(1j * (20 * t + np.arange(4)))
        assert kind_of(np.stack([spiral.real, spiral.imag], -1)) == "spiral"
        spokes = (64 * t - 32) * np.exp(1j * np.arange(4))
        assert kind_of(np.stack([spokes.real, spokes.imag], -1)) == "radial"
        lines = (64 * t - 32) + 1j * (np.arange(4) - 2) * 4
        assert kind_of(np.stack([lines.real, lines.imag], -1)) == "other"

    def test_beyond_the_matrix(self):
        k = np.ones((2, 8, 5), np.complex64)
        with pytest.raises(InputError, match="larger matrix"):
            mrunfold.recon(k, trajectory=np.full((8, 5, 2), 20.0), matrix=16, progress=False)

    def test_a_matrix_without_a_trajectory(self):
        with pytest.raises(InputError, match="trajectory"):
            mrunfold.recon(np.ones((2, 8, 8), np.complex64), matrix=16, progress=False)


def test_nyquist_of_spokes_from_edge_to_edge_and_from_the_centre(tmp_path):
    """Of 25 whole spokes to 32 cycles 101 were needed, of half ones twice as many."""
    for name, r in (("whole", np.arange(-64, 65) / 2), ("half", np.arange(129) / 4)):
        k = r[:, None] * np.exp(1j * np.pi * np.arange(25) / 25 * (1 if name == "whole" else 2))
        np.save(tmp_path / "k.npy", np.ones((2, *k.shape), np.complex64))
        np.save(tmp_path / "t.npy", np.stack([k.real, k.imag], axis=-1))
        said = run("info", tmp_path / "k.npy", "--trajectory", tmp_path / "t.npy", "--matrix", 64)
        wanted = {"whole": "R = 4.04 (Nyquist: 101 spokes)", "half": "R = 8.08 (Nyquist: 202 spokes)"}[name]
        assert wanted in " ".join(said.split())


class TestMeasured:
    """Scans of the shared data; how well they are reconstructed stands in docs/concepts/trajectories.md."""

    def test_spiral(self, shared_data):
        found = scipy.io.loadmat(shared_data / "kspace" / "espirit_spiral.mat")
        k = np.stack([found["k"].real * 260, found["k"].imag * 360], axis=-1)
        done = mrunfold.recon(
            found["data"].transpose(2, 0, 1), trajectory=k, matrix=(260, 360), method="sense", progress=False
        )
        assert np.isfinite(done.image).all()
        middle = np.abs(done.image)[100:160, 150:210]
        assert middle.mean() < 0.5 * np.abs(done.image)[200:240, 90:130].mean()  # the phantom is hollow

    def test_radial(self, shared_data):
        path = shared_data / "kspace" / "smsnlinv_radial_kMB1_top_SP69.cfl"
        kspace = np.squeeze(read_cfl(path)).transpose(2, 0, 1)
        r, angle = (np.arange(384) - 191.5) / 2, 2 * np.pi * np.arange(69) / 69
        k = np.stack([r[:, None] * np.sin(angle), r[:, None] * np.cos(angle)], axis=-1)
        with open_scan(path, trajectory=Trajectory(k, (192, 192))) as scan:
            assert scan.header.trajectory == "radial"
            assert (scan.kspace(0) == kspace).all()
