"""Stacks of spokes: BART's 3-D phantom along a stack of BART's spokes, ISMRMRD and twix files of points.

A reference is BART's own image of the phantom; places are those of points whose k-space is their Fourier
integral in mm.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from exported import FRAMES, dicom_affine
from twixfiles import protocol, quaternion, write_twix
from typer.testing import CliRunner
from volumefiles import XML, bart
from volumefiles import cfl_of as first_four

import mrunfold
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.export.run import ExportRequest, export_result
from mrunfold.io import open_scan
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.io.trajectory import Trajectory

SIZE, PARTITIONS, SPOKES = 32, 12, 51
QUICK = ["--method", "sense", "--no-cache", "--check", 0, "--quiet"]


def run(*words) -> str:
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refused(*words) -> str:
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split())


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Path:
    """k-space of BART's 3-D phantom, 3 coils: of all spokes (ksp, traj) and BART's image of it.

    kz is the third coordinate; spokes lie partition after partition.  apart, heights: the same with the
    partitions in dimension 13.
    """
    folder = tmp_path_factory.mktemp("stack")
    bart(folder, "traj", "-r", "-x", str(2 * SIZE), "-y", str(SPOKES), "full")
    bart(folder, "scale", "0.5", "full", "plane")  # the readout is twice oversampled
    plane = read_cfl(folder / "plane.cfl").real
    kz = np.arange(PARTITIONS) - PARTITIONS // 2
    whole = np.repeat(plane[..., None], PARTITIONS, axis=-1)  # (3, readout, spoke, partition)
    whole[2] = kz
    write_cfl(folder / "traj", np.moveaxis(whole, -1, 2).reshape(3, 2 * SIZE, -1))
    bart(folder, "phantom", "-3", "-s", "3", "-k", "-t", "traj", "clean")
    bart(folder, "noise", "-s", "1", "-n", "100", "clean", "ksp")
    bart(folder, "phantom", "-3", "-s", "3", "-x", str(SIZE), "coils")
    bart(folder, "resize", "-c", "2", str(PARTITIONS), "coils", "thin")
    kspace = read_cfl(folder / "ksp.cfl").reshape(1, 2 * SIZE, PARTITIONS, SPOKES, 3)
    alone = np.moveaxis(kspace, 2, -1)  # (1, readout, spoke, coil, partition)
    write_cfl(folder / "apart", alone.reshape(*alone.shape[:4], *[1] * 9, PARTITIONS))
    write_cfl(folder / "heights", whole.reshape(3, 2 * SIZE, SPOKES, *[1] * 10, PARTITIONS))
    return folder


def truth(folder: Path) -> np.ndarray:
    """BART's image, (y, x, partition), as its k-space of 12 partitions shows it."""
    coils = first_four(folder / "coils.cfl")
    k = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(coils, axes=2), axis=2), axes=2)
    start = SIZE // 2 - PARTITIONS // 2
    k = k[:, :, start : start + PARTITIONS]
    images = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, axes=2), axis=2), axes=2)
    return np.sqrt((np.abs(images) ** 2).sum(axis=-1))


def alike(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.corrcoef(np.abs(found).ravel(), true.ravel())[0, 1])


