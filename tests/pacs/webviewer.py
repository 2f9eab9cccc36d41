"""Our series in the web viewer of Orthanc, in Chromium; prints what was shown as JSON.

`webviewer.py WORK EXPORT [PICTURES]`: Orthanc keeps its files in WORK; PICTURES gets a screenshot of each
series, by its UID.  It runs alone in a network namespace, as test_webviewer.py has it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from orthanc import PEER, REST, Orthanc, rest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "review"))

from browser import Browser, chromium

from mrunfold.pacs import ledger_path, parse_peer, push

SIZE = (900, 700)
# What stands on the screen, and the values of the slice that the viewer has loaded.
SHOWN = """
const element = document.getElementById('dicomImage'), image = cornerstone.getEnabledElement(element).image;
const text = (id) => document.getElementById(id).innerText.trim();
return {
  caption: text('topright'), window: text('bottomleft'), warning: document.body.innerText,
  shape: image && [image.height, image.width], pixels: image && Array.from(image.getPixelData()),
  grey: Array.from(element.querySelector('canvas').getContext('2d').getImageData(0, 0, %d, %d).data)
    .filter((_, n) => n %% 4 === 0).reduce((most, value) => Math.max(most, value), 0),
};
"""


def alerts(browser: Browser) -> list[str]:
    """Close what the viewer says in boxes, and return it."""
    said = []
    while True:
        try:
            said.append(browser._call("GET", "/alert/text"))
        except AssertionError:
            return said
        browser._call("POST", "/alert/dismiss")
        time.sleep(0.3)


def scroll(browser: Browser) -> None:
    """Turn the wheel over the image by one step."""
    turn = {
        "type": "scroll",
        "x": SIZE[0] // 2,
        "y": SIZE[1] // 2,
        "deltaX": 0,
        "deltaY": 100,
        "duration": 0,
    }
    browser._call("POST", "/actions", {"actions": [{"type": "wheel", "id": "wheel", "actions": [turn]}]})
    time.sleep(0.2)
    browser.settle()


def look(browser: Browser, series: str, pictures: Path | None) -> dict[str, Any]:
    """Open a series in the viewer and turn the wheel through its slices."""
    tags = json.loads(rest(f"/series/{series}"))["MainDicomTags"]
    slices = json.loads(rest(f"/web-viewer/series/{series}"))["Slices"]
    found: dict[str, Any] = {"number": int(tags["SeriesNumber"]), "slices": len(slices)}
    found["uid"] = tags["SeriesInstanceUID"]
    browser._call("POST", "/url", {"url": f"{REST}/web-viewer/app/viewer.html?series={series}"})
    time.sleep(1)
    found["alerts"] = alerts(browser)
    browser.settle()
    found["first"] = browser.run(SHOWN % SIZE)
    middle = len(slices) // 2
    if not found["alerts"]:
        for _ in range(middle):
            scroll(browser)
        found["middle"] = browser.run(SHOWN % SIZE)
    if pictures is not None:
        browser.screenshot(pictures / f"{found['uid']}.png")
    return found


if __name__ == "__main__":
    work, exported, *rest_of = map(Path, sys.argv[1:])
    server = Orthanc(work / "orthanc", viewer=True)
    try:
        ledger_path(exported).unlink(missing_ok=True)  # of another Orthanc
        push(exported, parse_peer(PEER))
        with chromium(work) as window:
            window.cdp(
                "Emulation.setDeviceMetricsOverride",
                width=SIZE[0],
                height=SIZE[1],
                deviceScaleFactor=1,
                mobile=False,
            )
            every = json.loads(rest("/series"))
            print(json.dumps([look(window, one, rest_of[0] if rest_of else None) for one in every]))
    finally:
        server.kill()
