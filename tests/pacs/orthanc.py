"""Orthanc and pushes to it, alone in a network namespace; prints what happened as JSON.

`orthanc.py --run FOLDER COMMAND …` runs a command while Orthanc listens.

Orthanc listens on all interfaces, so this runs under `unshare -n`, as test_orthanc.py has it.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pydicom

from mrunfold.errors import InputError
from mrunfold.pacs import Commitment, find_instances, ledger_path, parse_peer, parse_url, push
from mrunfold.pacs.peer import Tls

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
VIEWER = PLUGIN.with_name("libOrthancWebViewer.so")
REST, PEER = "http://127.0.0.1:8042", "ORTHANC@127.0.0.1:4242"
ANSWERS = 11114  # the port at which Orthanc has been told to answer requests for storage commitment


class Orthanc:
    """A server whose storage outlives it: `kill` is SIGKILL, `start` comes back with what was stored."""

    def __init__(self, folder: Path, certificate: Path | None = None, viewer: bool = False) -> None:
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
            "DicomAlwaysAllowFind": True,
            "DicomModalities": {"mrunfold": ["MRUNFOLD", "127.0.0.1", ANSWERS]},
            "Plugins": [str(one) for one in (PLUGIN, *([VIEWER] if viewer else [])) if one.exists()],
            "WebViewer": {"CachePath": str(folder / "viewer")},
        }
        if certificate is not None:
            settings |= secure(certificate)
        self.config.write_text(json.dumps(settings))
        self.start()

    def start(self) -> None:
        log = open(self.folder / "log.txt", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(["Orthanc", str(self.config)], stdout=log, stderr=log)
        for _ in range(300):
            try:
                with socket.create_connection(("127.0.0.1", 8042), 1):
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("Orthanc did not start: " + (self.folder / "log.txt").read_text()[-2000:])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def secure(certificate: Path) -> dict[str, object]:
    """Settings of an Orthanc whose DICOM port speaks TLS alone, and wants a certificate of the other side."""
    key = certificate.with_name("key.pem")
    return {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(certificate),
        "DicomModalities": {
            "mrunfold": {"AET": "MRUNFOLD", "Host": "127.0.0.1", "Port": ANSWERS, "UseDicomTls": True}
        },
    }


class Proxy(socketserver.ThreadingTCPServer):
    """HTTPS before Orthanc, as many install it: that of Debian's Orthanc 1.10.1 ends it at any request."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, certificate: Path) -> None:
        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(self.request, server_side=True) as outer,
                    socket.create_connection(("127.0.0.1", 8042)) as inner,
                ):
                    back = threading.Thread(target=relay, args=(inner, outer), daemon=True)
                    back.start()
                    relay(outer, inner)
                    back.join()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        super().__init__(("127.0.0.1", 8443), Relay)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


def relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


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


def verified(folder: Path, peer) -> dict[str, object]:
    """Push with `verify` an export that Orthanc then loses one instance of, and ask for its previews.

    Storage commitment is asked for with a port, without one, and by a title that Orthanc does not know.
    """
    found: dict[str, object] = {}
    ledger_path(folder).unlink(missing_ok=True)
    count = len(find_instances(folder))
    web = not hasattr(peer, "title")
    kept = Commitment(20, None if web else ANSWERS)
    done = push(folder, peer, verify=True, commitment=kept)
    found["first"] = [done.sent == count, done.committed, count]
    found["stored"] = compare(folder)
    found["previews"] = previews()
    done = push(folder, peer, verify=True, commitment=kept)
    found["second"] = [done.sent, done.before == count, done.committed]
    if not web:
        found["no_port"] = push(folder, peer, verify=True, commitment=Commitment(1)).notes
        stranger = parse_peer(PEER, "STRANGER")
        found["unknown"] = push(folder, stranger, verify=True, commitment=Commitment(1)).notes
    lost = json.loads(rest("/instances"))[0]
    rest(f"/instances/{lost}", "DELETE")
    done = push(folder, peer, verify=True, commitment=kept)
    found["after_a_loss"] = [done.sent, done.before == count - 1, list(done.notes)]
    empty()
    return found


def previews() -> list[dict[str, object]]:
    """What Orthanc draws of each instance: class, frames, and of each frame the size and range of grey."""
    drawn = []
    for number in json.loads(rest("/instances")):
        data = pydicom.dcmread(io.BytesIO(rest(f"/instances/{number}/file")))
        frames = [
            picture(f"/instances/{number}/frames/{n}/preview") for n in range(data.get("NumberOfFrames", 1))
        ]
        name, shape = data.SOPClassUID.name, [data.Rows, data.Columns]
        drawn.append({"class": name, "shape": shape, "frames": frames, "uid": str(data.SOPInstanceUID)})
    return drawn


def picture(path: str) -> dict[str, object] | None:
    """The preview at an address; None where Orthanc cannot draw it."""
    import numpy as np
    from PIL import Image

    try:
        image = np.asarray(Image.open(io.BytesIO(rest(path))).convert("L"))
    except urllib.error.HTTPError:
        return None
    return {"shape": list(image.shape), "pixels": image.astype(int).tolist()}


def over_tls(folder: Path, certificate: Path) -> dict[str, object]:
    """Push to an Orthanc that speaks TLS alone: without its authority, without TLS, and as it wants it."""
    found: dict[str, object] = {}
    ledger_path(folder).unlink(missing_ok=True)
    trusted, own = Tls(certificate), Tls(certificate, (certificate, certificate.with_name("key.pem")))
    web = "https://127.0.0.1:8443/dicom-web"
    refused = {
        "no TLS": parse_peer(PEER),
        "not trusted": parse_peer(PEER, tls=Tls()),
        "no certificate": parse_peer(PEER, tls=trusted),
        "web, not trusted": parse_url(web),
    }
    proxy = Proxy(certificate)
    for name, peer in refused.items():
        try:
            found[name] = push(folder, peer, timeout=5, retries=0, pause=0).sent
        except InputError as error:
            found[name] = str(error)
    done = push(folder, parse_peer(PEER, tls=own), verify=True, commitment=Commitment(20, ANSWERS))
    found["store"] = [done.sent, done.committed]
    if PLUGIN.exists():
        done = push(folder, parse_url(web, tls=trusted), verify=True)
        found["stow"] = [done.sent, done.before]
        found["qido"] = push(folder, parse_url(web, tls=trusted)).asked
    proxy.shutdown()
    return found


def run_with(folder: Path, command: list[str]) -> int:
    """Run a command while Orthanc listens; return its exit status."""
    server = Orthanc(folder)
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        server.kill()


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        raise SystemExit(run_with(Path(sys.argv[2]), sys.argv[3:]))
    work, series, exported, certificate = map(Path, sys.argv[1:])
    orthanc = Orthanc(work / "orthanc")
    try:
        peers = {"store": parse_peer(PEER)}
        if PLUGIN.exists():
            peers["stow"] = parse_url(REST + "/dicom-web")
        results = {way: scenario(orthanc, series, peer) for way, peer in peers.items()}
        for way, peer in peers.items():
            results[way]["verified"] = verified(exported, peer)
        orthanc.kill()
        orthanc = Orthanc(work / "secure", certificate)
        results["tls"] = over_tls(exported, certificate)
        print(json.dumps(results))
    finally:
        orthanc.kill()
