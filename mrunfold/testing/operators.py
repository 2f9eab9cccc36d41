"""What every linear operator must keep to: adjoint, gradient, normal, solve, items, frozenness."""

from __future__ import annotations

import io
import math
import pickle
from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators import LinearOperator, Space

__all__ = ["OperatorContract", "dense_matrix"]

DOUBLE = {torch.complex64: torch.complex128, torch.float32: torch.float64}


def dense_matrix(operator: LinearOperator) -> Tensor:
    """Return A as a matrix (*operator.batch, range size, domain size), by applying it to each unit vector."""
    domain, batch = operator.domain, operator.batch
    size = math.prod(domain.shape)
    units = torch.eye(size, dtype=domain.dtype).reshape(size, *(1,) * len(batch), *domain.shape)
    columns = operator.forward(units.expand(size, *batch, *domain.shape))
    return columns.flatten(start_dim=1 + len(batch)).movedim(0, -1)  # (*batch, range size, domain size)


def draw(space: Space, batch: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, *space.shape, dtype=space.dtype, generator=generator)


def product(a: Tensor, b: Tensor, space: Space) -> Tensor:
    """⟨a, b⟩ = Σ conj(a) b of each item."""
    return (a.conj() * b).flatten(start_dim=a.ndim - space.ndim).sum(dim=-1)


