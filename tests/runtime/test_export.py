"""The compiled posterior mean: Python's image at any size, and a file only if that is so."""

from __future__ import annotations

import json

import pytest
import torch
from untrained import SPEC, random_network

from mrunfold.errors import InputError
from mrunfold.networks import posterior
from mrunfold.operators import Sense
from mrunfold.problem import rescale
from mrunfold.protocols import PriorSpec
from mrunfold.runtime import export, export_mean, graph
from mrunfold.runtime.export import FORMAT, TOLERANCE, example, mean_in_python
from mrunfold.solvers import Start, conjugate_gradient


def load(path, extra=None):
    with graph.no_deprecation():
        return torch.jit.load(str(path), _extra_files=extra)


@pytest.fixture(scope="module")
def model(model_file):
    return load(model_file)


def difference(image, expected):
    return float((image - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 16, 16), (1, 1, 4, 24, 20), (2, 1, 9, 21, 30), (3, 2, 5, 18, 25), (1, 1, 2, 48, 10)]
)
@torch.no_grad()
def test_the_file_gives_pythons_image_at_any_size(model, network, shape, lines):
    inputs = example(shape, lines, seed=3)
    image, _ = model(*inputs)
    assert image.shape == (shape[0], shape[1], *shape[3:])
    assert difference(image, mean_in_python(network, inputs)) < TOLERANCE


@torch.no_grad()
def test_a_full_and_an_uneven_mask(model, network):
    kspace, maps, mask, sigma = example((2, 1, 3, 20, 18))
    for other in (torch.ones_like(mask), torch.ones_like(mask) * (torch.arange(20) % 3 != 1)[:, None]):
        A = Sense(maps, other)
        y = A(A.adjoint(kspace))
        inputs = (y, maps, other, sigma)
        assert difference(model(*inputs)[0], mean_in_python(network, inputs)) < TOLERANCE


@pytest.mark.parametrize("matrix", [(10, 15), (9, 11), (16, 25)])
@torch.no_grad()
def test_the_scale_is_that_of_rescale(model, matrix):
    """10·15 and others: 0.99 times the number of pixels ends in ½, which Python rounds to even."""
    kspace, maps, mask, sigma = example((2, 1, 3, *matrix))
    expected = rescale(kspace, Sense(maps, mask), sigma)[2]
    torch.testing.assert_close(model(kspace, maps, mask, sigma)[1], expected, rtol=1e-6, atol=0)


@torch.no_grad()
def test_units_of_kspace_are_those_of_the_image(model):
    kspace, maps, mask, sigma = example((1, 1, 3, 20, 18))
    image = model(kspace, maps, mask, sigma)[0]
    assert difference(model(1e6 * kspace, maps, mask, 1e6 * sigma)[0] / 1e6, image) < 1e-5


@torch.no_grad()
def test_what_was_not_sampled_is_not_looked_at(model):
    kspace, maps, mask, sigma = example((1, 1, 3, 20, 18))
    other = torch.where(mask[:, None] == 0, torch.nan, kspace)
    assert torch.equal(model(other, maps, mask, sigma)[0], model(kspace, maps, mask, sigma)[0])


@torch.no_grad()
def test_a_slice_does_not_depend_on_its_neighbours(model):
    inputs = example((3, 1, 4, 20, 18))
    together = model(*inputs)[0]
    for i in range(3):
        alone = model(*(part[i : i + 1] for part in inputs))[0]
        assert difference(alone[0], together[i]) < 1e-5


@torch.no_grad()
def test_a_slice_that_needs_fewer_evaluations_gets_fewer(network, monkeypatch):
    inputs = example((2, 1, 4, 24, 20), seed=5)
    inputs[3][1] *= 30  # more noise: another change of the mean
    A = Sense(inputs[1], inputs[2])
    y, sigma_y, _ = rescale(inputs[0], A, inputs[3])
    first, second = (network.mean_of(y, A, sigma_y, passes=n) for n in (1, 2))
    moved = posterior.root_mean_square(second - first, 3)
    for module in (graph, posterior):
        monkeypatch.setattr(module, "PASS_END", float(moved.mean()))
    _, evaluations = network.mean_and_evaluations(y, A, sigma_y)
    assert sorted(evaluations.tolist()) == [2, 3]
    traced = graph.trace(network, example(export.TRACED))
    assert difference(traced(*inputs)[0], mean_in_python(network, inputs)) < TOLERANCE


