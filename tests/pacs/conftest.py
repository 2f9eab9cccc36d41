"""A certificate for servers of tests."""

from __future__ import annotations

import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pacs"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl that can make a certificate")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="session")
def alone() -> list[str]:
    """The words before a command that runs it in a network namespace of its own, as Orthanc must."""
    words = ["unshare", "-n", "bash", "-c", 'ip link set lo up && exec "$@"', "alone"]
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    try:
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
            raise FileNotFoundError
    except FileNotFoundError:
        pytest.skip("no network namespace can be made here: unshare -n needs root and iproute2")
    return words