class TestBart:
    def test_each_partition_is_barts_image(self, stack, tmp_path):
        how = [stack / "ksp", "--trajectory", stack / "traj", "--matrix", SIZE, *QUICK]
        run("recon", *how, "--out", tmp_path / "o")
        with h5py.File(tmp_path / "o" / "recon.h5") as file:
            found = np.moveaxis(file["reconstruction"][()], 0, -1)
        true = truth(stack)
        assert found.shape == true.shape
        assert alike(found, true) > 0.95
        assert alike(found[..., ::-1], true) < 0.9  # upside down it would be another
        said = run("info", *how[:5])
        assert "a stack of 12 partitions along one trajectory" in said
        assert "radial, 51 interleaves" in said

    def test_partitions_in_dimension_13_batch_and_arrays_agree(self, stack, tmp_path):
        where = ["--trajectory", stack / "heights", "--matrix", SIZE, *QUICK, "--out"]
        run("recon", stack / "apart", *where, tmp_path / "a")
        run("batch", stack / "ksp.cfl", "--trajectory", stack / "traj", *where[2:], tmp_path / "b")
        with (
            h5py.File(tmp_path / "a" / "recon.h5") as one,
            h5py.File(tmp_path / "b" / "ksp.h5") as many,
        ):
            found = one["reconstruction"][()]
            np.testing.assert_array_equal(found, many["reconstruction"][()])
        kspace, trajectory = arrays(stack)
        image = mrunfold.recon(
            kspace, volume=True, trajectory=trajectory, matrix=SIZE, method="sense", progress=False
        )
        assert image.image.shape == (SIZE, SIZE, PARTITIONS)
        assert image.maps.shape[-3:] == (SIZE, SIZE, PARTITIONS)
        assert len(image.sigma) == PARTITIONS
        np.testing.assert_allclose(image.magnitude, np.moveaxis(found, 0, -1), atol=1e-4 * found.max())
        assert np.median(image.sigma) == pytest.approx(10, rel=0.1)  # BART added noise of variance 100

    def test_samples_a_mask_of_interleaves_and_own_maps(self, stack):
        kspace, trajectory = arrays(stack)
        how = {"volume": True, "trajectory": trajectory, "matrix": SIZE, "progress": False}
        drawn = mrunfold.recon(kspace, samples=2, steps=2, **how)
        assert drawn.samples.shape == (2, SIZE, SIZE, PARTITIONS)
        assert drawn.std.shape == (SIZE, SIZE, PARTITIONS)
        maps = np.ones((3, SIZE, SIZE, PARTITIONS), np.complex64) / np.sqrt(3)
        own = mrunfold.recon(kspace, np.arange(SPOKES) % 2 == 0, maps=maps, method="sense", **how)
        np.testing.assert_allclose(own.maps, maps, atol=1e-6)
        assert own.record["slices"][0]["problem"]["trajectory"]["interleaves"] == 26

    def test_frames_come_before_the_coils(self, stack):
        kspace, trajectory = arrays(stack)
        both = np.stack([kspace, 0.5 * kspace])
        found = mrunfold.recon(
            both, volume=True, trajectory=trajectory, matrix=SIZE, method="sense", progress=False
        )
        assert found.image.shape == (2, SIZE, SIZE, PARTITIONS)
        assert found.record["slices"][0]["problem"]["together"] == 2
        for image in found.image:
            assert alike(image, truth(stack)) > 0.94

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                "every second partition",
                "6 of 12 partitions; stacks that are undersampled or partial along kz",
            ),
            ("partial", "9 of 12 partitions"),
            ("turned", "another in each partition"),
            ("unequal", r"partitions have \[50, 51\] interleaves"),
            ("3-D", "the trajectory is 3-D"),
            ("half steps", "not 1 cycle per field of view apart"),
        ],
    )
    def test_what_is_refused(self, stack, tmp_path, change, words):
        traj = read_cfl(stack / "traj.cfl").reshape(3, 2 * SIZE, PARTITIONS, SPOKES)
        kspace = read_cfl(stack / "ksp.cfl").reshape(1, 2 * SIZE, PARTITIONS, SPOKES, 3)
        keep = np.ones((PARTITIONS, SPOKES), bool)
        if change == "every second partition":
            keep[1::2] = False
        if change == "partial":
            keep[-3:] = False
        if change == "unequal":
            keep[3, 7] = False
        if change == "turned":
            traj[:2, :, 4] = traj[[1, 0]][:, :, 4]
        if change == "3-D":
            traj[2, :SIZE, 4] -= 2
        if change == "half steps":
            traj[2, :, 4] += 0.5
        write_cfl(tmp_path / "t", traj[:, :, keep])
        write_cfl(tmp_path / "k", kspace[:, :, keep])
        said = refused("recon", tmp_path / "k", "--trajectory", tmp_path / "t", "--matrix", SIZE, *QUICK)
        assert re.search(words, said), said

    def test_averages_are_averaged_where_they_have_samples(self, stack, tmp_path):
        """Dimension 14, as in Cartesian files: of the second average every second spoke was measured."""
        kspace = read_cfl(stack / "ksp.cfl")[:, :, :SPOKES]
        second = kspace + 3
        second[:, :, 1::2] = 0
        both = np.stack([kspace, second], axis=-1)
        write_cfl(tmp_path / "k", both.reshape(*both.shape[:4], *[1] * 10, 2))
        given = Trajectory(stack / "plane", (SIZE, SIZE))
        with open_scan(tmp_path / "k", trajectory=given) as scan:
            found = scan.kspace(0)
            assert any("2 averages are averaged" in note for note in scan.header.notes)
        wanted = np.moveaxis(kspace[0], -1, 0).copy()
        wanted[:, :, ::2] += 1.5
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """k-space (coil, readout, interleaf, partition) and the trajectory of a plane."""
    kspace = read_cfl(folder / "ksp.cfl").reshape(2 * SIZE, PARTITIONS, SPOKES, 3)
    plane = read_cfl(folder / "plane.cfl").real
    return kspace.transpose(3, 0, 2, 1), np.moveaxis(plane[:2], 0, -1)


