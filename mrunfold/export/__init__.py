"""Writing results: geometry, NIfTI, the run record."""

from mrunfold.export.geometry import Stack, View, lps_to_ras, radiological_view, slice_affine, stacks
from mrunfold.export.nifti import write_nifti
from mrunfold.export.record import peak_memory_mb, platform_facts, versions, write_json

__all__ = [
    "Stack",
    "View",
    "lps_to_ras",
    "peak_memory_mb",
    "platform_facts",
    "radiological_view",
    "slice_affine",
    "stacks",
    "versions",
    "write_json",
    "write_nifti",
]
