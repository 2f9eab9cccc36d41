"""fastMRI's SliceDataset gives the problems that reading its files gives."""

from __future__ import annotations

import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.interop.fastmri import ToProblem
from mrunfold.io import open_scan
from mrunfold.methods import get_method
from mrunfold.phantoms.folder import generate_folder
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.loop import plan_slices
from mrunfold.pipeline.settings import ReconSettings

pytest.importorskip("fastmri", reason="fastmri is not installed: pip install fastmri")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data") / "multicoil_val"
    generate_folder(made, volumes=4, kind="knee", size=64, slices=2, max_coils=6)
    return made


def dataset(folder, transform):
    from fastmri.data import SliceDataset

    # Cases of the test set and without limits have no targets and no padding, which SliceDataset wants.
    plain = [f for f in folder.iterdir() if not f.stem.endswith(("nopadding", "test"))]
    for file in folder.iterdir():
        if file not in plain:
            file.unlink()
    return SliceDataset(folder, "multicoil", transform=transform, use_dataset_cache=False), plain


@pytest.mark.parametrize("target", ["combined", "rss"])
def test_the_problems_are_those_of_the_files(folder, target):
    found, files = dataset(folder, ToProblem("random", 2, target=target))
    assert len(found) == 2 * len(files) > 0
    settings = ReconSettings(mask="random", accel=2, seed="name", target=target, cache=False)
    for i, (path, index, _) in enumerate(found.raw_samples):
        ours = found[i]
        with open_scan(path) as scan:
            job, _ = plan_slices(scan, settings, get_method("zero_filled"), torch.device("cpu"), Clock())
            expected, _, _, unit = job.problem(index)
        assert torch.allclose(ours.y, expected.y, atol=1e-4)
        assert torch.equal(ours.A.observed(), expected.A.observed())
        assert float(ours.scale) == pytest.approx(float(expected.scale) * unit, rel=1e-4)
        assert ours.target is not None
        assert torch.allclose(ours.target, expected.target, atol=1e-3)


def test_wrong_calls_are_refused(folder):
    with pytest.raises(InputError, match="mask to draw"):
        ToProblem("random")
    with pytest.raises(InputError, match="mask to draw"):
        ToProblem(accel=4)
    with pytest.raises(InputError, match="not of fastMRI's SliceDataset"):
        ToProblem()(torch.ones(2, 8, 8).numpy(), None, None, {}, "a.h5", 0)
