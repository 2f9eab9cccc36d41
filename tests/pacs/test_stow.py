"""Pushing by STOW-RS to an HTTP server in this process."""

from __future__ import annotations

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from dicomfiles import server_context, write_series

from mrunfold.errors import InputError
from mrunfold.pacs import find_instances, ledger_path, parse_url, push
from mrunfold.pacs.peer import Tls


class Service:
    """A DICOMweb service that keeps what it gets; `fail(n)` gives the HTTP code of the n-th request."""

    def __init__(self, fail=lambda n: 200, tls=None):
        service = self
        self.stored, self.calls, self.headers, self.answers = {}, 0, [], True

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                import io

                import pydicom

                body = self.rfile.read(int(self.headers["Content-Length"]))
                number, service.calls = service.calls, service.calls + 1
                service.headers.append(dict(self.headers))
                code = fail(number)
                if code == "die":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                boundary = re.search(r"boundary=(\w+)", self.headers["Content-Type"])[1].encode()
                (part,) = body.split(b"--" + boundary)[1:-1]
                data = part.split(b"\r\n\r\n", 1)[1][:-2]
                uid = str(pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID)
                item = {"00081155": {"vr": "UI", "Value": [uid]}}
                answer = {"00081199": {"vr": "SQ", "Value": [item]}}
                if code == 409:
                    item["00081197"] = {"vr": "US", "Value": [0xA900]}
                    answer = {"00081198": {"vr": "SQ", "Value": [item]}}
                elif code == 200:
                    service.stored.setdefault(uid, []).append(data)
                self.send_response(code)
                self.send_header("Content-Type", "application/dicom+json")
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:9/studies")
                self.end_headers()
                self.wfile.write(b"<html>" if fail(number) == 201 else json.dumps(answer).encode())

            def do_GET(self):
                if not service.answers:
                    self.send_error(501)
                    return
                query = parse_qs(urlsplit(self.path).query)
                first, most = int(query["offset"][0]), int(query["limit"][0])
                uids = sorted(service.stored)[first : first + most]
                self.send_response(200 if uids else 204)
                self.send_header("Content-Type", "application/dicom+json")
                self.end_headers()
                if uids:
                    found = [{"00080018": {"vr": "UI", "Value": [u]}} for u in uids]
                    self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/dicom-web"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def web(folder, url, *, authorization=None, tls=None, **options):
    return push(
        folder, parse_url(url, authorization, tls), pause=0, timeout=5, sleep=lambda _: None, **options
    )


def test_stow_sends_the_files_bytes_and_goes_on_after_errors(tmp_path):
    folder = write_series(tmp_path / "series", 8)
    with Service(lambda n: {2: 503, 4: "die"}.get(n, 200)) as service:
        assert web(folder, service.url).sent == 8
        assert service.calls == 10
    sent = {i.uid: [i.path.read_bytes()] for i in find_instances(folder)}
    assert service.stored == sent
    assert all("Authorization" not in headers for headers in service.headers)


def test_stow_counts_only_what_is_confirmed(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    with (
        Service(lambda n: 409 if n == 1 else 200) as service,
        pytest.raises(InputError, match=r"refused 1 of 3 files.*0xA900"),
    ):
        web(folder, service.url)
    with Service(lambda n: 201) as service, pytest.raises(InputError, match=r"not DICOM JSON"):
        web(folder, service.url, retries=0)


@pytest.mark.parametrize(
    ("code", "said"), [(401, "MRUNFOLD_DICOMWEB_AUTH"), (302, "address"), (404, "address")]
)
def test_what_waiting_does_not_mend_is_said_at_once(tmp_path, code, said):
    folder = write_series(tmp_path / "series", 2)
    with Service(lambda n: code) as service, pytest.raises(InputError, match=said):
        web(folder, service.url)
    assert service.calls == 1


def test_stow_over_tls_with_authorization(tmp_path, certificate):
    folder = write_series(tmp_path / "series", 1)
    with Service(tls=server_context(certificate)) as service:
        with pytest.raises(InputError, match=r"certificate is not trusted"):
            web(folder, service.url)
        web(folder, service.url, tls=Tls(certificate[0]), authorization="Bearer secret-word")
    assert service.headers[0]["Authorization"] == "Bearer secret-word"
    assert "secret-word" not in ledger_path(folder).read_text()
