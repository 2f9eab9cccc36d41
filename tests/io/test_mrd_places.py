"""Where the slices of an ISMRMRD file lie: several volumes, several planes, directions that were rounded."""

from __future__ import annotations

import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, letter_f
from test_mrd_reader import lines, write

from mrunfold.export import stacks
from mrunfold.io import open_scan


@pytest.fixture
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((24, 20)), letter_f((24, 20))[::-1]]), coils=3, readout=48)


AXES = {"read_dir": (1.0, 0.0, 0.0), "phase_dir": (0.0, 1.0, 0.0), "slice_dir": (0.0, 0.0, 1.0)}


@pytest.mark.parametrize("counter", ["contrast", "repetition", "set", "phase"])
def test_several_volumes_keep_their_places(tmp_path, kspace, counter):
    """Each slice of each contrast or repetition lies where it lies; none gets the first echo's time."""
    rows = []
    for volume in range(2):
        for number in range(2):
            place = {"position": (0.0, 0.0, 6.0 * number), "slice": number, counter: volume} | AXES
            rows += lines(kspace, number, **place)
    times = "<sequenceParameters><TR>500</TR><TE>10</TE><TE>90</TE></sequenceParameters></ismrmrdHeader>"
    xml = header_xml(kspace, (24, 20)).replace("</ismrmrdHeader>", times)
    header = open_scan(write(tmp_path / "a.h5", kspace, rows, xml=xml)).header
    assert header.volumes == (0, 0, 1, 1)
    np.testing.assert_array_equal(header.geometry.positions[:, 2], [0, 6, 0, 6])
    assert [stack.slices for stack in stacks(header, range(4))] == [(0, 1), (2, 3)]
    assert ("TE_ms" in header.contrast) == (counter != "contrast")
    assert any("several contrasts" in note for note in header.notes) == (counter == "contrast")


def test_planes_that_are_not_parallel_are_said_to_have_no_place(tmp_path, kspace):
    turned = {"read_dir": (0.0, 1.0, 0.0), "phase_dir": (0.0, 0.0, 1.0), "slice_dir": (1.0, 0.0, 0.0)}
    rows = lines(kspace, 0, slice=0, **AXES) + lines(kspace, 1, slice=1, **turned)
    header = open_scan(write(tmp_path / "a.h5", kspace, rows)).header
    assert header.geometry is None
    assert "several orientations" in header.notes[0]


@pytest.mark.parametrize("tilt", [0.0, 2e-3, 9e-3])
def test_directions_that_were_rounded_are_put_right_once(tmp_path, kspace, tilt):
    """What the reader takes, no writer refuses after the work: both know one bound."""
    axes = AXES | {"read_dir": (1.0, tilt, 0.0)}
    header = open_scan(write(tmp_path / "a.h5", kspace, lines(kspace, 0, **axes))).header
    frame = np.stack([header.geometry.read, header.geometry.phase, header.geometry.normal])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frame, list(axes.values()), atol=tilt)
    assert len(stacks(header, [0])) == 1


def test_directions_far_from_right_angles_are_said(tmp_path, kspace):
    axes = AXES | {"read_dir": (0.9, 0.5, 0.0)}
    header = open_scan(write(tmp_path / "a.h5", kspace, lines(kspace, 0, **axes))).header
    assert header.geometry is None
    assert "not at right angles" in header.notes[0]
