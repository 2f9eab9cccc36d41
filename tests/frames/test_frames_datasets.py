"""Frames of CMRxRecon's and SKM-TEA's files, and results of earlier versions."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from exported import ECHOES, make_header, random_volumes, write_result

from mrunfold.errors import InputError
from mrunfold.export.result import open_reconstruction
from mrunfold.io import open_scan


def test_time_frames_of_cmrxrecon_are_frames(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 2, 4, 24, 20)).astype(np.float32)  # frame, slice, coil, y, x
    packed = np.zeros(values.shape, [("real", "f4"), ("imag", "f4")])
    packed["real"] = values
    with h5py.File(tmp_path / "cine.mat", "w") as file:
        file["kspace_full"] = packed
    with open_scan(tmp_path / "cine.mat") as scan:
        frames = scan.header.frames
        assert [la["frame"] for la in frames.labels] == [0, 1, 2]
        assert (scan.header.slices, scan.header.places) == (6, 2)
        np.testing.assert_array_equal(np.abs(scan.kspace(3)), np.abs(values[1, 1].swapaxes(-1, -2)))


def test_echoes_of_skm_tea_are_frames(tmp_path):
    rng = np.random.default_rng(0)
    kspace = (rng.standard_normal((3, 18, 16, 2, 4)) + 0j).astype(np.complex64)
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file["kspace"] = kspace
        file["maps"], file["target"] = np.ones((3, 18, 16, 4, 1), np.complex64), np.ones((3, 18, 16, 2, 1))
    with open_scan(tmp_path / "knee.h5") as scan:
        assert [la["contrast"] for la in scan.header.frames.labels] == [0, 1]
        assert scan.header.places == 3
        moved = np.abs(np.moveaxis(kspace[1, :, :, 1], -1, 0))
        np.testing.assert_allclose(np.sort(np.abs(scan.kspace(4)).ravel()), np.sort(moved.ravel()), rtol=1e-5)


def test_a_result_says_its_frames(tmp_path):
    header = make_header((12, 9), 2, labels=ECHOES)
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header))
    with open_reconstruction(path) as result:
        assert result.header.frames == header.frames
        (group,) = result.series
        assert [result.settings_of(stack)["TE_ms"] for stack in group] == [4.5, 9.0, 13.5]


@pytest.mark.parametrize(
    "change",
    [
        {"frame": [0, 0, 1, 1, 2, 7]},
        {"place": [0, 1, 0, 1, 0, -1]},
        {"frame": [0, 0, 1]},
        {"labels": [{"patient": 1.0}] * 3},
        {"labels": [{"TE_ms": float("nan")}] * 3},
        {"labels": [{"TE_ms": "Jane"}] * 3},
        {"labels": []},
    ],
    ids=str,
)
def test_frames_that_cannot_be_are_refused(tmp_path, change):
    from mrunfold.export import header_facts

    header = make_header((12, 9), 2, labels=ECHOES)
    facts = json.loads(json.dumps(header_facts(header, range(6))))
    facts["frames"] |= change
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header), header=facts)
    with pytest.raises(InputError, match="'header' is damaged") as error, open_reconstruction(path):
        pass
    assert "Jane" not in str(error.value)


def test_volumes_of_an_earlier_version_are_frames_without_names(tmp_path):
    from mrunfold.export import header_facts

    header = make_header((12, 9), 2, labels=ECHOES)
    facts = json.loads(json.dumps(header_facts(header, range(6))))
    del facts["frames"]
    facts["volumes"] = [0, 0, 1, 1, 2, 2]
    path = write_result(tmp_path / "recon.h5", header, random_volumes(header), header=facts)
    with open_reconstruction(path) as result:
        assert list(result.header.frames.labels) == [{"frame": 0}, {"frame": 1}, {"frame": 2}]
        assert len(result.series) == 1
