"""Coils: noise covariance and whitening, compression, calibration region, ESPIRiT maps and their cache."""

from mrunfold.coils.cache import cache_folder, cached_maps
from mrunfold.coils.calibration import calibration_block
from mrunfold.coils.compression import compress, compression_matrix
from mrunfold.coils.espirit import EspiritSettings, espirit_maps, maps_from_block
from mrunfold.coils.noise import NoiseModel, covariance_of, live_coils, noise_model, unwhitening, whiten
from mrunfold.coils.transform import CoilTransform, find_whitening

__all__ = [
    "CoilTransform",
    "EspiritSettings",
    "NoiseModel",
    "cache_folder",
    "cached_maps",
    "calibration_block",
    "compress",
    "compression_matrix",
    "covariance_of",
    "espirit_maps",
    "find_whitening",
    "live_coils",
    "maps_from_block",
    "noise_model",
    "unwhitening",
    "whiten",
]
