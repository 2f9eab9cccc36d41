"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

# Before numpy is loaded: small problems on many spinning threads take longer, not shorter.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real acquisitions; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MRUNFOLD_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set MRUNFOLD_SHARED_DATA to where the real scans lie")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Coil maps are kept in a folder of this run: those of another version, or of a user, are no test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRUNFOLD_CACHE", str(tmp_path_factory.mktemp("maps")))
        yield
