"""A small network with random weights, and its compiled file."""

from __future__ import annotations

import pytest
from untrained import random_network

from mrunfold.runtime import export_mean


@pytest.fixture(scope="session")
def network():
    return random_network()


@pytest.fixture(scope="session")
def model_file(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model.pt"
    export_mean(out, network, {"file": "random.safetensors", "sha256": "0" * 64})
    return out
