"""Along which axis a 3-D scan is split into slices."""

from __future__ import annotations

from mrunfold.io.scan import Scan
from mrunfold.masks import LINES
from mrunfold.pipeline.settings import ReconSettings

__all__ = ["split_for"]


def split_for(scan: Scan, settings: ReconSettings) -> Scan:
    """Return a scan with its slices along the axis that its mask leaves complete.

    Of a 3-D scan, masks of points undersample both phase encodings, so that its readout is transformed; masks
    of lines undersample the first, so that its partitions are, where they are complete.  What a file acquired
    says for itself.
    """
    if settings.mask == "acquired":
        return scan
    return scan.split("partition" if settings.mask in LINES else "readout")
