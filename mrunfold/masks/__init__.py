"""Sampling masks: fastMRI's masks, Poisson-disc, Gaussian, radial, and what a file acquired."""

from mrunfold.masks.acquired import acquired, calibration_region
from mrunfold.masks.base import Mask
from mrunfold.masks.cartesian import equispaced, equispaced_fraction, magic, random, seed_from_name
from mrunfold.masks.draw import INTERLEAVES, KINDS, LINES, MASKS, draw
from mrunfold.masks.gaussian import gaussian, gaussian1d
from mrunfold.masks.poisson import poisson
from mrunfold.masks.radial import radial

__all__ = [
    "INTERLEAVES",
    "KINDS",
    "LINES",
    "MASKS",
    "Mask",
    "acquired",
    "calibration_region",
    "draw",
    "equispaced",
    "equispaced_fraction",
    "gaussian",
    "gaussian1d",
    "magic",
    "poisson",
    "radial",
    "random",
    "seed_from_name",
]
