"""Draws of a posterior from its denoiser: samplers of the reverse process with their noise schedules, and
draws around the mean; all of them are pure functions."""

from mrunfold.diffusion.gaussian import draw_gaussian, root_levels
from mrunfold.diffusion.samplers import (
    Callback,
    Denoiser,
    Sampler,
    complex_noise_like,
    sample_ancestral,
    sample_ddim,
    sample_heun,
    sample_stochastic,
    start,
    warm_start,
)
from mrunfold.diffusion.schedules import geometric, karras, variance_preserving
from mrunfold.diffusion.zero_shot import (
    Measurement,
    sample_daps,
    sample_ddnm,
    sample_dds,
    sample_diffpir,
    sample_dps,
)

__all__ = [
    "Callback",
    "Denoiser",
    "Measurement",
    "Sampler",
    "complex_noise_like",
    "draw_gaussian",
    "geometric",
    "karras",
    "root_levels",
    "sample_ancestral",
    "sample_daps",
    "sample_ddim",
    "sample_ddnm",
    "sample_dds",
    "sample_diffpir",
    "sample_dps",
    "sample_heun",
    "sample_stochastic",
    "start",
    "variance_preserving",
    "warm_start",
]
