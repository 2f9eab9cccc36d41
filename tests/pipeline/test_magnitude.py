"""The root sum of squares that is written is what a fully sampled scan would show, its noise included."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from rawfiles import coil_kspace, write_fastmri

from mrunfold.io import open_scan
from mrunfold.masks import acquired
from mrunfold.methods.registry import get_method
from mrunfold.operators import Sense, fft2c, ifft2c
from mrunfold.pipeline import ReconSettings, reconstruct
from mrunfold.pipeline.magnitude import magnitude, magnitude_sd, noise_share
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem

SHAPE = (64, 48)
NO_CACHE = ProblemSettings(cache=None)
NOISE = 2e-6
RANDOM = {"mask": "random", "accel": 3.0, "calibration": 12, "cache": False}


def disc(shape=SHAPE, height=1e-4) -> np.ndarray:
    """A smooth disc, (1, y, x): the edge of its k-space holds noise alone."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = np.exp(-(((y / 0.5) ** 2 + (x / 0.55) ** 2) ** 2)) * (1 + 0.3 * np.sin(9 * y))
    return image.astype(np.float32)[None] * height


def run(path: Path, out: Path, **settings) -> tuple[dict[str, np.ndarray], dict]:
    summary = reconstruct(path, out, ReconSettings(**settings))
    with h5py.File(out / "recon.h5") as file:
        return {name: file[name][0] for name in file if file[name].ndim == 3}, summary.record


def air(image: np.ndarray) -> float:
    """Mean over the corners, where the disc is far."""
    return float(np.mean([image[:8, :8], image[:8, -8:], image[-8:, :8], image[-8:, -8:]]))


@pytest.fixture
def scan(tmp_path) -> Path:
    return write_fastmri(tmp_path / "disc.h5", coil_kspace(disc(), coils=6, noise=NOISE))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("unfold", {}), ("sense", {"max_iter": 8}), ("l1_wavelet", {"max_iter": 5}), ("tv", {"max_iter": 20})],
)
def test_every_method_has_the_references_floor(tmp_path, scan, method, parameters):
    volumes, record = run(scan, tmp_path / "out", method=method, parameters=parameters, **RANDOM)
    assert air(volumes["reconstruction"]) == pytest.approx(air(volumes["target"]), rel=0.08)
    floor = record["slices"][0]["noise_floor"]
    assert floor["level"] == pytest.approx(air(volumes["target"]), rel=0.08)
    assert floor["noise"] == record["slices"][0]["problem"]["noise"]["source"]
    assert record["metrics"]["ssim"] > 0.85


def test_combined_has_no_floor(tmp_path, scan):
    volumes, record = run(scan, tmp_path / "out", method="sense", target="combined", **RANDOM)
    assert air(volumes["reconstruction"]) < 0.3 * NOISE
    assert record["slices"][0]["noise_floor"] is None


