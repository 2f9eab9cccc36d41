"""Choose the precision that is fast on this processor, from what its hardware supports."""

from __future__ import annotations

import torch

from mrunfold.errors import InputError, did_you_mean

__all__ = ["PRECISIONS", "choose", "convolutions_in", "has_bfloat16"]

PRECISIONS = ("auto", "float32", "bfloat16")


def has_bfloat16(device: torch.device | str) -> bool:
    """Return whether a device multiplies bfloat16 matrices itself.

    On processors that is AMX (convolutions four to eight times as quick as in float32) or AVX512-BF16
    (twice).
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return kind == "cpu" and any(bool(getattr(torch.cpu, name, lambda: False)()) for name in units)


def choose(precision: str, device: torch.device | str) -> torch.dtype:
    """Return the type that convolutions run in: "auto" is what the device is quick in.

    InputError for a name that is not in PRECISIONS.
    """
    if precision not in PRECISIONS:
        raise InputError(f"no precision {precision!r}{did_you_mean(precision, PRECISIONS)}")
    half = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
    return torch.bfloat16 if half else torch.float32


def convolutions_in(dtype: torch.dtype, device: torch.device | str) -> torch.autocast:
    """Return the context in which convolutions run in `dtype`; weights and images stay in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == torch.bfloat16)
