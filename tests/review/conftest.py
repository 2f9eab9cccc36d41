"""One browser for each module of tests: it takes seconds to start."""

from __future__ import annotations

import pytest
from browser import chromium


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads):
    with chromium(downloads) as one:
        yield one
