"""A photograph through the pipeline, with a method that needs no weights, and with a tiny network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mrunfold.errors import InputError
from mrunfold.io.images import Photo, read_photo, write_photo
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import FOLDER, save_weights
from mrunfold.operators.imaging import Blur, Downsample, Inpaint
from mrunfold.protocols import NetworkSpec, PriorSpec
from mrunfold.restoration import RestoreSettings, restore_file
from mrunfold.restoration.run import photo_problem, restore
from mrunfold.restoration.settings import blur_kernel, drawn_mask, restoration_operator

TV = {"method": "tv_isotropic", "parameters": {"max_iter": 40, "lamda": 0.005}}


def photo(channels=3, size=(48, 60), seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, channels, 6, 7), np.float32))
    return Photo(torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0.05, 0.95)[0].numpy())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    spec = NetworkSpec(
        blocks=2, shared=True, prior=PriorSpec(kind="real", channels=3, widths=(8, 12), blocks=1)
    )
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(file, PosteriorDenoiser.from_spec(spec), spec)
    return str(file)


@pytest.mark.parametrize(
    "task",
    [
        {"task": "denoise"}, {"task": "deblur", "kernel": "motion:7:30"}, {"task": "upscale"},
        {"task": "upscale", "factor": 3, "kernel": "box"}, {"task": "upscale", "kernel": "gaussian:1.2"},
        {"task": "deblur", "kernel": "disc:2", "border": "circular"}, {"task": "inpaint", "mask": "box:8"},
        {"task": "inpaint", "mask": "random:0.5"}, {"task": "colourise"}, {"task": "sensing"},
    ],
)  # fmt: skip
def test_a_simulation_is_restored_and_scored(task):
    settings = RestoreSettings(**task, noise=0.01, simulate=True, **TV)
    outcome = restore(photo(), settings)
    assert outcome.restored.shape == outcome.truth.shape
    assert outcome.restored.min() >= 0
    assert outcome.restored.max() <= 1
    error = float(np.mean((outcome.restored - outcome.truth) ** 2))
    assert outcome.scores["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-4)
    assert outcome.scores["psnr"] > (9 if task["task"] == "colourise" else 22)


def test_a_grey_image_is_parted_without_loss():
    settings = RestoreSettings("denoise", noise=0.05, simulate=True)
    problem, degraded, truth, grey = photo_problem(photo(1, (300, 300)), settings)
    assert grey
    assert truth.shape == degraded.shape == (1, 300, 300)
    # The mean of the three is the one that was measured; each has noise of variance 3 σ², uncorrelated.
    np.testing.assert_allclose(problem.y.mean(dim=0).numpy(), degraded[0], atol=1e-6)
    assert float(problem.sigma_y) == pytest.approx(3**0.5 * 0.05)
    noise = problem.y.numpy() - truth
    covariance = np.cov(noise.reshape(3, -1))
    np.testing.assert_allclose(covariance / 0.05**2, 3 * np.eye(3), atol=0.1)
    outcome = restore(photo(1), RestoreSettings("denoise", noise=0.05, simulate=True, **TV))
    assert outcome.restored.shape == (1, 48, 60)
    assert outcome.sigma_y == pytest.approx(0.05)


def test_the_noise_is_estimated_where_none_is_given():
    clean = photo(size=(160, 160))
    noisy = clean.pixels + 0.04 * np.random.default_rng(0).standard_normal(clean.pixels.shape).astype(
        np.float32
    )
    outcome = restore(Photo(noisy.clip(0, 1)), RestoreSettings("denoise", **TV))
    assert outcome.estimated
    assert outcome.sigma_y == pytest.approx(0.04, rel=0.15)
    assert outcome.scores is None


def test_files_are_written_with_bits_alpha_and_size(tmp_path, weights):
    values = np.random.default_rng(0).random((3, 24, 30))
    alpha = np.linspace(0, 1, 24 * 30).reshape(24, 30)
    write_photo(tmp_path / "in.png", values, alpha, 16)
    settings = RestoreSettings(
        "upscale", noise=0.02, parameters={"weights": weights, "samples": 2, "steps": 2}
    )
    outcome = restore_file(tmp_path / "in.png", tmp_path / "out", settings)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == sorted(p.name for p in outcome.files)
    assert names == [
        "in_preview.png", "in_restored.json", "in_restored.png", "in_sample1.png", "in_sample2.png",
        "in_std.png",
    ]  # fmt: skip
    restored = read_photo(tmp_path / "out" / "in_restored.png")
    assert (restored.bits, restored.pixels.shape, restored.alpha.shape) == (16, (3, 48, 60), (48, 60))
    np.testing.assert_allclose(restored.pixels, outcome.restored, atol=1e-4)
    record = json.loads((tmp_path / "out" / "in_restored.json").read_text())
    assert record["evaluations"] == 1 + 2 * 3
    assert record["settings"]["parameters"]["weights"] == "tiny.safetensors"
    assert str(tmp_path) not in json.dumps(record)
    spread = read_photo(tmp_path / "out" / "in_std.png").pixels
    np.testing.assert_allclose(spread, outcome.std.clip(0, 1), atol=1e-4)


def test_a_seed_gives_the_same_samples(weights):
    def run(seed):
        parameters = {"weights": weights, "samples": 2, "steps": 2}
        settings = RestoreSettings("denoise", noise=0.1, simulate=True, parameters=parameters, seed=seed)
        return restore(photo(), settings).samples

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3


def test_masks_and_kernels_from_pictures(tmp_path):
    hole = np.zeros((1, 48, 60))
    hole[:, 10:20, 30:40] = 1
    write_photo(tmp_path / "hole.png", hole)
    settings = RestoreSettings("inpaint", mask=str(tmp_path / "hole.png"), noise=0.01)
    A = restoration_operator(settings, (48, 60), torch.Generator())
    assert isinstance(A, Inpaint)
    np.testing.assert_array_equal(A.mask.numpy(), 1 - hole[0])
    dot = np.zeros((1, 5, 5))
    dot[:, 2, 2] = 1
    write_photo(tmp_path / "dot.png", dot)
    A = restoration_operator(
        RestoreSettings("deblur", kernel=str(tmp_path / "dot.png")), (9, 8), torch.Generator()
    )
    assert isinstance(A, Blur)
    x = torch.rand(3, 9, 8)
    torch.testing.assert_close(A(x), x)
    A = restoration_operator(
        RestoreSettings("upscale", kernel=str(tmp_path / "dot.png")), (8, 8), torch.Generator()
    )
    assert isinstance(A, Downsample)  # half a pixel from a dot to the middle of a block: the mean of four
    torch.testing.assert_close(A(x[:, :8]), torch.nn.functional.avg_pool2d(x[None, :, :8], 2)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "sharpen"}, "no task 'sharpen'"),
        ({"task": "deblur"}, "needs a kernel"),
        ({"task": "inpaint"}, "needs a mask"),
        ({"task": "denoise", "kernel": "disc:3"}, "`kernel` is for"),
        ({"task": "denoise", "mask": "a.png"}, "`mask` is for"),
        ({"task": "sensing"}, "`simulate`"),
        ({"task": "denoise", "simulate": True}, "how much"),
        ({"task": "denoise", "noise": -1.0}, "`noise`"),
        ({"task": "upscale", "factor": 9}, "`factor`"),
        ({"task": "deblur", "kernel": "disc:3", "border": "mirror"}, "no border"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        RestoreSettings(**options)


@pytest.mark.parametrize("text", ["dizc:3", "disc:x", "disc:1:2", "gaussian:-1", "none.png"])
def test_kernels_that_make_no_sense(text):
    with pytest.raises(InputError):
        blur_kernel(text)


def test_masks_that_make_no_sense():
    for text in ("round:3", "random:1.5", "box:50"):
        with pytest.raises(InputError):
            drawn_mask(text, (40, 40), torch.Generator())
    with pytest.raises(InputError, match="name a picture"):
        restore(photo(), RestoreSettings("inpaint", mask="random:0.5", noise=0.1))
    with pytest.raises(InputError, match="kernel is"):
        restore(photo(), RestoreSettings("deblur", kernel="disc:40", noise=0.1))


@pytest.mark.skipif((FOLDER / "natural-compact.safetensors").exists(), reason="the weights ship")
def test_missing_weights_are_said():
    with pytest.raises(InputError, match="no weights natural-compact"):
        restore(photo(), RestoreSettings("denoise", noise=0.1))


def test_a_cmyk_jpeg_is_restored(tmp_path):
    image = Image.fromarray(np.uint8(255 * np.moveaxis(photo().pixels, 0, -1))).convert("CMYK")
    image.save(tmp_path / "a.jpg")
    outcome = restore_file(tmp_path / "a.jpg", tmp_path, RestoreSettings("denoise", noise=0.02, **TV))
    assert outcome.restored.shape == (3, 48, 60)
    assert np.abs(outcome.restored - photo().pixels).mean() < 0.05
