"""Many scans and one setting → a folder of volumes, resumable."""

from mrunfold.batch.manifest import MANIFEST, Manifest
from mrunfold.batch.plan import Volume, find_volumes
from mrunfold.batch.run import Batch, run_batch

__all__ = ["MANIFEST", "Batch", "Manifest", "Volume", "find_volumes", "run_batch"]
