"""Image axes and patient coordinates: the only place that turns the one into the other.

A reconstructed volume is (slice, readout, phase).  Files written from it hold (readout, phase, slice) and an
affine; nothing is flipped or transposed on the way, the affine says where things are.  Only what a person
looks at is turned, by `radiological_view`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.scan import FRAME_TOLERANCE, Geometry, Header, right_angles

__all__ = [
    "Planes",
    "Stack",
    "View",
    "lps_to_ras",
    "planes_of",
    "radiological_view",
    "slice_affine",
    "stacks",
    "together",
    "turned",
]

# A step between slices may differ so much, in mm and as a fraction, from the mean of those before it: headers
# round, and scanners place slices to some hundredths of a millimetre.
JITTER_MM, JITTER_FRACTION = 0.2, 0.15
SPACING_TOLERANCE = 1e-2
SAME_MM, SAME_DIRECTION = 0.05, 1e-3  # slices of other frames may lie so far apart, and be turned
SHEAR_PIXELS = 0.5  # that the last slice of a stack may lie aside for its planes to be cut across
LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))  # towards + and − of the LPS axes


@dataclass(frozen=True)
class Stack:
    """Equally spaced slices: their places in the volume, in spatial order, and one affine for them all.

    slices: indices into the reconstructed volume; lps: (4, 4), takes (readout, phase, place in the stack, 1)
    to LPS in mm, None where the file does not say where its slices lie; voxel_mm: (readout, phase, slice),
    1 where unknown; frame: of the scan's `Frames`, 0 where there is one; places: numbers of the slices within
    the frame.
    """

    slices: tuple[int, ...]
    lps: np.ndarray | None
    voxel_mm: tuple[float, float, float]
    frame: int = 0
    places: tuple[int, ...] = ()

    @property
    def view(self) -> View:
        """How to turn the images for a reader; as stored where places are unknown."""
        if self.lps is None:
            return View()
        read, phase = (self.lps[:3, axis] / np.linalg.norm(self.lps[:3, axis]) for axis in (0, 1))
        return radiological_view(Geometry(self.lps[None, :3, 3], read, phase, np.cross(read, phase)))


@dataclass(frozen=True)
class View:
    """How to turn an image (readout, phase) for a reader: first transpose, then flip rows and columns.

    edges: what lies at (top, bottom, left, right), one of L R A P S I each, None where unknown.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    edges: tuple[str, str, str, str] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (readout, phase) turned, as a view of the same memory."""
        turned = image.T if self.transpose else image
        turned = turned[::-1] if self.flip_rows else turned
        return turned[:, ::-1] if self.flip_columns else turned


@dataclass(frozen=True)
class Planes:
    """The three planes of a volume of turned images, as radiologists look at them.

    axes: of each axis of RAS the axis (0 column, 1 row, 2 slice) of the volume nearest to it, and 1 where the
    two run the same way, −1 where they do not; own: which plane the images are: 0 axial, 1 coronal,
    2 sagittal; edges: what lies at (top, bottom, left, right) of the axial, coronal and sagittal plane, None
    where images are all there is to look at: where places are unknown, with one slice, in a sheared stack.
    """

    axes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    own: int
    edges: tuple[tuple[str, str, str, str], ...] | None


def slice_affine(
    position: np.ndarray,
    geometry: Geometry,
    shape: tuple[int, int],
    pixel_mm: tuple[float, float],
    step: np.ndarray,
) -> np.ndarray:
    """Return the (4, 4) affine from (readout, phase, slice, 1) to LPS in mm of a stack that starts here.

    position: centre of its first slice (3,), where pixel (N//2, M//2) of the `shape` N×M lies; step: from one
    slice to the next (3,) in mm.
    """
    read, phase = np.asarray(geometry.read, float), np.asarray(geometry.phase, float)
    affine = np.eye(4)
    affine[:3, 0] = read * pixel_mm[0]
    affine[:3, 1] = phase * pixel_mm[1]
    affine[:3, 2] = step
    corner = affine[:3, 0] * (shape[0] // 2) + affine[:3, 1] * (shape[1] // 2)
    affine[:3, 3] = np.asarray(position, float) - corner
    return affine


def lps_to_ras(affine: np.ndarray) -> np.ndarray:
    """Return the affine to RAS (NIfTI) of one to LPS (DICOM): x and y change sign."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def stacks(header: Header, indices: Sequence[int]) -> list[Stack]:
    """Return the equally spaced stacks that the slices `indices` of a scan fall into, mostly one.

    Frames (echoes, repetitions, …) are stacks of their own, one after the other, and so are orientations.
    Where the file has no geometry or no pixel size stacks have no affine, in the given order.  Raises
    InputError where directions are not at right angles or not of length 1.
    """
    thickness = header.slice_mm if header.slice_mm else 1.0
    pixel = header.pixel_mm or (1.0, 1.0)
    frame, place = [0] * len(indices), list(indices)
    if header.frames is not None:
        frame = [header.frames.frame[i] for i in indices]
        place = [header.frames.place[i] for i in indices]
    of_frame = [[i for i, one in enumerate(frame) if one == number] for number in sorted(set(frame))]
    placed: list[tuple[list[int], np.ndarray | None, float]] = []
    for mine in of_frame:
        if header.geometry is None or header.pixel_mm is None:
            placed.append((mine, None, thickness))
            continue
        for plane in _planes(header.geometry, [indices[i] for i in mine]):
            alike = [mine[i] for i in plane]
            geometry = _checked(header.geometry.take([indices[i] for i in alike]))
            along = np.asarray(geometry.positions, float) @ geometry.normal
            for run in _equal_runs(geometry.positions, np.argsort(along, kind="stable").tolist()):
                start, step = _line(geometry.positions[run], geometry.normal * thickness)
                affine = slice_affine(start, geometry, header.crop, pixel, step)
                placed.append(([alike[i] for i in run], affine, float(np.linalg.norm(step))))
    return [
        Stack(tuple(one), affine, (*pixel, step), frame[one[0]], tuple(place[i] for i in one))
        for one, affine, step in placed
    ]


def together(found: Sequence[Stack]) -> list[list[Stack]]:
    """Return stacks that are frames of the same slices as one list each: what a fourth axis holds.

    Where places are known they must be the same to SAME_MM; frames that lack a slice, or lie elsewhere, are
    lists of their own.
    """
    groups: list[list[Stack]] = []
    for stack in found:
        for group in groups:
            first = group[0]
            alike = stack.places == first.places and stack.frame not in {one.frame for one in group}
            if alike and (stack.lps is None) == (first.lps is None) and _same_place(stack, first):
                group.append(stack)
                break
        else:
            groups.append([stack])
    return groups


def _same_place(one: Stack, other: Stack) -> bool:
    if one.lps is None or other.lps is None:
        return True
    ends = np.array([[0, 0, 0, 1], [0, 0, len(one.slices) - 1, 1]], float).T
    return bool(
        np.abs((one.lps - other.lps) @ ends).max() <= SAME_MM
        and np.abs(one.lps[:3, :2] - other.lps[:3, :2]).max() <= SAME_DIRECTION
    )


def _planes(geometry: Geometry, indices: Sequence[int]) -> list[list[int]]:
    """Return which of some slices have the same orientation, in the order of their first."""
    chosen = geometry.take(indices)
    axes = np.concatenate(
        [np.broadcast_to(axis, (len(indices), 3)) for axis in (chosen.read, chosen.phase, chosen.normal)],
        axis=1,
    )
    planes: list[list[int]] = []
    for number, one in enumerate(axes):
        same = (p for p in planes if np.abs(axes[p[0]] - one).max() <= SAME_DIRECTION)
        plane = next(same, None)
        if plane is None:
            planes.append([number])
        else:
            plane.append(number)
    return planes


def _line(positions: np.ndarray, alone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the slices of a stack begin and their step; alone: the step where there is one slice."""
    count = len(positions)
    if count == 1:
        return positions[0], alone
    start, step = positions[0], (positions[-1] - positions[0]) / (count - 1)
    if np.abs(start + np.arange(count)[:, None] * step - positions).max() > 1e-6:
        # Jitter: the line that all their centres lie nearest to.
        step, start = np.polyfit(np.arange(count), positions, 1)
    return start, step


def _checked(geometry: Geometry) -> Geometry:
    """Return the geometry with directions at right angles, or raise InputError where they are far from it."""
    frame = right_angles(geometry.read, geometry.phase, geometry.normal)
    if frame is None or not np.all(np.isfinite(geometry.positions)):
        raise InputError(
            "the file's slice directions are not at right angles and of length 1 (within "
            f"{FRAME_TOLERANCE:g}), or its positions no numbers, so its images cannot be placed in space: "
            f"read {geometry.read}, phase {geometry.phase}, slice {geometry.normal}; correct its header"
        )
    return Geometry(geometry.positions, *frame)


def _equal_runs(positions: np.ndarray, order: list[int]) -> list[list[int]]:
    """Split slices, in spatial order, where the step from one to the next changes or is zero."""
    runs = [[order[0]]]
    for this in order[1:]:
        run = runs[-1]
        step = positions[this] - positions[run[-1]]
        length = float(np.linalg.norm(step))
        before = (positions[run[-1]] - positions[run[0]]) / (len(run) - 1) if len(run) > 1 else step
        allowed = max(SPACING_TOLERANCE * length, min(JITTER_MM, JITTER_FRACTION * length))
        if length > 1e-3 and float(np.linalg.norm(step - before)) <= allowed:
            run.append(this)
        else:
            runs.append([this])
    return runs


def radiological_view(geometry: Geometry | None) -> View:
    """Return how to turn an image (readout, phase) so that it looks as radiologists expect it.

    Axial: anterior at the top; coronal and sagittal: head at the top; the patient's right on the reader's
    left; sagittal: anterior on the left.  Without geometry the image stays as stored, and no edge is named.
    """
    if geometry is None:
        return View()
    read, phase, normal = (np.asarray(d, float) for d in (geometry.read, geometry.phase, geometry.normal))
    plane = int(np.argmax(np.abs(normal)))  # 0 sagittal, 1 coronal, 2 axial
    right = np.eye(3)[1 if plane == 0 else 0]  # columns run to posterior or to left
    down = np.eye(3)[1] if plane == 2 else -np.eye(3)[2]  # rows run to posterior or to inferior
    transpose = abs(read @ right) > abs(phase @ right)
    rows, columns = (phase, read) if transpose else (read, phase)
    flip_rows, flip_columns = bool(rows @ down < 0), bool(columns @ right < 0)
    rows, columns = rows * (-1 if flip_rows else 1), columns * (-1 if flip_columns else 1)
    edges = (_letter(-rows), _letter(rows), _letter(-columns), _letter(columns))
    return View(bool(transpose), flip_rows, flip_columns, edges)


def turned(affine: np.ndarray, view: View, shape: tuple[int, int]) -> np.ndarray:
    """Return the affine from (column, row, slice, 1) of images turned by `view` to LPS in mm.

    affine: from (readout, phase, slice, 1) of the images as stored, whose `shape` is (readout, phase).  That
    is DICOM's order: its columns are counted along the first vector of ImageOrientationPatient.
    """
    rows, columns = affine[:, 0], affine[:, 1]
    lengths = shape
    if view.transpose:
        rows, columns, lengths = columns, rows, shape[::-1]
    origin = affine[:, 3]
    if view.flip_rows:
        origin, rows = origin + rows * (lengths[0] - 1), -rows
    if view.flip_columns:
        origin, columns = origin + columns * (lengths[1] - 1), -columns
    return np.stack([columns, rows, affine[:, 2], origin], axis=1)


def planes_of(affine: np.ndarray | None, shape: tuple[int, int, int]) -> Planes:
    """Return the planes of a volume of turned images; affine: from (column, row, slice, 1) to LPS in mm.

    shape: (columns, rows, slices).  The same conventions as `radiological_view`: the patient's right on the
    left; anterior at the top, or the head; in sagittal planes anterior on the left.
    """
    if affine is None:
        return Planes(((0, -1), (1, -1), (2, 1)), 0, None)
    steps = lps_to_ras(np.vstack([affine[:3], [0, 0, 0, 1]]))[:3, :3]
    directions = steps / np.linalg.norm(steps, axis=0)
    normal = np.cross(directions[:, 0], directions[:, 1])
    across = int(np.argmax(np.abs(normal)))  # the axis of RAS that the slices follow
    others = [axis for axis in range(3) if axis != across]
    # Turned images have their columns nearest to the first of the two that are left, rows to the second.
    order = {others[0]: 0, others[1]: 1, across: 2}
    axes = tuple((order[k], 1 if directions[k, order[k]] > 0 else -1) for k in range(3))
    aside = steps[:, 2] - normal * (normal @ steps[:, 2])
    straight = float(np.linalg.norm(aside)) * (shape[2] - 1) <= SHEAR_PIXELS * np.linalg.norm(steps[:, 0])
    edges = None
    if shape[2] > 1 and straight:
        lps = directions * np.array([[-1.0], [-1.0], [1.0]])
        towards = [lps[:, axis] * sign for axis, sign in axes]  # of each axis of RAS, in LPS
        edges = tuple(
            (_letter(towards[up]), _letter(-towards[up]), _letter(towards[left]), _letter(-towards[left]))
            for left, up in ((0, 1), (0, 2), (1, 2))
        )
    return Planes(axes, 2 - across, edges)  # type: ignore[arg-type]


def _letter(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return LETTERS[axis][0 if direction[axis] > 0 else 1]
