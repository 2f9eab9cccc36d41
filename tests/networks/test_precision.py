"""Precision by what the hardware has, said in the record, and hardly seen in the image."""

import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.networks.precision import choose, convolutions_in, has_bfloat16

UNITS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


@pytest.fixture
def processor(monkeypatch):
    def with_units(*found):
        for name in UNITS:
            monkeypatch.setattr(torch.cpu, name, lambda yes=name in found: yes, raising=False)

    return with_units


@pytest.mark.parametrize("found", [(), UNITS[:1], UNITS[1:], UNITS])
def test_auto_is_what_the_processor_multiplies(processor, found):
    processor(*found)
    assert has_bfloat16("cpu") == bool(found)
    assert choose("auto", "cpu") == (torch.bfloat16 if found else torch.float32)
    assert choose("float32", "cpu") == torch.float32
    assert choose("bfloat16", "cpu") == torch.bfloat16


def test_a_torch_that_cannot_tell_is_taken_for_without(monkeypatch):
    for name in UNITS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert choose("auto", "cpu") == torch.float32


def test_a_device_nobody_asked_about_stays_in_float32():
    assert choose("auto", "mps") == torch.float32


def test_an_unknown_precision_is_refused_with_the_likely_one():
    with pytest.raises(InputError, match="did you mean bfloat16"):
        choose("bfloat", "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_run_in_it_and_weights_do_not_change(dtype):
    layer, x = torch.nn.Conv2d(2, 3, 3), torch.ones(1, 2, 5, 5)
    with convolutions_in(dtype, "cpu"):
        assert layer(x).dtype == dtype
    assert layer.weight.dtype == torch.float32
    assert layer(x).dtype == torch.float32
