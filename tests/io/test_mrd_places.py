"""Where the slices of an ISMRMRD file lie: several volumes, several planes, directions that were rounded."""

from __future__ import annotations

import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, letter_f
from test_mrd_reader import lines, write

from mrunfold.export import stacks, together
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
    assert (header.frames.frame, header.frames.place) == ((0, 0, 1, 1), (0, 1, 0, 1))
    assert [label[counter] for label in header.frames.labels] == [0, 1]
    np.testing.assert_array_equal(header.geometry.positions[:, 2], [0, 6, 0, 6])
    found = stacks(header, range(4))
    assert [stack.slices for stack in found] == [(0, 1), (2, 3)]
    assert [[stack.frame for stack in group] for group in together(found)] == [[0, 1]]
    assert ("TE_ms" in header.contrast) == (counter != "contrast")
    times = [label.get("TE_ms") for label in header.frames.labels]
    assert times == ([10, 90] if counter == "contrast" else [None, None])


def test_echoes_without_times_of_their_own_get_none(tmp_path, kspace):
    rows = [row for echo in range(3) for row in lines(kspace, echo % 2, contrast=echo)]
    times = "<sequenceParameters><TE>10</TE><TE>90</TE></sequenceParameters></ismrmrdHeader>"
    xml = header_xml(kspace, (24, 20)).replace("</ismrmrdHeader>", times)
    header = open_scan(write(tmp_path / "a.h5", kspace, rows, xml=xml)).header
    assert "TE_ms" not in header.contrast
    assert not any("TE_ms" in la for la in header.frames.labels)
    assert any("several contrasts" in note for note in header.notes)


def test_planes_that_are_not_parallel_are_stacks_of_their_own(tmp_path, kspace):
    turned = {"read_dir": (0.0, 1.0, 0.0), "phase_dir": (0.0, 0.0, 1.0), "slice_dir": (1.0, 0.0, 0.0)}
    rows = lines(kspace, 0, slice=0, position=(1.0, 2.0, 3.0), **AXES)
    rows += lines(kspace, 1, slice=1, position=(4.0, 5.0, 6.0), **turned)
    header = open_scan(write(tmp_path / "a.h5", kspace, rows)).header
    assert "2 orientations" in header.notes[0]
    first, second = stacks(header, range(2))
    assert (first.slices, second.slices) == ((0,), (1,))
    for stack, axes, centre in ((first, AXES, (1, 2, 3)), (second, turned, (4, 5, 6))):
        for column, name in enumerate(("read_dir", "phase_dir")):
            np.testing.assert_allclose(stack.lps[:3, column], axes[name], atol=1e-12)
        np.testing.assert_allclose(stack.lps @ [12, 10, 0, 1], [*centre, 1], atol=1e-9)


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