@pytest.mark.parametrize("reached", [0, 12, 48])
def test_a_second_set_of_maps_leaves_the_scale(reached):
    """Neighbouring slices may have one set and two: what both see is as bright in either."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 4, *SHAPE, dtype=torch.complex64, generator=generator)
    maps /= torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    maps[1, :, :, reached:] = 0
    image = torch.randn(2, *SHAPE, dtype=torch.complex64, generator=generator)
    image[1, :, reached:] = 0
    images = []
    for sets in (1, 2):
        A = Sense(maps[:sets], torch.ones(SHAPE))
        unit = torch.ones(())
        problem = Problem(A(image[:sets]), A, 0.01 * unit, unit)
        images.append(magnitude(image[:sets], problem, "combined"))
    np.testing.assert_allclose(images[0], image[0].abs(), rtol=1e-5)
    both = torch.linalg.vector_norm(image, dim=0)
    np.testing.assert_allclose(images[1], both, rtol=1e-5)


def test_samples_and_quantiles_have_it_too(tmp_path, scan):
    settings = {"parameters": {"samples": 3, "steps": 2}, "keep_samples": True, **RANDOM}
    volumes, _ = run(scan, tmp_path / "out", **settings)
    floor = air(volumes["target"])
    for name in ("sample_01", "sample_03", "quantile_05", "quantile_95"):
        assert air(volumes[name]) == pytest.approx(floor, rel=0.15)
    assert air(volumes["std"]) < 0.5 * floor


def test_readout_oversampling_and_crop_leave_the_floor(tmp_path):
    kspace = coil_kspace(disc((64, 48)), coils=5, noise=NOISE, readout=128)
    path = write_fastmri(tmp_path / "over.h5", kspace, crop=(64, 40))
    volumes, _ = run(path, tmp_path / "out", method="sense", **RANDOM)
    assert volumes["reconstruction"].shape == (64, 40)
    assert air(volumes["reconstruction"]) == pytest.approx(air(volumes["target"]), rel=0.08)


@pytest.mark.parametrize("said", [True, False])
def test_zero_filled_lines_hold_no_noise(tmp_path, said):
    """Whether the header says so or not."""
    kspace = coil_kspace(disc(), coils=5, noise=NOISE)
    kspace[..., :8] = kspace[..., -8:] = 0
    path = write_fastmri(tmp_path / "padded.h5", kspace)
    if said:
        with h5py.File(path, "a") as file:
            xml = file["ismrmrd_header"][()].decode()
            limits = "<maximum>47</maximum><center>24</center>"
            assert limits in xml
            del file["ismrmrd_header"]
            file["ismrmrd_header"] = xml.replace(limits, "<maximum>31</maximum><center>16</center>")
    volumes, record = run(path, tmp_path / "out", method="sense", **RANDOM)
    assert record["slices"][0]["problem"]["noise"]["share_of_kspace"] == pytest.approx(32 / 48, rel=1e-3)
    assert air(volumes["reconstruction"]) == pytest.approx(air(volumes["target"]), rel=0.08)


def test_a_dead_coil_has_no_noise(tmp_path):
    kspace = coil_kspace(disc(), coils=6, noise=NOISE)
    kspace[:, 2] = 0
    path = write_fastmri(tmp_path / "dead.h5", kspace)
    volumes, _ = run(path, tmp_path / "out", method="sense", **RANDOM)
    assert air(volumes["reconstruction"]) == pytest.approx(air(volumes["target"]), rel=0.08)


def test_an_image_that_holds_the_noise_gets_none(tmp_path):
    """One coil, all of k-space, no prior: the root sum of squares is |x| and nothing is to be added."""
    kspace = coil_kspace(disc(), coils=1, noise=NOISE)
    path = write_fastmri(tmp_path / "one.h5", kspace)
    volumes, record = run(path, tmp_path / "out", method="zero_filled", cache=False)
    with h5py.File(path) as file:
        rss = file["reconstruction_rss"][0]
    np.testing.assert_allclose(volumes["reconstruction"], rss, rtol=1e-3, atol=1e-9)
    assert record["slices"][0]["noise_floor"]["share"] == pytest.approx(0, abs=1e-3)


def problem_of(kspace: np.ndarray, tmp_path: Path, mask=None, **settings):
    path = write_fastmri(tmp_path / "scan.h5", kspace[None])
    with open_scan(path) as scan:
        return build_problem(
            scan.kspace(0),
            scan.header,
            mask or acquired(np.ones(SHAPE, bool)),
            settings=replace(NO_CACHE, **settings),
            target="rss",
        )


class Elsewhere(Sense):
    """Sense that does not say that its samples are those of a grid, as along a trajectory."""

    def cartesian(self):
        return None


def noisy_problem(stored: int, lines: int, kind=Sense) -> tuple[Problem, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(1, 4, *SHAPE, dtype=torch.complex64, generator=generator)
    maps /= torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    mask = torch.zeros(SHAPE)
    mask[:, ::lines] = 1
    A = kind(maps, mask)
    x = torch.randn(1, *SHAPE, dtype=torch.complex64, generator=generator)
    noise = 0.1 * torch.randn(4, *SHAPE, dtype=torch.complex64, generator=generator)
    problem = Problem(
        A(x) + mask * noise, A, torch.tensor(0.1), torch.tensor(1.0), coil_gain=torch.ones(1, *SHAPE),
        unwhitening=torch.eye(stored, 4, dtype=torch.complex64), rss_noise=torch.tensor([0.1, stored, 1.0]),
    )  # fmt: skip
    return problem, x


@pytest.mark.parametrize(("stored", "lines"), [(4, 1), (4, 2), (10, 1)])
def test_share_counts_what_was_measured(stored, lines):
    """On a grid the measured samples are in the coil images, with their noise, whatever the method made."""
    problem, x = noisy_problem(stored, lines)
    for image in (x, 0 * x):
        assert noise_share(image, problem) == pytest.approx(1 - 4 / stored / lines, abs=1e-6)


@pytest.mark.parametrize(("stored", "lines"), [(4, 1), (4, 2), (10, 1)])
def test_share_along_a_trajectory_is_what_the_image_left(stored, lines):
    """Of the coils' noise, a least-squares image holds what its unknowns can: one coil's worth here."""
    problem, x = noisy_problem(stored, lines, Elsewhere)
    assert noise_share(x, problem) == pytest.approx(1, abs=0.03)  # the truth has no noise
    assert noise_share(0 * x, problem) == 1  # and an image that is wrong is not less noisy
    copied = get_method("sense", max_iter=500, lamda=1e-9, tolerance=1e-7)(problem).mean
    assert noise_share(copied, problem) == pytest.approx(1 - 1 / stored, abs=0.03)


@pytest.mark.parametrize("lines", [1, 2])
def test_measured_samples_stay_as_they_were_measured(lines):
    """The coil images of any x, with the measured samples put in their places one by one."""
    problem, x = noisy_problem(4, lines)
    wrong = x + 0.3 * x.roll(1, dims=-1)
    kspace = fft2c(problem.A.maps[0] * wrong)
    measured = problem.A.mask.expand(kspace.shape) > 0
    kspace[measured] = problem.y[measured]
    expected = torch.linalg.vector_norm(ifft2c(kspace), dim=0, keepdim=True)
    torch.testing.assert_close(problem.coil_rss(wrong), expected, rtol=1e-4, atol=1e-5)
    assert float((problem.coil_rss(wrong) - problem.coil_rss(x)).abs().max()) > (0.1 if lines > 1 else -1)


def test_sets_are_summed_coil_by_coil(tmp_path):
    """Two map sets: the coil images are sums, and may cancel; their norms are not added up."""
    kspace = coil_kspace(disc(), coils=4, noise=NOISE)[0]
    problem = problem_of(kspace, tmp_path)
    nothing = torch.zeros_like(problem.A.mask)
    maps, none = problem.A.maps, torch.zeros_like(problem.y)
    problem = replace(problem, A=Sense(maps, nothing), y=none)
    two = replace(problem, A=Sense(torch.cat([maps, maps]), nothing))
    x = torch.randn(1, *SHAPE, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    one = problem.coil_rss(3 * x)
    torch.testing.assert_close(two.coil_rss(torch.cat([x, 2 * x])), one, rtol=1e-4, atol=1e-9)
    assert float(two.coil_rss(torch.cat([x, -x])).abs().max()) < 1e-5 * float(one.max())


def test_without_signal_all_is_zero(tmp_path):
    problem = problem_of(np.zeros((3, *SHAPE), np.complex64), tmp_path)
    assert not magnitude(torch.ones(1, *SHAPE, dtype=torch.complex64), problem, "rss").any()


def test_the_volume_says_its_floor(tmp_path, scan):
    run(scan, tmp_path / "out", method="sense", **RANDOM)
    with h5py.File(tmp_path / "out" / "recon.h5") as file:
        said = json.loads(file["provenance"][()].tobytes())
    assert len(said["noise_floor"]) == 1
    assert said["noise_floor"][0] > 0


def test_a_standard_deviation_is_written_in_the_units_of_the_image(scan):
    with open_scan(scan) as opened:
        problem = build_problem(
            opened.kspace(0), opened.header, acquired(np.ones(SHAPE, bool)), settings=NO_CACHE, target="rss"
        )
    x = problem.A.adjoint(problem.y)
    sd = 0.03 * x.abs()[0]
    combined = magnitude_sd(x, sd, problem, "combined")
    np.testing.assert_allclose(combined, 0.03 * magnitude(x, problem, "combined"), rtol=1e-3, atol=1e-10)
    # Fully sampled coil images are what was measured, whatever x is: the sd is that of x all the same.
    rss, bright = magnitude_sd(x, sd, problem, "rss"), magnitude(x, problem, "rss") > 3e-5
    np.testing.assert_allclose(rss[bright], 0.03 * magnitude(x, problem, "rss")[bright], rtol=0.1)
    nothing = magnitude_sd(torch.zeros_like(x), sd, problem, "combined")
    inside = combined > 0
    np.testing.assert_allclose(nothing[inside], combined[inside], rtol=1e-3)
