"""What A, Aᴴ and AᴴA of Sense cost, beside the batched FFTs that they cannot do without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from mrunfold.errors import InputError
from mrunfold.operators import Sense

__all__ = ["run"]

TARGET = 1.3


def run(coils: int = 15, size: int = 320, repeats: int = 41) -> float:
    """Print, and return, the time of normal() over that of its two batched FFTs alone, a 2-D mask.

    coils coil images of size×size complex64 on the CPU; the two take turns in the same process, and the
    ratio is the median of `repeats` ratios of neighbours in time.  The target is ≤ 1.3.
    """
    if min(coils, size, repeats) < 1:
        raise InputError(f"expected coils, size and repeats ≥ 1, got {coils}, {size} and {repeats}")
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, coils, size, size, dtype=torch.complex64, generator=generator)
    mask = torch.rand(size, size, generator=generator) < 0.25
    mask[: (size + 1) // 2, 0] = True  # varies along both axes at any size, so both are transformed
    images = torch.randn(coils, size, size, dtype=torch.complex64, generator=generator)
    x = torch.randn(1, size, size, dtype=torch.complex64, generator=generator)
    operator = Sense(maps, mask)

    def transforms() -> torch.Tensor:
        return torch.fft.ifft2(torch.fft.fft2(images, norm="ortho"), norm="ortho")

    with torch.inference_mode():
        for _ in range(3):
            operator.normal(x), transforms()
        pairs = [(_seconds(lambda: operator.normal(x)), _seconds(transforms)) for _ in range(repeats)]
        y = operator(x)
        once = [statistics.median(_seconds(f) for _ in range(repeats)) for f in (
            lambda: operator(x), lambda: operator.adjoint(y), lambda: torch.fft.fft2(images, norm="ortho")
        )]  # fmt: skip
    normal, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"Sense, {coils} coils, {size}×{size}, complex64, {torch.get_num_threads()} CPU threads")
    print(f"  normal()             {normal * 1e3:8.2f} ms")
    print(f"  its two FFTs alone   {alone * 1e3:8.2f} ms")
    print(f"  ratio                {ratio:8.2f}     (median of {repeats}; target ≤ {TARGET})")
    for name, seconds in zip(("A x", "Aᴴ y", "one FFT alone"), once, strict=True):
        print(f"  {name:20s} {seconds * 1e3:8.2f} ms")
    return ratio


def _seconds(call: Callable[[], torch.Tensor]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
