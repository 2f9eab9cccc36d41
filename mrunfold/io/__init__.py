"""Raw data in, files out: readers that recognise their format, and writing that leaves no half file."""

from mrunfold.io.atomic import atomic_path
from mrunfold.io.crimes import data_crimes
from mrunfold.io.grid import crop_image, remove_oversampling
from mrunfold.io.recognise import open_scan
from mrunfold.io.scan import Geometry, Header, Scan
from mrunfold.io.source import scan_digest, sha256_of

__all__ = [
    "Geometry",
    "Header",
    "Scan",
    "atomic_path",
    "crop_image",
    "data_crimes",
    "open_scan",
    "remove_oversampling",
    "scan_digest",
    "sha256_of",
]
