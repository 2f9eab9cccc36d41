"""Reverse diffusion: noise schedules, and samplers that are pure functions of a denoiser."""

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
from mrunfold.diffusion.schedules import geometric, karras

__all__ = [
    "Callback",
    "Denoiser",
    "Sampler",
    "complex_noise_like",
    "geometric",
    "karras",
    "sample_ancestral",
    "sample_ddim",
    "sample_heun",
    "sample_stochastic",
    "start",
    "warm_start",
]