@torch.no_grad()
def test_an_empty_slice_is_as_in_python(model, network):
    kspace, maps, mask, sigma = example((2, 1, 3, 20, 18))
    kspace[0] = 0
    image, scale = model(kspace, maps, mask, sigma)
    assert float(scale[0]) == 1
    expected = mean_in_python(network, (kspace, maps, mask, sigma))
    torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_the_file_says_what_it_is(model_file):
    extra = {"format": "", "about.json": ""}
    load(model_file, extra)
    about = json.loads(extra["about.json"])
    assert extra["format"].decode() == FORMAT
    assert about["weights_file"] == "random.safetensors"
    assert about["weights_sha256"] == "0" * 64
    assert about["cg_iterations"] == [8, 4]  # the first solve, and each block's


def test_a_file_that_differs_is_not_kept(network, tmp_path, monkeypatch):
    right = export.mean_in_python
    monkeypatch.setattr(export, "mean_in_python", lambda net, inputs: 1.001 * right(net, inputs))
    with pytest.raises(RuntimeError, match="differs from Python"):
        export_mean(tmp_path / "model.pt", network, {})
    assert list(tmp_path.iterdir()) == []


def test_a_network_for_photographs_is_refused(tmp_path):
    spec = SPEC.model_copy(update={"prior": PriorSpec(kind="real", channels=3, widths=(4, 6), blocks=1)})
    with pytest.raises(InputError, match="takes weights for MRI"):
        export_mean(tmp_path / "model.pt", random_network(spec), {"file": "natural.safetensors"})


def solves(tolerance, steps, start=None, empty=False):
    """The compiled solve, Python's solution, and how often each went through the normal operator."""
    kspace, maps, mask, _ = example((2, 1, 4, 20, 18))
    A = Sense(maps, mask)
    rhs = A.adjoint(kspace)
    if empty:
        rhs[0] = 0
    # Two slices that need different numbers of steps.
    weight, shift = torch.tensor([1.0, 1.0]), torch.tensor([5.0, 0.05])
    scripted = graph._scripted()
    conjugating = scripted.conjugating(scripted.weights(mask))
    begin = Start(rhs, rhs) if start is None else Start(start, A.normal(start))
    given = (
        maps,
        conjugating,
        3,
        rhs,
        weight,
        shift,
        begin.x,
        begin.normal,
        start is not None,
    )
    with torch.profiler.profile() as profile:
        x, normal = graph._scripted().solve(*given, torch.tensor(tolerance), steps)
    counts = {event.key: event.count for event in profile.key_averages()}
    python = conjugate_gradient(A.normal, rhs, weight, shift, 3, start, tolerance, steps)
    torch.testing.assert_close(normal, python.normal, rtol=0, atol=1e-5 * float(rhs.abs().max()))
    return x, python, counts["aten::_fft_c2c"] / 2 / 2  # two transforms a chunk, two chunks of 4 coils


def a_start():
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2, 1, 20, 18), dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("steps", [3, 40])
@pytest.mark.parametrize("start", [None, a_start()], ids=["from zero", "from a start"])
@torch.no_grad()
def test_the_compiled_solve_stops_where_python_does(start, steps):
    x, python, normals = solves(1e-3, steps, start)
    torch.testing.assert_close(x, python.x, rtol=0, atol=1e-6 * float(python.x.abs().max()))
    first, last = python.iterations.tolist()
    assert first < last or steps == 3
    assert normals == last
    assert (last < steps) == (steps == 40)


@torch.no_grad()
def test_the_compiled_solve_leaves_an_empty_slice_at_zero():
    x, python, _ = solves(1e-3, 40, a_start(), empty=True)
    assert not x[0].any()
    torch.testing.assert_close(x, python.x, rtol=0, atol=1e-6 * float(python.x.abs().max()))
