"""From weights to a TorchScript file of the posterior mean, compared with Python before it has its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.operators import Sense
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem, rescale
from mrunfold.runtime.graph import no_deprecation, trace

__all__ = ["FORMAT", "TOLERANCE", "Inputs", "example", "export_mean", "mean_in_python"]

FORMAT = "mrunfold-mean-1"  # the file says so, and the C++ program asks for it
TOLERANCE = 1e-4
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
# (slices, sets, coils, readout, phase), and whether the mask is of whole lines: sizes that share nothing with
# the ones that are traced, so that a number frozen by the trace shows.
TRACED = (2, 1, 3, 24, 20)
COMPARED = (((1, 1, 5, 30, 33), True), ((3, 2, 2, 17, 26), False), ((1, 1, 1, 20, 24), False))


def example(shape: Sequence[int], lines: bool = False, seed: int = 0) -> Inputs:
    """Return (k-space, maps, mask, σ) of simulated discs, shape = (slices, sets, coils, readout, phase).

    kspace: (slice, coil, y, x) with noise of σ, in arbitrary units; maps: (slice, set, coil, y, x); mask:
    (slice, y, x), a third of the points or of the whole lines, and the centre; sigma: (slice,).
    """
    slices, sets, coils, height, width = shape
    matrix = (height, width)
    generator = torch.Generator().manual_seed(seed)
    maps = torch.stack([simulated_maps(coils, matrix, generator) for _ in range(slices * sets)])
    maps = maps.unflatten(0, (slices, sets))
    axes = [torch.linspace(-1, 1, n) for n in matrix]
    radius = (axes[0][:, None] ** 2 + axes[1] ** 2).sqrt()
    x = ((radius < 0.8) * (1 - 0.5 * (radius < 0.4))).to(torch.complex64).expand(slices, sets, *matrix)
    mask = torch.rand(slices, 1 if lines else matrix[0], matrix[1], generator=generator) < 0.33
    mask = mask.expand(slices, *matrix).clone()
    centre = [slice(n // 2 - n // 8, n // 2 + n // 8 + 1) for n in matrix]
    mask[:, slice(None) if lines else centre[0], centre[1]] = True
    A = Sense(maps, mask)
    noise = torch.randn((slices, *A.range.shape), dtype=torch.complex64, generator=generator)
    units = 37.0  # not those of the network
    kspace = units * (A(x) + 0.01 * A.mask[:, None] * noise)
    return kspace, maps, A.mask, torch.full((slices,), 0.01 * units)


def mean_in_python(network: PosteriorDenoiser, inputs: Inputs) -> Tensor:
    """Return what the file's image should be, in the units of k-space, by the package's own way."""
    kspace, maps, mask, sigma = inputs
    A = Sense(maps, mask)
    y, sigma_y, scale = rescale(kspace, A, sigma)
    return network.mean(Problem(y, A, sigma_y, scale)) * scale[:, None, None, None]


@torch.no_grad()
def export_mean(
    out: Path,
    network: PosteriorDenoiser,
    metadata: Mapping[str, str],
    shape: tuple[int, int, int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write E[x₀ | y] with its operator as TorchScript, whole or not at all, and return what the file says.

    network: for complex images, in evaluation mode on the CPU; metadata: what `load_weights` says of it;
    shape: (coils, readout, phase) at which the file is compared with Python besides the small ones;
    progress: told of (steps done, steps in all).
    Raises InputError for another kind of network and RuntimeError where the file does not agree to 1e-4.
    """
    if network.prior(0).kind != "complex":
        raise InputError(
            f"{metadata.get('file', 'this network')} is for photographs; compile takes weights for MRI"
        )
    about = _about(network, metadata)
    compared = [*COMPARED, *([((1, 1, *shape), False)] if shape else [])]
    worst = 0.0
    with atomic_path(out) as part, no_deprecation():
        module = trace(network, example(TRACED))
        torch.jit.save(module, str(part), _extra_files={"format": FORMAT, "about.json": json.dumps(about)})
        loaded = torch.jit.load(str(part))
        for seed, (sizes, lines) in enumerate(compared, start=1):
            progress(seed, len(compared) + 1)
            difference = _difference(loaded, network, example(sizes, lines, seed))
            if not difference <= TOLERANCE:
                raise RuntimeError(
                    f"the compiled network differs from Python by {difference:.1e} of the image's height at "
                    f"{sizes} with PyTorch {torch.__version__}"
                )
            worst = max(worst, difference)
    return {**about, "compared": [list(sizes) for sizes, _ in compared], "difference": worst}


def _difference(loaded: Any, network: PosteriorDenoiser, inputs: Inputs) -> float:
    """Return the largest difference of the file's image and Python's over the latter's height."""
    expected = mean_in_python(network, inputs)
    return float((loaded(*inputs)[0] - expected).abs().max() / expected.abs().max())


def _about(network: PosteriorDenoiser, metadata: Mapping[str, str]) -> dict[str, Any]:
    from mrunfold import __version__

    named = {f"weights_{key}": metadata[key] for key in ("file", "sha256") if key in metadata}
    return {"mrunfold": __version__, "torch": torch.__version__, **named, **network.describe()}
