"""Writing results: geometry, NIfTI, DICOM, the run record."""

from mrunfold.export.facts import header_facts
from mrunfold.export.geometry import (
    Stack,
    View,
    lps_to_ras,
    radiological_view,
    slice_affine,
    stacks,
    together,
    turned,
)
from mrunfold.export.nifti import check_nifti, write_nifti
from mrunfold.export.record import peak_memory_mb, platform_facts, versions, write_json
from mrunfold.export.result import (
    ZERO_FILLED,
    Reconstruction,
    open_reconstruction,
    sample_name,
)

__all__ = [
    "ZERO_FILLED",
    "Reconstruction",
    "Stack",
    "View",
    "check_nifti",
    "header_facts",
    "lps_to_ras",
    "open_reconstruction",
    "peak_memory_mb",
    "platform_facts",
    "radiological_view",
    "sample_name",
    "slice_affine",
    "stacks",
    "together",
    "turned",
    "versions",
    "write_json",
    "write_nifti",
]
