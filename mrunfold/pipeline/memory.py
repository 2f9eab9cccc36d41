"""What a slice will take, estimated from the header before anything of it is read."""

from __future__ import annotations

from mrunfold.io.memory import require_memory
from mrunfold.io.scan import Scan
from mrunfold.pipeline.settings import ReconSettings

__all__ = ["check_memory"]

# Arrays of the size of a slice's k-space that live together: read, checked, on the final grid, masked,
# whitened; as many again where all coils stay to the end.
COPIES, COPIES_OF_ALL = 6, 12
BYTES_A_PIXEL = 300  # of an image, while a network or an iteration works on it
BYTES_A_SAMPLE = 50  # of each pixel of a posterior sample, until its spread is known


def check_memory(scan: Scan, settings: ReconSettings) -> None:
    """Raise InputError where one slice is estimated to take more memory than there is."""
    header = scan.header
    stored = 8 * header.coils * header.matrix[0] * header.matrix[1]
    pixels = header.unoversampled * header.matrix[1]
    copies = COPIES_OF_ALL if settings.coils == "all" else COPIES
    samples = settings.parameters.get("samples", 0)
    samples = samples if isinstance(samples, int) else 0
    needed = copies * stored + (BYTES_A_PIXEL + BYTES_A_SAMPLE * samples) * pixels
    remedy = "use a machine with more"
    if samples:
        remedy = "take fewer --samples"
    if settings.coils == "all":
        remedy = "compress the coils (--coils auto)"
    require_memory(needed, f"a slice of {scan.path.name}", remedy)
