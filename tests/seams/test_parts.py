"""Parts by name: what ships, what is registered, package.module:name, and what is said of the rest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from own_parts import MODULE
from pydantic import ValidationError

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.masks import INTERLEAVES, KINDS, MASKS, Mask, draw
from mrunfold.methods import METHODS, Method, get_method
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.prior import PRIORS, make_prior
from mrunfold.operators import FourierMask
from mrunfold.problem import Problem
from mrunfold.protocols import NetworkSpec, PriorSpec
from mrunfold.registry import Registry


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with a module `otherlab_file` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "otherlab_file.py").write_text(MODULE, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("otherlab_file", None)


def problem(shape=(12, 10)):
    A = FourierMask(torch.ones(shape))
    x = torch.ones(1, *shape, dtype=torch.complex64)
    return Problem(A(x), A, torch.tensor(0.01), torch.tensor(1.0))


def test_a_class_of_a_file_is_a_method(here):
    method = get_method("otherlab_file:Landweber", steps=3)
    result = method(problem())
    torch.testing.assert_close(result.mean, torch.ones(1, 12, 10, dtype=torch.complex64))
    assert result.record["method"] == "landweber"
    assert result.record["parameters"] == {"steps": 3}
    with pytest.raises(InputError, match=r"has no parameter 'step' \(did you mean steps\?\)"):
        get_method("otherlab_file:Landweber", step=3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Class", "cannot be imported .*ModuleNotFoundError"),
        ("otherlab_file:Nothing", "cannot be imported .*AttributeError"),
        ("otherlab_file:checkers", "is no method"),
        ("landwebber", "no method 'landwebber'"),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(here, name, message):
    with pytest.raises(InputError, match=message) as caught:
        get_method(name)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_shape_is_refused():
    @dataclass(frozen=True)
    class Cropped(Method):
        name: ClassVar[str] = "cropped"

        def reconstruct(self, problem, seeds, progress):
            return problem.A.adjoint(problem.y)[..., 1:]

    with pytest.raises(InputError, match=r"method cropped gave an image \(1, 12, 9\)"):
        Cropped()(problem())


def test_masks_of_a_file_are_drawn_and_checked(here):
    mask = draw("otherlab_file:checkers", (64, 48), 4, seed=1)
    assert isinstance(mask, Mask)
    assert (mask.kind, mask.asked, mask.seed) == ("checkers", 4, 1)
    assert mask.calibration[0] >= 20
    with pytest.raises(InputError, match=r"cannot be called with .*calibration"):
        draw("otherlab_file:checkers", (64, 48), 4, seed=1, calibration=8)


def test_a_mask_of_the_wrong_shape_or_values_is_refused(monkeypatch):
    for wrong, message in (
        (np.ones((4, 5)), "asked for"),
        (np.full((4, 4), 0.5), "no bool array"),
        (np.ones(4), "no bool array"),
        ("poisson", "no bool array"),
    ):
        monkeypatch.setitem(MASKS._registered, "wrong", lambda shape, accel, seed, wrong=wrong: wrong)
        with pytest.raises(InputError, match=message):
            draw("wrong", (4, 4), 2, seed=0)


def test_readers_are_asked_before_the_file_is_refused(here):
    path = here / "scan.npz"
    np.savez(path, kspace=np.ones((1, 2, 8, 6), np.complex64))
    with pytest.raises(InputError, match="cannot be told"):  # the reader of arrays, by the axes' energy
        open_scan(path)
    with open_scan(path, reader="otherlab_file:NpzScan") as scan:
        assert scan.header.format == "npz"
        assert scan.kspace(0).shape == (2, 8, 6)
    with pytest.raises(InputError, match="is no reader"):
        open_scan(path, reader="otherlab_file:Landweber")
    with pytest.raises(InputError, match="no such file"):
        open_scan(here / "nothing.npz", reader="otherlab_file:NpzScan")


def test_a_broken_reader_of_another_package_stops_nobody(here, monkeypatch, caplog):
    from mrunfold.io import recognise

    monkeypatch.setitem(recognise.READERS._registered, "broken", "not a class")
    path = here / "text.bin"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not raw data that is known"):
        open_scan(path)
    assert "reader broken is no reader" in caplog.text


def test_any_module_with_the_signature_is_a_prior(here):
    class Mine(torch.nn.Module):
        def forward(self, x, tau):
            return 0.5 * x

    network = PosteriorDenoiser(blocks=2, prior=Mine)
    assert network.mean(problem()).shape == (1, 12, 10)
    with pytest.raises(InputError, match="cannot be made with"):
        make_prior("otherlab_file:Smooth", width=3)
    with pytest.raises(InputError, match="is no torch module"):
        make_prior("otherlab_file:Landweber")


def test_a_protocol_names_a_prior_of_a_package_and_runs_no_code_by_reference(here, monkeypatch):
    sys.path.append(str(here))
    from otherlab_file import Smooth

    monkeypatch.setitem(PRIORS._registered, "smooth", Smooth)
    spec = NetworkSpec(blocks=2, shared=True, prior=PriorSpec(architecture="smooth"))
    assert isinstance(PosteriorDenoiser.from_spec(spec).prior(1), Smooth)
    with pytest.raises(ValidationError, match="architecture"):
        PriorSpec(architecture="os:system", options={"command": "true"})


def test_protocols_without_an_own_prior_keep_their_digests():
    assert PriorSpec().model_dump_json(exclude_none=True).count("architecture") == 0


def test_registering_a_name():
    registry = Registry("thing", "mrunfold.nothing_at_all", {"own": "math:pi"})
    assert registry.register("new", 3) == 3
    assert (registry.load("new"), registry.names(), registry.others()) == (3, ["own", "new"], ["new"])
    assert registry.load("own") == registry.load("math:pi")
    for name in ("own", "", "a:b"):
        with pytest.raises(InputError, match="choose a new name"):
            registry.register(name, 1)


def test_the_names_of_the_help_are_those_there_are():
    from mrunfold.cli.shared import DEFAULT_METHOD, MASK_LINES, METHOD_LINES
    from mrunfold.methods.registry import DEFAULT_METHOD as DEFAULT

    assert DEFAULT_METHOD == DEFAULT
    assert list(METHOD_LINES) == list(METHODS)
    assert list(MASK_LINES) == ["acquired", *KINDS, *INTERLEAVES]
