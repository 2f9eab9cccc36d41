"""The report in headless Chromium: it opens, complains of nothing and asks nobody."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mrunfold.evaluation import compare, evaluate_folder, write_outputs


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report of two runs over three volumes, and one that could not be scored."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for name in ("targets", "a", "b"):
        (folder / name).mkdir()
    for number, acquisition in enumerate(("AXT1", "AXT2", "AXT2")):
        image = rng.random((2, 40, 40)).cumsum(-1).astype(np.float32)
        with h5py.File(folder / "targets" / f"file{number}.h5", "w") as file:
            file["reconstruction_rss"] = image
            file.attrs["acquisition"] = acquisition
        for run, noise in (("a", 0.1), ("b", 0.3)):
            with h5py.File(folder / run / f"file{number}.h5", "w") as file:
                file["reconstruction"] = image + noise * rng.standard_normal(image.shape).astype(np.float32)
                file["std"] = np.full(image.shape, noise, np.float32)
    (folder / "a" / "stray.h5").write_bytes(b"")
    runs = [evaluate_folder(folder / run, folder / "targets") for run in ("a", "b")]
    how = {"draws": 100, "seed": 0}
    write_outputs(folder / "out", runs, compare(*runs, **how), **how)
    return folder / "out" / "report.html"


class Browser:
    """The few calls of the WebDriver protocol that the tests need."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,1400"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self._root += f"/session/{session}"

    def _send(self, verb: str, path: str, body: dict | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._root + path, data, {"Content-Type": "application/json"}, method=verb
        )
        with urllib.request.urlopen(request, timeout=100) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        self._send("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        return self._send("POST", "/execute/sync", {"script": script, "args": []})

    def log(self, kind: str) -> list[dict]:
        return self._send("POST", "/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def screenshot(self) -> bytes:
        return base64.b64decode(self._send("GET", "/screenshot"))

    def close(self) -> None:
        self._send("DELETE", "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no chromium and chromedriver; on Debian, apt install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        found = _connect(port)
        yield found
        found.close()
    finally:
        process.terminate()
        process.wait()


def _connect(port: int) -> Browser:
    deadline = time.monotonic() + 60
    while True:
        try:
            return Browser(port)
        except urllib.error.HTTPError as error:
            pytest.skip(f"chromium does not start here: {error.read()[:300].decode('utf-8', 'replace')}")
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_the_report_opens_without_errors_or_network(browser, report):
    browser.open(report.as_uri())
    assert [entry for entry in browser.log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert {url.split(":")[0] for url in browser.requests()} <= {"file", "data"}
    assert browser.run("return document.title") == "Evaluation of a and b"
    assert browser.run("return document.readyState") == "complete"
    shown = browser.run("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(shown) == 4, "the worst and the median volume of two runs"
    assert all(width > 300 for width in shown)
    assert browser.run("return document.querySelectorAll('svg path').length") > 10
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))
    assert picture.min() < 100 < 240 < np.median(picture), "text on a white page"


def test_the_page_forbids_what_it_does_not_need(browser, report):
    broken = report.with_name("broken.html")
    text = report.read_text(encoding="utf-8")
    added = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "ran"</script></body>'
    broken.write_text(text.replace("</body>", added), encoding="utf-8")
    browser.open(broken.as_uri())
    assert browser.run("return document.title") == "Evaluation of a and b"
    said = [entry["message"] for entry in browser.log("browser")]
    assert sum("Content Security Policy" in message for message in said) >= 2
