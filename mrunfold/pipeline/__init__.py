"""Reconstruct a scan with given settings into a folder of results."""

from mrunfold.pipeline.run import Summary, reconstruct
from mrunfold.pipeline.settings import ReconSettings, parse_slices

__all__ = ["ReconSettings", "Summary", "parse_slices", "reconstruct"]
