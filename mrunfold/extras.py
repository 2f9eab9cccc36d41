"""Packages that only some commands need, and the line that says which extra installs them."""

from __future__ import annotations

import importlib.util

from mrunfold.errors import InputError

__all__ = ["EXTRAS", "missing_package", "require"]

# Package as it is imported → extra of pyproject.toml that installs it.
EXTRAS = {
    "cryptography": "cluster",
    "dask": "cluster",
    "deepinv": "bench",
    "distributed": "cluster",
    "fastmri": "bench",
    "highdicom": "dicom",
    "lightning": "train",
    "lpips": "bench",
    "nilearn": "demo",
    "pingouin": "study",
    "pydicom": "dicom",
    "pynetdicom": "clinical",
    "pytest": "dev",
    "statsmodels": "study",
    "tensorboardX": "train",
}


def require(*packages: str, what: str) -> None:
    """Raise InputError if one of `packages`, keys of EXTRAS, is not installed; import nothing.

    what: who needs them, the subject of the message.  Called before work begins, so that nothing is lost.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{what} needs {package}, {_remedy(package)}")


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Return the line for an import that failed for want of an extra, None where it is no extra's."""
    package = (error.name or "").partition(".")[0]
    return f"this needs {package}, {_remedy(package)}" if package in EXTRAS else None


def _remedy(package: str) -> str:
    return f"which is not installed: pip install 'mrunfold[{EXTRAS[package]}]'"
