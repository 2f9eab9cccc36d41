"""Which arrays of a slice are written, and under which names."""

from __future__ import annotations

import numpy as np

from mrunfold.export import ZERO_FILLED, sample_name
from mrunfold.pipeline.slices import Job, SliceImages

__all__ = ["SPREAD", "datasets"]

SPREAD = ("std", "quantile_05", "quantile_95")


def datasets(
    images: SliceImages, job: Job, references: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what recon.h5 gets of a slice: magnitudes float32 of the final image, and all other arrays.

    references: target, zero-filled and complex image, mask, complex samples and coil maps too.
    """
    found = {"reconstruction": images.recon}
    others: dict[str, np.ndarray] = {}
    if references and images.target is not None:
        found["target"] = images.target
    if images.zero_filled is not None and job.method.name != ZERO_FILLED:
        # What a method began with, for readers to compare with, without a second run.
        found[ZERO_FILLED] = images.zero_filled
    found |= dict(images.maps())
    if references:
        others = {"image": images.image, "mask": images.mask.array}
        if "complex" in job.settings.save and images.complex_samples is not None:
            for number, one in enumerate(images.complex_samples):
                others[f"complex_{sample_name(number)}"] = one
        if images.coil_maps is not None:
            others["maps"] = images.coil_maps
    return found, others
