"""Slices in flight: the same files as one slice after another, the same errors, and no thread left over."""

from __future__ import annotations

import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from rawfiles import coil_kspace, write_fastmri
from volumefiles import SIGMA, SIZE, coils3d, fft3c, letters, noisy, write_bart

import mrunfold.pipeline.ahead as ahead
from mrunfold.errors import InputError
from mrunfold.masks import poisson
from mrunfold.pipeline import ReconSettings, reconstruct
from mrunfold.pipeline.slices import Job

SHAPE = (48, 40)


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch):
    """Two threads of torch, on a machine of four cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(ahead, "available_cores", lambda: 4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """In which thread problems were made and slices finished, in order."""
    found: dict[str, list[str]] = {"problem": [], "finished": []}
    for name in found:
        before = getattr(Job, name)

        def noted(self, index, *args, name=name, before=before, **more):
            found[name].append(threading.current_thread().name)
            return before(self, index, *args, **more)

        monkeypatch.setattr(Job, name, noted)
    return found


def images(slices: int) -> np.ndarray:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    one = np.exp(-(((y / 0.5) ** 2 + (x / 0.55) ** 2) ** 2))
    return np.stack([one * (1 + 0.3 * np.sin((7 + n) * y + 4 * x)) for n in range(slices)]).astype(np.float32)


def no_thread() -> bool:
    return not any(thread.name.startswith("mrunfold-ahead") for thread in threading.enumerate())


def content(folder: Path) -> dict[str, bytes]:
    with h5py.File(folder / "recon.h5") as file:
        found = {name: file[name][()].tobytes() for name in file if name != "provenance"}
    return found | {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def told(record) -> list[dict]:
    """What is known of each slice, but for times."""

    def bare(value):
        if isinstance(value, dict):
            return {key: bare(one) for key, one in value.items() if key != "seconds"}
        return value

    return [bare(one) for one in record["slices"]] + [record["flags"], record["check"]]


def both_ways(path: Path, folder: Path, monkeypatch, seen, **settings):
    """Return contents and records of the same run, one slice after another and in flight."""
    chosen = ReconSettings(**({"cache": False, "save": ("maps",)} | settings))
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "has_room_ahead", lambda scan, settings: False)
        serial = reconstruct(path, folder / "serial", chosen)
    assert {*seen["problem"]} == {"MainThread"}
    seen["problem"].clear()
    overlapped = reconstruct(path, folder / "flight", chosen)
    assert all(name.startswith("mrunfold-ahead") for name in seen["problem"])
    assert {*seen["finished"]} == {"MainThread"}
    assert no_thread()
    assert content(folder / "flight") == content(folder / "serial")
    assert told(overlapped.record) == told(serial.record)


@pytest.mark.parametrize("method", ["unfold", "sense"])
def test_files_are_the_same_bit_for_bit(method, tmp_path, monkeypatch, seen):
    path = write_fastmri(tmp_path / "scan.h5", coil_kspace(images(4), coils=5, noise=0.02))
    both_ways(path, tmp_path, monkeypatch, seen, method=method, mask="random", accel=3, calibration=10)


def test_positions_of_a_volume_are_the_same_and_done_ones_are_kept(tmp_path, monkeypatch, seen):
    full = noisy(fft3c(coils3d(4) * (letters(SIZE) + 0.5)), SIGMA)
    path = write_bart(tmp_path / "a.cfl", full * poisson(SIZE[1:], 2, seed=0, calibration=12).array)
    both_ways(path, tmp_path, monkeypatch, seen, method="sense", check=0)


def test_a_slice_is_refused_in_its_turn(tmp_path, seen):
    kspace = coil_kspace(images(4), coils=3, noise=0.02)
    kspace[2, 0, 3, 3] = np.nan
    path = write_fastmri(tmp_path / "scan.h5", kspace)
    with pytest.raises(InputError, match="slice 2 has NaN"):
        reconstruct(path, tmp_path / "out", ReconSettings(method="sense", cache=False))
    assert len(seen["finished"]) == 2
    assert no_thread()
    assert not (tmp_path / "out").exists()


def test_an_interrupt_ends_what_is_being_made(tmp_path, monkeypatch):
    entered = threading.Event()

    def slow(self, index, progress=None):
        if index == 0:
            return made(self, index, progress)
        entered.set()
        while True:  # as a 3-D scan that is being transformed: it reports as it goes
            progress(0.5)

    def interrupted(self, index, *args):
        assert entered.wait(30)
        raise KeyboardInterrupt

    made = Job.problem
    monkeypatch.setattr(Job, "problem", slow)
    monkeypatch.setattr(Job, "finished", interrupted)
    path = write_fastmri(tmp_path / "scan.h5", coil_kspace(images(3), coils=3, noise=0.02))
    with pytest.raises(KeyboardInterrupt):
        reconstruct(path, tmp_path / "out", ReconSettings(method="sense", cache=False))
    assert no_thread()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("threads", "cores"), [(1, 4), (2, 2), (2, 3)])
def test_no_thread_more_than_there_are_cores_for(threads, cores, tmp_path, seen, monkeypatch):
    torch.set_num_threads(threads)
    monkeypatch.setattr(ahead, "available_cores", lambda: cores)
    path = write_fastmri(tmp_path / "scan.h5", coil_kspace(images(2), coils=3, noise=0.02))
    reconstruct(path, tmp_path / "out", ReconSettings(method="sense", cache=False))
    assert {*seen["problem"]} == {"MainThread"}


def test_numpys_linear_algebra_has_one_thread_while_a_problem_is_made(tmp_path, monkeypatch):
    import scipy.linalg  # noqa: F401 (has a BLAS of its own)
    from threadpoolctl import threadpool_info, threadpool_limits

    import mrunfold.pipeline.slices as slices
    from mrunfold.pipeline import threads as module

    module._pools.cache_clear()  # that of an earlier test may not know all there are

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    def noted(*args, **more):
        found.append(threads())
        return made(*args, **more)

    found: list[set[int]] = []
    made = slices.build_problem
    monkeypatch.setattr(slices, "build_problem", noted)
    path = write_fastmri(tmp_path / "scan.h5", coil_kspace(images(1), coils=3, noise=0.02))
    with threadpool_limits(limits=2, user_api="blas"):
        reconstruct(path, tmp_path / "out", ReconSettings(method="sense", cache=False))
        assert found == [{1}]
        assert threads() == {2}
