"""The denoiser E[x₀ | x_t] of images alone that ships, or that a file or another package gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from mrunfold.errors import InputError
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.prior import PRIORS, build_prior, make_prior
from mrunfold.networks.weights import DEFAULT_WEIGHTS, load_weights, weights_digest, weights_file
from mrunfold.operators import FourierMask, LinearOperator, Space
from mrunfold.operators.imaging import Inpaint
from mrunfold.protocols import PriorSpec

__all__ = ["load_prior", "prior_denoiser"]

PHOTOGRAPHS = "natural-prior"
SIGMA_NOTHING = 1.0  # of a measurement without samples: any number does


def prior_denoiser(
    name: str | None, domain: Space, device: torch.device | str
) -> tuple[Callable[[Tensor, Tensor], Tensor], dict[str, str]]:
    """Return (x_t, σ_t) → E[x₀ | x_t] for x_t (batch, *domain.shape), and what a run log says of it.

    name: of weights that ship, a file, or as `load_prior`; None for those that ship: the network of complex
    images without a measurement (A = 0), of real ones the prior of photographs.  Images: height about 1.
    """
    name = name or (DEFAULT_WEIGHTS if domain.dtype.is_complex else PHOTOGRAPHS)
    dtype = choose("auto", device)
    facts = {"prior": Path(name).name, "precision": str(dtype).removeprefix("torch.")}
    if _of_package(name):
        prior: nn.Module = load_prior(name)
    else:
        file = weights_file(name)
        facts["prior_sha256"] = weights_digest(file)
        prior = load_weights(name)[0] if _is_network(file) else load_prior(name)
    prior = prior.to(device)
    denoise = _blind(prior, domain, device) if isinstance(prior, PosteriorDenoiser) else prior

    def denoiser(x_t: Tensor, sigma_t: Tensor) -> Tensor:
        with convolutions_in(dtype, device):
            found: Tensor = denoise(x_t, sigma_t)
        return found

    return denoiser, facts


def _blind(
    network: PosteriorDenoiser, domain: Space, device: torch.device | str
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the network given nothing but x_t: sets of maps are images of their own."""
    none = torch.zeros(domain.shape[-2:], device=device)
    nothing: LinearOperator = FourierMask(none) if domain.dtype.is_complex else Inpaint(none, domain.shape[0])

    def denoise(x_t: Tensor, sigma_t: Tensor) -> Tensor:
        x = x_t.reshape(-1, *nothing.domain.shape)
        level = sigma_t.repeat_interleave(len(x) // len(sigma_t))
        level_y = torch.full_like(level, SIGMA_NOTHING)
        found: Tensor = network(x, level, torch.zeros_like(x), nothing, level_y)
        return found.reshape(x_t.shape)

    return denoise


def load_prior(name: str) -> nn.Module:
    """Return the prior (x, τ) → x of a file, of weights that ship, or of another package by its name, or
    package.module:Class, made without arguments; InputError for a file that holds none."""
    if _of_package(name):
        return make_prior(name).eval().requires_grad_(False)
    return _trained(weights_file(name))


def _of_package(name: str) -> bool:
    return (":" in name and Path(name).suffix != ".safetensors") or name in PRIORS.others()


def _is_network(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as held:
            return "network" in (held.metadata() or {})
    except SafetensorError as error:
        raise InputError(f"{file.name} is no file of weights ({error}); give a .safetensors file") from None


@lru_cache(maxsize=2)
def _trained(file: Path) -> nn.Module:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as held:
            spec = PriorSpec.model_validate_json((held.metadata() or {})["prior"])
            state = {key: held.get_tensor(key).float() for key in held.keys()}  # noqa: SIM118
        prior = build_prior(spec)
        prior.load_state_dict(state)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{file} does not hold a prior ({reason}); give the prior.safetensors of a run"
        ) from None
    return prior.eval().requires_grad_(False)