def own_tensors(value: Any) -> list[Tensor]:
    """Every tensor that an operator holds, those of operators within it too."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        return [t for f in fields(value) for t in own_tensors(getattr(value, f.name))]
    return []


class OperatorContract(ABC):
    """Tests of a LinearOperator: subclass it as Test…, give `operator`, keep it small (≤ 100 unknowns).

        class TestBlur(OperatorContract):
            def operator(self, dtype, odd):
                return Blur(kernel.to(dtype), size=(5, 7) if odd else (4, 6))

    dtypes: of the domain, in which the tests are run; those of gradients in double precision alone.
    weight, shift: of the systems solved.
    """

    dtypes: tuple[torch.dtype, ...] = (torch.complex64, torch.complex128)
    weight: float = 2.0
    shift: float = 0.3

    @abstractmethod
    def operator(self, dtype: torch.dtype, odd: bool) -> LinearOperator:
        """Return the operator with a domain of `dtype`, and of odd sizes or of even ones."""

    def item(self, operator: LinearOperator, index: tuple[int, ...]) -> LinearOperator | None:
        """Return the operator of one item of `operator.batch`; give it if the operator has such a batch."""
        return None if operator.batch else operator

    def pytest_generate_tests(self, metafunc: Any) -> None:
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", self.dtypes, ids=lambda d: str(d).removeprefix("torch."))
        if "odd" in metafunc.fixturenames:
            metafunc.parametrize("odd", [False, True], ids=["even", "odd"])

    # --- helpers ---

    def double(self, odd: bool = True) -> LinearOperator:
        return self.operator(DOUBLE.get(self.dtypes[0], self.dtypes[0]), odd)

    @staticmethod
    def same(a: Tensor, b: Tensor, what: str, factor: float = 1.0) -> None:
        """Assert that two tensors agree in shape, dtype and, to round-off relative to the largest, values."""
        assert a.shape == b.shape, f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
        assert a.dtype == b.dtype, f"{what}: {a.dtype} and {b.dtype}"
        scale = max(float(b.abs().max()), torch.finfo(b.dtype).tiny)
        off = float((a - b).abs().max()) / scale
        bound = factor * 200 * torch.finfo(b.dtype).eps
        assert off <= bound, f"{what}: they differ by {off:.1e} of the largest value, more than {bound:.1e}"

    @staticmethod
    def solve(a: LinearOperator, rhs: Tensor, weight: Any, shift: Any, x0: Tensor | None = None) -> Tensor:
        tolerance = 1e-6 if rhs.real.dtype == torch.float32 else 1e-13
        return a.solve(rhs, weight, shift, x0, tolerance=tolerance, max_iterations=1000)

    # --- what is said of it ---

    def test_nothing_is_measured_where_it_says_so(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        seen = a.observed()
        assert seen.dtype == torch.bool, f"observed gave {seen.dtype}, not bool"
        assert seen.shape == (*a.batch, *a.range.shape), f"observed gave {tuple(seen.shape)}, not {a.range}"
        y = a(draw(a.domain, a.batch))
        assert not bool(y[~seen].any()), "A x is not 0 where observed() is False"

    # --- the map ---

    def test_shapes_and_dtypes_are_as_declared(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        assert a.domain.dtype == dtype, f"operator({dtype}) has a domain of {a.domain.dtype}"
        for extra in ((), (2,), (2, 3)):
            batch = (*extra, *a.batch)
            x, y = draw(a.domain, batch), draw(a.range, batch)
            for name, out, space in (
                ("forward", a.forward(x), a.range),
                ("adjoint", a.adjoint(y), a.domain),
                ("normal", a.normal(x), a.domain),
                ("solve", a.solve(x, self.weight, self.shift), a.domain),
            ):
                assert out.shape == (*batch, *space.shape), f"{name} gave {tuple(out.shape)}, not {space}"
                assert out.dtype == space.dtype, f"{name} gave {out.dtype}, not {space}"

    def test_the_operator_is_linear(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        x, z = draw(a.domain, (2, *a.batch), 1), draw(a.domain, (2, *a.batch), 2)
        factor = 0.7 - 1.3j if dtype.is_complex else -1.3
        self.same(a(factor * x + z), factor * a(x) + a(z), "A (c x + z) and c A x + A z")
        assert not bool(a(torch.zeros_like(x)).any()), "A 0 is not 0"

    def test_the_adjoint_is_the_adjoint(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        x, y = draw(a.domain, (3, *a.batch), 1), draw(a.range, (3, *a.batch), 2)
        forward, adjoint = a.forward(x), a.adjoint(y)
        assert forward.shape == y.shape, f"A x is {tuple(forward.shape)}, an element of the range {a.range}"
        assert adjoint.shape == x.shape, (
            f"Aᴴ y is {tuple(adjoint.shape)}, an element of the domain {a.domain}"
        )
        left, right = product(y, forward, a.range), product(adjoint, x, a.domain)
        size = product(y, y, a.range).abs().sqrt() * product(forward, forward, a.range).abs().sqrt()
        off = float(((left - right).abs() / size.clamp_min(1e-30)).max())
        assert off < 200 * torch.finfo(dtype).eps, f"⟨y, A x⟩ and ⟨Aᴴ y, x⟩ differ by {off:.1e} of ‖y‖‖A x‖"
        self.same(a.H(y), adjoint, "A.H y and adjoint(y)")
        self.same(a.H.adjoint(x), forward, "A.H.adjoint(x) and A x")

    def test_normal_is_adjoint_after_forward(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        x = draw(a.domain, (2, *a.batch))
        self.same(a.normal(x), a.adjoint(a.forward(x)), "normal(x) and adjoint(forward(x))")

    @pytest.mark.parametrize("name", ["forward", "adjoint", "normal"])
    def test_the_gradient_is_the_adjoint(self, name: str) -> None:
        a = self.double()
        x = draw(a.range if name == "adjoint" else a.domain, a.batch, 1).requires_grad_()
        apply, transpose = {
            "forward": (a.forward, a.adjoint),
            "adjoint": (a.adjoint, a.forward),
            "normal": (a.normal, a.normal),
        }[name]
        y = apply(x)
        g = draw(a.domain if name == "adjoint" else a.range, a.batch, 2) if name != "normal" else x.detach()
        (gradient,) = torch.autograd.grad(y, x, g)
        self.same(gradient, transpose(g), f"the gradient of {name} and its adjoint")
        assert torch.autograd.gradcheck(apply, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(apply, (x,), fast_mode=True)

    # --- the solve ---

    def test_solve_agrees_with_a_dense_matrix(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        matrix = dense_matrix(a)
        rhs = draw(a.domain, a.batch)
        system = self.weight * matrix.mH @ matrix + self.shift * torch.eye(matrix.shape[-1], dtype=dtype)
        flat = rhs.flatten(start_dim=len(a.batch))
        expected = torch.linalg.solve(system, flat[..., None])[..., 0].reshape(rhs.shape)
        self.same(self.solve(a, rhs, self.weight, self.shift), expected, "solve and a dense solve", factor=10)

    def test_weight_and_shift_are_of_each_item(self, odd: bool) -> None:
        a = self.double(odd)
        real = a.domain.dtype.to_real()
        rhs = draw(a.domain, (3, *a.batch))
        column = (3, *(1,) * len(a.batch))
        weight = torch.tensor([0.0, 1.0, 50.0], dtype=real).reshape(column).expand(3, *a.batch)
        shift = torch.tensor([2.0, 0.1, 1.0], dtype=real).reshape(column).expand(3, *a.batch)
        together = self.solve(a, rhs, weight, shift)
        for i in range(3):
            alone = self.solve(a, rhs[i], weight[i], shift[i])
            self.same(together[i], alone, f"item {i} of 3 and the same solved alone", factor=100)
            left = weight[i].flatten()[0] * a.normal(together[i]) + shift[i].flatten()[0] * together[i]
            self.same(left, rhs[i], f"(weight·AᴴA + shift) x and rhs of item {i}", factor=100)

    @pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
    def test_gradients_of_solve_agree_with_finite_differences(self, gradient: Any) -> None:
        a = self.double()
        batch = (2, *a.batch)
        real = a.domain.dtype.to_real()
        rhs = draw(a.domain, batch, 1).requires_grad_()
        weight = torch.full(batch, self.weight, dtype=real)
        weight[1] *= 1.5
        shift = torch.full(batch, self.shift, dtype=real)
        shift[0] *= 1.5

        def solve(r: Tensor, w: Tensor, s: Tensor) -> Tensor:
            return a.solve(r, w, s, tolerance=1e-12, max_iterations=1000, gradient=gradient)

        inputs = (rhs, weight.requires_grad_(), shift.requires_grad_())
        assert torch.autograd.gradcheck(solve, inputs, fast_mode=True, atol=1e-6)
        # each of weight and shift by itself, entry by entry: the fast mode projects on one direction
        g = draw(a.domain, batch, 3)
        gradients = torch.autograd.grad(solve(*inputs), inputs[1:], g)
        for k, name in ((1, "weight"), (2, "shift")):
            low, high = ([t.detach() for t in inputs] for _ in range(2))
            step = 1e-5
            low[k], high[k] = low[k] - step, high[k] + step
            slope = product(g, (solve(*high) - solve(*low)) / (2 * step), a.domain).real
            self.same(gradients[k - 1], slope, f"gradient of {name} and its finite difference", factor=1e6)

    def test_a_warm_start_gives_the_same_answer(self, dtype: torch.dtype, odd: bool) -> None:
        a = self.operator(dtype, odd)
        rhs, x0 = draw(a.domain, (2, *a.batch), 1), draw(a.domain, (2, *a.batch), 2)
        cold = self.solve(a, rhs, self.weight, self.shift)
        before = x0.clone()
        self.same(self.solve(a, rhs, self.weight, self.shift, x0), cold, "warm and cold start", factor=20)
        assert torch.equal(x0, before), "solve changed its x0"
        steps = a.solve_with_statistics(rhs, self.weight, self.shift, cold, tolerance=1e-4).iterations
        assert not bool(steps.any()), f"started from the solution it took {steps.tolist()} steps"

    # --- items ---

    @pytest.mark.parametrize("name", ["forward", "adjoint", "normal", "solve"])
    def test_an_item_does_not_depend_on_its_batch(self, name: str, odd: bool) -> None:
        a = self.double(odd)
        index = (1,) * len(a.batch)
        alone = self.item(a, index)
        if alone is None:
            pytest.skip(f"{type(a).__name__} holds a batch {a.batch}: give `item` to test its items")
        batch = (3, *a.batch)
        x = draw(a.range if name == "adjoint" else a.domain, batch)
        # Neighbours a thousand times larger; a loose tolerance, so that one item's stopping would show.
        x[0], x[2] = 1e3 * x[0], 1e-3 * x[2]
        real = a.domain.dtype.to_real()
        weight = torch.logspace(-2, 2, math.prod(batch), dtype=real).reshape(batch)

        def run(b: LinearOperator, v: Tensor, w: Tensor) -> Tensor:
            return b.solve(v, w, 1.0, tolerance=1e-2) if name == "solve" else getattr(b, name)(v)

        whole = run(a, x, weight)
        for i in range(3):
            at = (i, *index)
            self.same(run(alone, x[at], weight[at]), whole[at], f"{name} of an item alone and in its batch")

    # --- state and errors ---

    def test_nothing_changes(self, dtype: torch.dtype) -> None:
        a = self.operator(dtype, odd=True)
        x, y = draw(a.domain, (2, *a.batch), 1), draw(a.range, (2, *a.batch), 2)
        kept = [t.clone() for t in (x, y, *own_tensors(a))]
        outs = a.forward(x), a.adjoint(y), a.normal(x), a.solve(x, self.weight, self.shift)
        z = x.clone().requires_grad_()
        a.solve(a.normal(z), self.weight, self.shift).abs().sum().backward()
        for out in outs:
            out.fill_(7)  # what is returned is the caller's, not a view of anything
        for now, then in zip((x, y, *own_tensors(a)), kept, strict=True):
            assert torch.equal(now, then), "an argument, or a tensor of the operator, changed"
        for field in fields(a):
            with pytest.raises(AttributeError):
                setattr(a, field.name, None)

    def test_pickling(self, dtype: torch.dtype) -> None:
        a = self.operator(dtype, odd=True)
        b = pickle.load(io.BytesIO(pickle.dumps(a)))
        x = draw(a.domain, a.batch)
        assert torch.equal(a(x), b(x)), "a pickled operator gives another result"
        assert (b.domain, b.range, b.batch) == (a.domain, a.range, a.batch)

    def test_conversion_to_another_precision(self) -> None:
        single = next((d for d in self.dtypes if d in DOUBLE), None)
        if single is None:
            pytest.skip("the operator has no single precision variant")
        a = self.operator(single, odd=True)
        b = a.to(dtype=DOUBLE[single])
        assert b.domain == Space(a.domain.shape, DOUBLE[single])
        x = draw(a.domain, a.batch)
        self.same(b(x.to(b.domain.dtype)).to(a.range.dtype), a(x), "A and A in double precision")
        assert a.domain.dtype == single, "`to` changed the operator itself"

    @pytest.mark.parametrize("name", ["forward", "adjoint", "normal", "solve"])
    def test_bad_input_is_refused(self, name: str) -> None:
        a = self.operator(self.dtypes[0], odd=True)
        space = a.range if name == "adjoint" else a.domain
        good = draw(space, a.batch)

        def run(x: Tensor) -> Tensor:
            return a.solve(x, self.weight, self.shift) if name == "solve" else getattr(a, name)(x)

        run(good)
        longer = Space((*space.shape[:-1], space.shape[-1] + 1), space.dtype)
        shorter = Space((*space.shape[:-1], 1), space.dtype)
        bad = [draw(longer, a.batch), draw(shorter, a.batch), good[0] if not a.batch else good[0][0]]
        other = {**DOUBLE, **{d: s for s, d in DOUBLE.items()}}[space.dtype]
        bad += [good.to(other), draw(Space(space.shape, torch.bfloat16), a.batch)]
        bad += [draw(space, (*a.batch[:-1], a.batch[-1] + 1))] if a.batch else []
        for x in bad:
            with pytest.raises(InputError, match=type(a).__name__):
                run(x)

    def test_bad_systems_are_refused(self) -> None:
        a = self.operator(self.dtypes[0], odd=True)
        rhs = draw(a.domain, (2, *a.batch))
        with pytest.raises(InputError):
            a.solve(rhs, torch.ones(3, *a.batch), self.shift)
        with pytest.raises(InputError):
            a.solve(rhs, self.weight, torch.ones(3, *a.batch))
        with pytest.raises(InputError):
            a.solve(rhs, self.weight, self.shift, x0=draw(a.domain, (3, *a.batch)))
