"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real acquisitions; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MRUNFOLD_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set MRUNFOLD_SHARED_DATA to where the real scans lie")
    return folder
