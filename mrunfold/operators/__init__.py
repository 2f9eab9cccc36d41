"""Linear operators of the measurement, which every method and the network use."""

from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.batched import Batched, stack
from mrunfold.operators.coils import Coils
from mrunfold.operators.fourier import FourierMask, Identity, centring, fft2c, ifft2c
from mrunfold.operators.nufft import Nufft
from mrunfold.operators.sense import Sense

__all__ = [
    "Batched",
    "Coils",
    "FourierMask",
    "Identity",
    "LinearOperator",
    "Nufft",
    "Sense",
    "Space",
    "centring",
    "fft2c",
    "ifft2c",
    "stack",
]