VOXEL = (2.0, 2.0, 4.0)
CENTRE = np.array([14.0, -9.0, 31.0])
ENCODED, IMAGE = 12, 9  # partitions, of which the middle ones are kept: slice oversampling
# Voxels from the centre along read, phase and slice: nothing in it is symmetric.
POINTS = {(5, -9, 1): 1.0, (-7, 3, -3): 0.8, (2, 8, 3): 0.6, (-3, -6, 0): 0.5}


def spokes() -> np.ndarray:
    """(readout, spoke, 2) of (kx, ky) in cycles per field of view, twice oversampled."""
    r = (np.arange(2 * SIZE) - SIZE)[:, None] / 2
    angle = np.pi * np.arange(SPOKES) / SPOKES
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)


def signal() -> np.ndarray:
    """k-space (coil, readout, spoke, partition) of the points, with noise."""
    k = spokes() / (SIZE * np.array(VOXEL[:2]))  # cycles per mm
    kz = (np.arange(ENCODED) - ENCODED // 2) / (ENCODED * VOXEL[2])
    waves = [
        a * np.exp(-2j * np.pi * (k @ (np.array(p[:2]) * VOXEL[:2]))[..., None])
        * np.exp(-2j * np.pi * kz * p[2] * VOXEL[2])
        for p, a in POINTS.items()
    ]  # fmt: skip
    clean = sum(waves) * np.array([1, 0.6j, -0.4])[:, None, None, None]
    draws = np.random.default_rng(0).standard_normal((2, *clean.shape)) * 0.01
    return (clean + draws[0] + 1j * draws[1]).astype(np.complex64)


def write_mrd_stack(path: Path, frame: np.ndarray, *, vendor: bool, carried: str = "no kz") -> Path:
    """By ismrmrd-python, spokes outermost: its carried trajectory may have a third coordinate, kz."""
    ismrmrd = pytest.importorskip("ismrmrd")
    maker = (
        "<acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor></acquisitionSystemInformation>"
    )
    fov = [n * mm for n, mm in zip((SIZE, SIZE, ENCODED), VOXEL, strict=True)]
    xml = XML.format(
        n=(SIZE, SIZE, ENCODED), m=(SIZE, SIZE, IMAGE), fov=fov, recon=[*fov[:2], IMAGE * VOXEL[2]],
        last=(0, SPOKES - 1, ENCODED - 1), centre=(0, 0, ENCODED // 2), vendor=maker if vendor else "",
    ).replace("cartesian", "radial")  # fmt: skip
    file = ismrmrd.Dataset(str(path))
    file.write_xml_header(xml)
    kspace, k = signal(), spokes() / SIZE
    kspace = kspace.conj() if vendor else kspace
    for n in range(SPOKES):
        for p in range(ENCODED):
            points = k[:, n]
            if carried != "no kz":
                kz = (p - ENCODED // 2) / ENCODED
                points = np.column_stack([points, np.full(len(points), kz)])
            one = ismrmrd.Acquisition.from_array(
                np.ascontiguousarray(kspace[:, :, n, p]), points.astype(np.float32)
            )
            one.idx.kspace_encode_step_1 = n
            if carried != "kz alone":
                one.idx.kspace_encode_step_2 = p
            one.position[:] = CENTRE
            one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = frame
            file.append_acquisition(one)
    file.close()
    return path


def lie(out: Path, frame: np.ndarray) -> None:
    """Check NIfTI and DICOM of a result against the places in mm of the points."""
    places = CENTRE + np.array([np.array(p) * VOXEL for p in POINTS]) @ frame
    nifti = nibabel.load(out / "recon.nii.gz")
    assert nifti.shape == (SIZE, SIZE, IMAGE)
    assert nifti.header.get_zooms() == pytest.approx(VOXEL)
    index = nibabel.affines.apply_affine(np.linalg.inv(nifti.affine), places * (-1, -1, 1))
    np.testing.assert_allclose(index, np.rint(index), atol=0.01)
    assert brightest(np.asarray(nifti.dataobj)) == [tuple(one) for one in np.rint(index).astype(int)]
    export_result(out / "recon.h5", out, ExportRequest(dicom=True))
    images = [pydicom.dcmread(file) for file in sorted((out / "dicom").rglob("*.dcm"))]
    assert len(images) == IMAGE
    stored = np.stack([one.pixel_array for one in images])
    for place, (number, row, column) in zip(places, brightest(stored), strict=True):
        np.testing.assert_allclose(dicom_affine(images[number]) @ [column, row, 1], place, atol=0.01)


def brightest(values: np.ndarray) -> list[tuple[int, ...]]:
    """The places of the points in an image, the brightest first."""
    values, found = values.astype(float), []
    for _ in POINTS:
        found.append(tuple(int(n) for n in np.unravel_index(values.argmax(), values.shape)))
        values[tuple(slice(max(0, n - 2), n + 3) for n in found[-1])] = 0
    return found


@pytest.mark.parametrize(("name", "vendor"), [*((one, False) for one in FRAMES), ("double oblique", True)])
def test_points_of_an_ismrmrd_stack_lie_where_they_are(tmp_path, name, vendor):
    frame = np.asarray(FRAMES[name], float)
    path = write_mrd_stack(tmp_path / "a.h5", frame, vendor=vendor)
    run("recon", path, *QUICK, "--out", tmp_path / "o")
    lie(tmp_path / "o", frame)


@pytest.mark.parametrize("carried", ["kz too", "kz alone"])
def test_kz_of_the_trajectory_counts_partitions(tmp_path, carried):
    frame = np.asarray(FRAMES["axial"], float)
    path = write_mrd_stack(tmp_path / "a.h5", frame, vendor=False, carried=carried)
    with open_scan(path) as scan:
        assert len(scan) == IMAGE
        assert scan.header.slice_mm == VOXEL[2]
    run("recon", path, *QUICK, "--out", tmp_path / "o")
    lie(tmp_path / "o", frame)


def test_a_3d_trajectory_is_refused_and_a_density_is_not(tmp_path):
    """A third coordinate that changes along a readout is a density where it is never negative."""
    ismrmrd = pytest.importorskip("ismrmrd")
    from test_trajectories import HEADER

    for third, good in ((np.abs(np.arange(2 * SIZE) - SIZE), True), (np.arange(2 * SIZE) - SIZE, False)):
        path = tmp_path / f"{good}.h5"
        file = ismrmrd.Dataset(str(path))
        file.write_xml_header(HEADER.format(size=SIZE))
        kspace, k = signal()[..., 0], spokes() / SIZE
        for n in range(SPOKES):
            points = np.column_stack([k[:, n], third / (2 * SIZE)]).astype(np.float32)
            file.append_acquisition(
                ismrmrd.Acquisition.from_array(np.ascontiguousarray(kspace[:, :, n]), points)
            )
        file.close()
        if good:
            with open_scan(path) as scan:
                assert len(scan) == 1
        else:
            with pytest.raises(InputError, match="3-D; planes and stacks of planes"):
                open_scan(path)


@pytest.mark.parametrize("name", FRAMES)
def test_points_of_a_twix_stack_lie_where_they_are(tmp_path, name):
    """Written by twixtools, with slice oversampling and Siemens' sign of the transform."""
    frame = np.array(FRAMES[name], float)
    if np.linalg.det(frame[[1, 0, 2]]) < 0:  # phase, read and slice of Siemens are right-handed
        frame[0] *= -1
    path = write_twix_stack(tmp_path, frame, range(ENCODED))
    how = ["--trajectory", tmp_path / "spokes.npy", *QUICK]
    run("recon", path, *how, "--out", tmp_path / "o")
    lie(tmp_path / "o", frame)
    record = json.loads((tmp_path / "o" / "record.json").read_text())
    assert record["slices"][0]["problem"]["noise"]["source"] == "noise scan"


def test_a_twix_stack_that_is_partial_along_kz(tmp_path):
    path = write_twix_stack(tmp_path, np.array(FRAMES["axial, left-handed"], float), range(3, ENCODED))
    with pytest.raises(InputError, match="9 of 12 partitions"):
        open_scan(path, trajectory=Trajectory(tmp_path / "spokes.npy"))


def write_twix_stack(folder: Path, frame: np.ndarray, measured) -> Path:
    np.save(folder / "spokes.npy", spokes())
    kspace = signal().conj()
    place = {"quaternion": quaternion(frame), "position": CENTRE}
    draws = np.random.default_rng(1).standard_normal((2, 3, 800)) * 0.01
    readouts = [(draws[0] + 1j * draws[1], {"flags": ["NOISEADJSCAN"]})]
    readouts += [
        (kspace[:, :, n, p], {"Lin": n, "Par": p, "CenterPar": ENCODED // 2, **place})
        for p in measured
        for n in range(SPOKES)
    ]
    over = ENCODED / IMAGE - 1
    more = f"sKSpace.lPartitions\t = \t{ENCODED}\nsKSpace.dSliceOversamplingForDialog\t = \t{over}\n"
    texts = protocol(
        SIZE, SIZE, trajectory=2, pixel_mm=VOXEL[:2], positions=[CENTRE], dimension=4,
        thickness=IMAGE * VOXEL[2], more=more,
    )  # fmt: skip
    return write_twix(folder / "meas.dat", [(texts, readouts)])
