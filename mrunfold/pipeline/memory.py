"""Memory that a slice needs, estimated from the header before samples are read."""

from __future__ import annotations

from mrunfold.io.memory import available_memory, require_memory
from mrunfold.io.scan import Scan
from mrunfold.pipeline.settings import ReconSettings

__all__ = ["check_memory", "has_room_ahead"]

# Arrays of the size of a slice's k-space that live together: read, checked, on the final grid, masked,
# whitened; as many again where all coils stay to the end.
COPIES, COPIES_OF_ALL = 6, 12
BYTES_A_PIXEL = 300  # of an image, while a network or an iteration works on it
BYTES_A_SAMPLE = 50  # of each pixel of a posterior sample, until its spread is known


def check_memory(scan: Scan, settings: ReconSettings) -> None:
    """Raise InputError if one slice needs more memory than is free, by the estimate."""
    needed = _needed(scan, settings)
    remedy = "use a machine with more"
    if _samples(settings):
        remedy = "take fewer --samples"
    if settings.coils == "all":
        remedy = "compress the coils (--coils auto)"
    require_memory(needed, f"a slice of {scan.path.name}", remedy)


def has_room_ahead(scan: Scan, settings: ReconSettings) -> bool:
    """Return whether there is memory to prepare the next slice during the reconstruction of this one."""
    return 2 * _needed(scan, settings) <= available_memory()


def _needed(scan: Scan, settings: ReconSettings) -> float:
    header = scan.header
    stored = 8 * header.coils * header.matrix[0] * header.matrix[1]
    pixels = header.unoversampled * header.matrix[1]
    copies = COPIES_OF_ALL if settings.coils == "all" else COPIES
    return copies * stored + (BYTES_A_PIXEL + BYTES_A_SAMPLE * _samples(settings)) * pixels


def _samples(settings: ReconSettings) -> int:
    samples = settings.parameters.get("samples", 0)
    return samples if isinstance(samples, int) else 0
