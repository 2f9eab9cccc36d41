"""mrunfold: MRI reconstruction by Diff-Unfolding, from raw multicoil k-space to reviewable images."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrunfold.pipeline.arrays import Recon, recon

try:
    __version__ = version("mrunfold")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Recon", "__version__", "recon"]


def __getattr__(name: str) -> Any:
    # `import mrunfold` is quick: torch comes with the first use of what needs it.
    if name in ("Recon", "recon"):
        from mrunfold.pipeline import arrays

        return getattr(arrays, name)
    raise AttributeError(f"module 'mrunfold' has no attribute {name!r}")
