"""Orthanc and pushes to it, alone in a network namespace; prints what happened as JSON.

Orthanc listens on all interfaces, so this runs under `unshare -n`, as test_orthanc.py has it.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pydicom

from mrunfold.errors import InputError
from mrunfold.pacs import find_instances, ledger_path, parse_peer, parse_url, push

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
REST, PEER = "http://127.0.0.1:8042", "ORTHANC@127.0.0.1:4242"


class Orthanc:
    """A server whose storage outlives it: `kill` is SIGKILL, `start` comes back with what was stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.config = folder / "orthanc.json"
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": 8042,
            "DicomPort": 4242,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "Plugins": [str(PLUGIN)] if PLUGIN.exists() else [],
        }
        self.config.write_text(json.dumps(settings))
        self.start()

    def start(self) -> None:
        log = open(self.folder / "log.txt", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(["Orthanc", str(self.config)], stdout=log, stderr=log)
        for _ in range(300):
            try:
                rest("/system")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("Orthanc did not start: " + (self.folder / "log.txt").read_text()[-2000:])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def rest(path: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(REST + path, method=method), timeout=10) as answer:
        return answer.read()


def stored() -> dict[str, pydicom.Dataset]:
    """What Orthanc holds, by SOP Instance UID; a UID held twice is an error."""
    found = {}
    for number in json.loads(rest("/instances")):
        data = pydicom.dcmread(io.BytesIO(rest(f"/instances/{number}/file")))
        assert str(data.SOPInstanceUID) not in found
        found[str(data.SOPInstanceUID)] = data
    return found


def compare(folder: Path) -> dict[str, object]:
    """How what is stored differs from the files of a folder."""
    there = stored()
    files = {i.uid: pydicom.dcmread(i.path) for i in find_instances(folder)}
    return {
        "missing": sorted(set(files) - set(there)),
        "extra": sorted(set(there) - set(files)),
        "datasets_differ": [u for u in files if u in there and files[u] != there[u]],
        "pixels_differ": [u for u in files if u in there and pixels(files[u]) != pixels(there[u])],
        "count": len(there),
    }


def pixels(data: pydicom.Dataset) -> bytes:
    return data.get("PixelData") or data.FloatPixelData


def empty() -> None:
    for study in json.loads(rest("/studies")):
        rest(f"/studies/{study}", "DELETE")


def dies(server: Orthanc, at: int):
    """A progress callback that kills the server once."""

    def progress(done: float, total: int) -> None:
        if done == at:
            server.kill()

    return progress


def scenario(server: Orthanc, folder: Path, peer) -> dict[str, object]:
    """Push, resend, and push to a server that dies: once with patience, once without."""
    found: dict[str, object] = {}
    ledger_path(folder).unlink(missing_ok=True)
    found["first"] = push(folder, peer).sent
    found["after_first"] = compare(folder)
    ledger_path(folder).unlink()
    found["resend"] = push(folder, peer).sent
    found["after_resend"] = compare(folder)
    empty()
    ledger_path(folder).unlink()
    done = push(folder, peer, timeout=5, progress=dies(server, 4), sleep=lambda _: server.start())
    found["patient"] = done.sent
    found["after_patient"] = compare(folder)
    empty()
    ledger_path(folder).unlink()
    try:
        push(folder, peer, timeout=5, retries=0, progress=dies(server, 3), sleep=lambda _: None)
    except InputError as error:
        found["error"] = str(error)
    server.start()
    done = push(folder, peer)
    found["resumed"] = [done.before, done.sent]
    found["after_resumed"] = compare(folder)
    empty()
    return found


if __name__ == "__main__":
    work, series = Path(sys.argv[1]), Path(sys.argv[2])
    orthanc = Orthanc(work / "orthanc")
    try:
        results = {"store": scenario(orthanc, series, parse_peer(PEER))}
        if PLUGIN.exists():
            results["stow"] = scenario(orthanc, series, parse_url(REST + "/dicom-web"))
        print(json.dumps(results))
    finally:
        orthanc.kill()
