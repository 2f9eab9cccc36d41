"""Noise and coil maps come from all frames of a place, unless each is to be by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from framefiles import COILS, NOISE, SHAPE, kspace_of, write_frames

from mrunfold.coils import EspiritSettings, maps_from_block
from mrunfold.errors import InputError
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.pipeline import ReconSettings, reconstruct

DECAY = (1.0, 0.8j, -0.6, 0.5 - 0.5j)
SETTINGS = {"method": "sense", "cache": False, "check": 0, "map_sets": 1, "save": ("maps",)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    frames = [(kspace_of(d, seed=n, noise=NOISE), {"contrast": n}) for n, d in enumerate(DECAY)]
    return write_frames(tmp_path_factory.mktemp("f") / "a.h5", frames, "<TE>5</TE>")


def maps_of(summary):
    import h5py

    with h5py.File(summary.folder / "recon.h5") as file:
        return file["maps"][:, 0]  # (image, coil, y, x)


def test_frames_share_maps_and_noise_and_the_record_says_so(path, tmp_path):
    summary = reconstruct(path, tmp_path / "out", ReconSettings(**SETTINGS))
    maps = maps_of(summary)
    for place in range(2):
        for frame in range(1, len(DECAY)):
            np.testing.assert_array_equal(maps[place], maps[2 * frame + place])
    assert np.abs(maps[0] - maps[1]).max() > 0.01  # of two places they are not the same
    problems = [one["problem"] for one in summary.record["slices"]]
    assert {p["together"] for p in problems} == {4}
    assert all(p["frames"] == [0, 1, 2, 3] for p in problems)
    for p in problems:
        np.testing.assert_allclose(p["noise"]["level"], NOISE, rtol=0.35)


def test_each_by_itself_on_request(path, tmp_path):
    summary = reconstruct(path, tmp_path / "out", ReconSettings(per_frame=True, **SETTINGS))
    maps = maps_of(summary)
    assert np.abs(maps[0] - maps[2]).max() > 0.01
    assert not any("together" in one["problem"] for one in summary.record["slices"])


def test_maps_of_all_frames_have_less_error(path, tmp_path):
    """Four noisy echoes of different phase: their mean would cancel, their rows together do not."""
    truth = simulated_maps(COILS, SHAPE, torch.Generator().manual_seed(0)).numpy()
    truth /= np.sqrt((np.abs(truth) ** 2).sum(axis=0))
    errors = {}
    for apart in (False, True):
        summary = reconstruct(path, tmp_path / str(apart), ReconSettings(per_frame=apart, **SETTINGS))
        maps = maps_of(summary)
        inside = (np.abs(maps) > 0).any(axis=1).all(axis=0)
        maps = maps[:, :, inside] / np.linalg.norm(maps[:, :, inside], axis=1, keepdims=True)
        agreement = np.abs((maps.conj() * truth[:, inside]).sum(axis=1))
        errors[apart] = float(np.sqrt(np.mean(1 - np.minimum(agreement, 1) ** 2)))
    assert errors[False] < 0.7 * errors[True]


def test_a_frame_alone_is_as_if_the_scan_had_no_other_where_each_is_by_itself(path, tmp_path):
    whole = reconstruct(path, tmp_path / "a", ReconSettings(per_frame=True, **SETTINGS))
    one = reconstruct(path, tmp_path / "b", ReconSettings(per_frame=True, frames="2", **SETTINGS))
    np.testing.assert_array_equal(maps_of(whole)[4:6], maps_of(one))


def test_choosing_frames_changes_no_image(path, tmp_path):
    """Noise and maps are those of the scan's frames, whichever are written."""
    import h5py

    whole = reconstruct(path, tmp_path / "a", ReconSettings(**SETTINGS))
    one = reconstruct(path, tmp_path / "b", ReconSettings(frames="2", slices="1", **SETTINGS))
    with h5py.File(whole.folder / "recon.h5") as a, h5py.File(one.folder / "recon.h5") as b:
        np.testing.assert_array_equal(a["reconstruction"][5], b["reconstruction"][0])


def test_blocks_of_equal_frames_give_the_maps_of_one():
    block = kspace_of(noise=0.0)[0][:, 4:28, 2:26]
    one = maps_from_block(block, SHAPE)
    several = maps_from_block(np.stack([block, 1j * block, -0.5 * block]), SHAPE)
    np.testing.assert_allclose(several, one, atol=1e-4)


def test_sigpy_knows_one_frame():
    block = kspace_of(noise=0.0)[0][:, 4:28, 2:26]
    with pytest.raises(InputError, match="made by torch"):
        maps_from_block(np.stack([block, block]), SHAPE, EspiritSettings(backend="sigpy"))


@pytest.mark.parametrize("per_frame", [False, True])
def test_arrays_with_frames_give_what_the_file_gives(path, tmp_path, per_frame):
    import h5py

    import mrunfold
    from mrunfold.io import open_scan

    how = SETTINGS | {"save": (), "coils": "all", "target": "combined", "per_frame": per_frame}
    summary = reconstruct(path, tmp_path / "out", ReconSettings(**how))
    with open_scan(path) as scan:
        kspace = np.stack([scan.kspace(index) for index in range(len(scan))])
    frames = kspace.reshape(len(DECAY), 2, *kspace.shape[1:])
    found = mrunfold.recon(
        frames, method="sense", coils="all", map_sets=1, per_frame=per_frame, progress=False
    )
    assert found.image.shape == (len(DECAY), 2, *SHAPE)
    assert found.maps.shape == (len(DECAY), 2, COILS, *SHAPE)
    assert np.shape(found.sigma) == (len(DECAY), 2)
    with h5py.File(summary.folder / "recon.h5") as file:
        expected = file["reconstruction"][()].reshape(found.image.shape)
    np.testing.assert_allclose(found.magnitude, expected, atol=1e-5 * expected.max())


def test_maps_of_slices_serve_every_frame():
    import mrunfold

    kspace = np.stack([kspace_of(d, seed=n) for n, d in enumerate(DECAY)])
    ours = simulated_maps(COILS, SHAPE, torch.Generator().manual_seed(0)).numpy()
    turned = np.stack([ours, 1j * ours])  # of each slice
    found = mrunfold.recon(kspace, maps=turned[:, None], sigma=NOISE, method="zero_filled", progress=False)
    for frame in range(len(DECAY)):
        np.testing.assert_allclose(found.maps[frame], turned, atol=1e-5)
