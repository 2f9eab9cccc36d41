"""A small scan and a server's configurations that take no time."""

from __future__ import annotations

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_mrd
from serving import COILS, SHAPE, quick


@pytest.fixture
def scan(tmp_path):
    return write_mrd(tmp_path / "scan.h5", coil_kspace(np.stack([letter_f(SHAPE)] * 3), COILS))


@pytest.fixture
def known(tmp_path):
    return quick(tmp_path)
