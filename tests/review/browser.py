"""Chromium without a window, driven through chromedriver by plain HTTP (W3C WebDriver)."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

READY = "research use, not for diagnosis"  # in the title of a page that is drawn
HARMLESS = "GL Driver Message"  # software rendering says that reading pixels back is slow
KEYS = {"up": "\ue013", "down": "\ue015", "tab": "\ue004", "end": "\ue010", "home": "\ue011", "esc": "\ue00c"}


class Browser:
    """One window; `console` and `requests` are what happened since they were last asked for."""

    def __init__(self, port: int, downloads: Path, size: tuple[int, int] = (1280, 800)) -> None:
        self._base = f"http://127.0.0.1:{port}"
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--enable-unsafe-swiftshader",
            "--disable-dev-shm-usage",
        ]
        arguments += [f"--window-size={size[0]},{size[1]}", "--force-device-scale-factor=1"]
        options = {
            "args": [*arguments, "--disable-background-networking", "--no-first-run"],
            "prefs": {"download.default_directory": str(downloads)},
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        value = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{value['sessionId']}"
        self._call("POST", "/timeouts", {"script": 300_000, "pageLoad": 300_000})
        # The size of the page itself, without the frame of a window.
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=330) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"].splitlines()[0]) from None

    def close(self) -> None:
        self._call("DELETE", "")

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path, ready: str, seconds: float = 240) -> None:
        """Load a page from its file and wait until its title holds `ready`."""
        self._call("POST", "/url", {"url": page.as_uri()})
        self.wait(f"document.title.includes({json.dumps(ready)})", seconds)

    def wait(self, condition: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            if time.monotonic() > end:
                raise AssertionError(f"never became true: {condition}; console: {self.console()}")
            time.sleep(0.05)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page; promises are waited for."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def settle(self) -> None:
        """Wait until what was changed is drawn."""
        self.run("return new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        for key in keys:
            value = KEYS.get(key, key)
            steps = [{"type": kind, "value": value} for kind in ("keyDown", "keyUp")]
            source = {"type": "key", "id": "keys", "actions": steps}
            self._call("POST", "/actions", {"actions": [source]})
        self.settle()

    def console(self) -> list[str]:
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses of everything that pages asked for."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def pdf(self) -> bytes:
        return base64.b64decode(self._call("POST", "/print", {"orientation": "landscape"}))

    def pixels(self, key: str) -> np.ndarray:
        """What a panel shows, red, green and blue in 0 … 255: (row, column, 3)."""
        from matplotlib.image import imread

        url = self.run(f"return window.mrunfold.panel({json.dumps(key)}).snapshot().toDataURL('image/png')")
        image = imread(io.BytesIO(base64.b64decode(url.split(",")[1])), format="png")
        return np.rint(image[..., :3] * 255).astype(int)


@contextlib.contextmanager
def chromium(downloads: Path):
    """Give a Browser, or skip where there is none."""
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        browser = Browser(port, downloads)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        process.wait()
