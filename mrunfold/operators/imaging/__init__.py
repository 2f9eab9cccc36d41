"""Operators on photographs: real images (*batch, channel, y, x), heights between 0 and 1."""

from mrunfold.operators.imaging.blur import Blur, CircularBlur
from mrunfold.operators.imaging.colour import ColourMix, grey
from mrunfold.operators.imaging.downsample import Downsample
from mrunfold.operators.imaging.inpaint import Inpaint
from mrunfold.operators.imaging.items import Flat, Items
from mrunfold.operators.imaging.kernels import (
    bicubic_kernel,
    box_kernel,
    disc_kernel,
    gaussian_kernel,
    motion_kernel,
)
from mrunfold.operators.imaging.sensing import CompressedSensing

__all__ = [
    "Blur",
    "CircularBlur",
    "ColourMix",
    "CompressedSensing",
    "Downsample",
    "Flat",
    "Inpaint",
    "Items",
    "bicubic_kernel",
    "box_kernel",
    "disc_kernel",
    "gaussian_kernel",
    "grey",
    "motion_kernel",
]
