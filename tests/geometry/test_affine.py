"""From pixels to patient coordinates and to a reader's view."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.export import lps_to_ras, radiological_view, stacks
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Geometry, Header

X, Y, Z = np.eye(3)


def header(geometry: Geometry | None, crop=(6, 9), pixel_mm=(2.0, 3.0), slice_mm=5.0) -> Header:
    count = 1 if geometry is None else len(geometry.positions)
    return Header("mrd", count, 4, crop, crop[0], crop, None, pixel_mm, slice_mm, geometry)


def oblique(positions) -> Geometry:
    a, b = np.deg2rad(25), np.deg2rad(-40)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    read, phase, normal = (turn @ tilt).T
    return Geometry(np.asarray(positions, float), read, phase, normal)


@pytest.mark.parametrize("crop", [(6, 9), (7, 8), (5, 5), (8, 8)])
def test_a_known_point_lands_where_it_is(crop):
    frame = oblique(np.zeros((3, 3)))
    positions = np.array([[10.0, -20.0, 30.0]]) + np.arange(3)[:, None] * 6.0 * frame.normal
    geometry = dataclasses.replace(frame, positions=positions)
    (stack,) = stacks(header(geometry, crop), range(3))
    assert stack.slices == (0, 1, 2)
    assert stack.lps is not None
    centre = stack.lps @ [crop[0] // 2, crop[1] // 2, 1, 1]
    np.testing.assert_allclose(centre[:3], positions[1], atol=1e-12)
    r, c = 4, 1
    point = (
        positions[2] + geometry.read * 2.0 * (r - crop[0] // 2) + geometry.phase * 3.0 * (c - crop[1] // 2)
    )
    np.testing.assert_allclose((stack.lps @ [r, c, 2, 1])[:3], point, atol=1e-12)
    np.testing.assert_allclose((lps_to_ras(stack.lps) @ [r, c, 2, 1])[:3], point * [-1, -1, 1], atol=1e-12)
    assert stack.voxel_mm == pytest.approx((2.0, 3.0, 6.0))


def test_slices_in_any_order_are_put_in_space():
    geometry = Geometry(np.outer([4.0, 0.0, 8.0], Z), X, Y, Z)
    (stack,) = stacks(header(geometry), range(3))
    assert stack.slices == (1, 0, 2)
    assert stack.lps is not None
    np.testing.assert_allclose(stack.lps[:3, 2], [0, 0, 4.0])
    np.testing.assert_allclose(stack.lps[2, 3], 0.0)


def test_a_choice_of_slices_keeps_their_places():
    geometry = Geometry(np.outer(np.arange(6) * 4.0, Z), X, Y, Z)
    (stack,) = stacks(header(geometry), [1, 3, 5])
    assert stack.lps is not None
    assert stack.slices == (0, 1, 2)
    np.testing.assert_allclose(stack.lps[:3, 2], [0, 0, 8.0])
    np.testing.assert_allclose(stack.lps[2, 3], 4.0)


def test_a_gap_and_a_repetition_part_the_stack():
    gap = Geometry(np.outer([0.0, 4.0, 8.0, 20.0, 24.0], Z), X, Y, Z)
    assert [s.slices for s in stacks(header(gap), range(5))] == [(0, 1, 2), (3, 4)]
    repeated = Geometry(np.zeros((2, 3)), X, Y, Z)
    assert [s.slices for s in stacks(header(repeated), range(2))] == [(0,), (1,)]


def test_one_slice_steps_by_its_thickness_along_its_normal():
    geometry = Geometry(np.zeros((1, 3)), Y, Z, X)
    (stack,) = stacks(header(geometry), [0])
    assert stack.lps is not None
    np.testing.assert_allclose(stack.lps[:3, 2], [5.0, 0, 0])


def test_without_geometry_nothing_is_invented():
    (stack,) = stacks(header(None), [0])
    assert stack.lps is None
    assert stack.voxel_mm == (2.0, 3.0, 5.0)
    (stack,) = stacks(header(None, pixel_mm=None, slice_mm=None), [0])
    assert stack.voxel_mm == (1.0, 1.0, 1.0)
    known = Geometry(np.zeros((1, 3)), X, Y, Z)
    (stack,) = stacks(header(known, pixel_mm=None), [0])  # directions alone do not place a pixel
    assert stack.lps is None


def test_directions_that_are_no_frame_are_refused():
    with pytest.raises(InputError, match="right angles"):
        stacks(header(Geometry(np.zeros((1, 3)), X, X, Z)), [0])
    with pytest.raises(InputError, match="right angles"):
        stacks(header(Geometry(np.full((1, 3), np.nan), X, Y, Z)), [0])


@pytest.mark.parametrize(
    ("read", "phase", "normal", "edges"),
    [
        (Y, X, Z, "APRL"),  # rows to posterior, columns to left: as it should be
        (X, Y, Z, "APRL"),  # transposed
        (-Y, X, Z, "APRL"),
        (X, -Y, -Z, "APRL"),
        (-Z, X, Y, "SIRL"),  # coronal
        (Z, Y, X, "SIAP"),  # sagittal, upside down
        (-Y, -Z, X, "SIAP"),
    ],
)
def test_radiologists_see_what_they_expect(read, phase, normal, edges):
    view = radiological_view(Geometry(np.zeros((1, 3)), read, phase, normal))
    assert view.edges == tuple(edges)
    # An image whose pixels hold their own coordinates: after turning they must grow as the edges say.
    toward = {"L": X, "R": -X, "P": Y, "A": -Y, "S": Z, "I": -Z}
    r, c = np.meshgrid(np.arange(5), np.arange(8), indexing="ij")
    place = r[..., None] * read + c[..., None] * phase
    down = view(place @ toward[edges[1]])
    right = view(place @ toward[edges[3]])
    assert (np.diff(down, axis=0) == 1).all()
    assert (np.diff(right, axis=1) == 1).all()


def test_unknown_orientation_stays_as_stored():
    view = radiological_view(None)
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(view(image), image)
    assert view.edges is None


@pytest.mark.parametrize("step", [1.0, 5.0])
def test_jitter_of_some_hundredths_is_one_stack(step):
    """Positions that are off by up to 0.05 mm, each on its own, are one stack; its line runs between them."""
    rng = np.random.default_rng(0)
    exact = np.arange(20.0) * step
    frame = oblique(np.zeros((20, 3)))
    jitter = rng.uniform(-0.05, 0.05, (20, 3)) if step > 1 else 0.02 * rng.uniform(-1, 1, (20, 3))
    geometry = dataclasses.replace(frame, positions=exact[:, None] * frame.normal + jitter)
    (stack,) = stacks(header(geometry), range(20))
    assert stack.slices == tuple(range(20))
    crop = header(geometry).crop
    for place in range(20):
        centre = stack.lps @ [crop[0] // 2, crop[1] // 2, place, 1]
        np.testing.assert_allclose(centre[:3], geometry.positions[place], atol=0.12)


@pytest.mark.parametrize("gap", [0.5, 1.0, 5.0])
def test_a_real_change_of_the_step_still_parts_it(gap):
    along = np.r_[np.arange(4) * 5.0, 15.0 + 5.0 + gap + np.arange(3) * 5.0]
    found = stacks(header(Geometry(np.outer(along, Z), X, Y, Z)), range(7))
    assert [s.slices for s in found] == [(0, 1, 2, 3), (4, 5, 6)]


def test_volumes_are_stacks_of_their_own():
    geometry = Geometry(np.outer([0.0, 4.0, 8.0, 0.0, 4.0, 8.0], Z), X, Y, Z)
    several = dataclasses.replace(header(geometry), frames=Frames.grid([{"contrast": 0}, {"contrast": 1}], 3))
    assert [s.slices for s in stacks(several, range(6))] == [(0, 1, 2), (3, 4, 5)]
    assert [s.slices for s in stacks(several, [5, 0, 2, 3])] == [(1, 2), (3, 0)]
