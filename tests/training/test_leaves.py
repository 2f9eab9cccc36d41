"""Scenes of chance and photographs as images to train the MRI prior on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from mrunfold.protocols import ImageSet
from mrunfold.training.images import ImageBank
from mrunfold.training.leaves import DeadLeaves
from mrunfold.training.scenes import random_image


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def spec(reader, pattern=""):
    return ImageSet(pattern=pattern, reader=reader, weight=1, licence="generated")


def test_a_scene_follows_from_its_generator_and_no_two_are_alike():
    make, one = DeadLeaves(count=60), generator(1)
    first, second = make(one), make(one)
    assert torch.equal(first, make(generator(1)))
    assert first.shape != second.shape or not torch.equal(first, second)
    assert first.dtype == torch.float32


def test_a_scene_has_height_one_air_edges_and_flat_parts():
    air = 0.0
    for seed in range(8):
        scene = DeadLeaves()(generator(seed))
        assert float(scene.min()) >= 0
        assert float(np.percentile(scene.numpy(), 99)) == pytest.approx(1, abs=1e-3)
        step = (scene[:, 1:] - scene[:, :-1]).abs().flatten()
        # Flat within shapes, steep at their edges: far from what a smooth field or noise has.
        assert float(step.quantile(0.99)) > 8 * float(step.median()) + 0.1
        air += float((scene == 0).float().mean()) / 8
    assert 0.01 < air < 0.6


def test_scenes_are_cut_to_an_outline_in_most_draws(tmp_path):
    bank, g = ImageBank.load(tmp_path, [spec("leaves")]), generator()
    corners = []
    for _ in range(60):
        scene = bank.draw(g)
        corners.append(all(float(scene[y, x]) == 0 for y in (0, -1) for x in (0, -1)))
    assert 30 <= sum(corners) < 58
    x = random_image(bank, (64, 48), g)
    assert x.shape == (64, 48)
    assert bool(x.isfinite().all())


def test_photographs_are_grey_slices(tmp_path):
    pixels = np.zeros((80, 96, 3), np.uint8)
    pixels[:, 48:] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    bank = ImageBank.load(tmp_path, [spec("photo", "*.png")])
    whole = [s for seed in range(20) if float((s := bank.draw(generator(seed)))[0, -1]) > 0]
    assert whole, "no draw without an outline"
    assert whole[0].shape == (80, 96)
    assert whole[0].max() == pytest.approx(1)
    assert not whole[0][:, :48].any()


def test_leaves_have_no_pattern_and_files_have_one():
    with pytest.raises(ValidationError, match="need a pattern"):
        spec("leaves", "*.png")
    with pytest.raises(ValidationError, match="need a pattern"):
        spec("mat")
