"""mrunfold: MRI reconstruction by Diff-Unfolding, from raw multicoil k-space to reviewable images."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mrunfold")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
