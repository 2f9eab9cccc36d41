"""One HTML file that needs neither network nor server: scripts, styles and volumes are inside of it."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from mrunfold.export.record import plain
from mrunfold.review.cases import Case, Panel
from mrunfold.review.nifti import packed
from mrunfold.review.overlay import Overlay, presets, relative_spread
from mrunfold.review.words import RULE
from mrunfold.text import printable, utf8_json

__all__ = ["asset", "case_data", "html", "view_page"]

NIIVUE = "vendor/niivue.umd.js"
OVERLAY_LEVELS = 255  # colours, not measurements


def view_page(cases: Sequence[Case], version: str) -> str:
    """Return the page that shows `cases`, as HTML."""
    volumes: list[bytes] = []
    data = {
        "title": f"{cases[0].title} · research use, not for diagnosis",
        "cases": [case_data(case, volumes) for case in cases],
    }
    body = asset("assets/view.html").replace("@RULE@", escape(RULE[0].upper() + RULE[1:] + "."))
    return html(body, data, volumes, ("assets/viewer.js", "assets/view.js"), ("assets/page.css",), version)


def case_data(case: Case, volumes: list[bytes]) -> dict[str, Any]:
    """Return what the page's script knows of a case, and add its volumes to `volumes`."""
    numbers = {}
    for panel in case.panels:
        top = case.top if panel.role == "image" else float(max(f.max() for f in panel.frames))
        numbers[panel.key] = len(volumes)
        volumes.append(packed(panel.frames, case.view, case.voxel_mm, top))
    overlay = _overlay(case, numbers, volumes)
    count, rows, columns = (len(case.places), *case.view(case.panels[0].frames[0][0]).shape)
    read, phase, _ = case.voxel_mm
    return {
        "title": case.title,
        "panels": [_panel_data(p, numbers) for p in case.panels],
        "edges": case.view.edges,
        "shape": (columns, rows, count),
        "pixel_mm": (read, phase) if case.view.transpose else (phase, read),
        "places": case.places,
        "lps": case.lps,
        "window": case.window,
        "top": case.top,
        "presets": presets(_shown(case).frames[0], case.window),
        "overlay_top": 0.0 if overlay is None else overlay.top,
        "overlay_threshold": 0.0 if overlay is None else overlay.threshold,
        "words": case.words,
        "flags": case.flags,
        "missing": case.missing,
        "metrics": [
            (
                name.removeprefix("Reconstruction (").removesuffix(")"),
                {
                    "psnr": f"{v['psnr']:.2f}",
                    "ssim": f"{v['ssim']:.4f}",
                    "nmse": f"{v['nmse']:.5f}",
                },
            )
            for name, v in case.metrics
        ],
    }


def _shown(case: Case) -> Panel:
    """Return the reconstruction, or what else the case has: what windows and overlay are of."""
    return next((p for p in case.panels if p.key == "recon"), case.panels[0])


def _overlay(case: Case, numbers: dict[str, int], volumes: list[bytes]) -> Overlay | None:
    """Return the overlay of the case, if it has any, and add its volume, as number `overlay`."""
    std = next((p for p in case.panels if p.key == "std"), None)
    if std is None:
        return None
    found = relative_spread(std.frames[0], _shown(case).frames[0], case.window)
    numbers["overlay"] = len(volumes)
    volumes.append(packed([found.volume], case.view, case.voxel_mm, found.top, OVERLAY_LEVELS))
    return found


def _panel_data(panel: Panel, numbers: Mapping[str, int]) -> dict[str, Any]:
    over = numbers.get("overlay") if panel.key == "recon" else None
    return {
        "key": panel.key,
        "title": panel.title,
        "role": panel.role,
        "note": panel.note,
        "frames": len(panel.frames),
        "volume": numbers[panel.key],
        "overlay": over,
    }


@functools.lru_cache
def asset(name: str) -> str:
    """Return a text file that is installed with this package."""
    return resources.files("mrunfold.review").joinpath(name).read_text(encoding="utf-8")


def html(
    body: str,
    data: Mapping[str, Any],
    volumes: Sequence[bytes],
    scripts: Sequence[str],
    styles: Sequence[str],
    version: str,
) -> str:
    """Return a page of a body, its data and volumes, and the assets that run it.

    Nothing is fetched: the policy allows the scripts and styles in it, by hash, and pictures that they draw.
    """
    # NiiVue is packed, as it is large; `assets/start.js` unpacks it, and runs the others then.
    start = asset("assets/start.js")
    sources = [asset(name) for name in (NIIVUE, *scripts)]
    sheets = [asset(name) for name in styles]
    for text in (start, *sources):
        if "</script" in text.lower():
            raise ValueError("a script that ends its own element")
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(_hash(text) for text in (start, *sources)),
            "style-src " + " ".join(_hash(text) for text in sheets),
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width">',
        f'<meta name="generator" content="mrunfold {escape(version)}">',
        "<title>loading</title>",
        *(f"<style>{sheet}</style>" for sheet in sheets),
        "</head><body>",
        body,
        # No "<" in it: no text can end the element that holds it.
        f'<script type="application/json" id="page-data">{_json(data)}</script>',
    ]
    for number, volume in enumerate(volumes):
        text = base64.b64encode(volume).decode("ascii")
        parts.append(f'<script type="text/plain" id="volume-{number}">{text}</script>')
    parts += [f"<!--\n{asset('vendor/LICENSES.txt').replace('--', '- -')}-->"]
    bundle = base64.b64encode(gzip.compress(sources[0].encode("utf-8"), 9, mtime=0)).decode("ascii")
    parts.append(f'<script type="text/plain" id="niivue">{bundle}</script>')
    parts += [f'<script type="text/plain" class="run">{text}</script>' for text in sources[1:]]
    parts.append(f"<script>{start}</script>")
    return "\n".join([*parts, "</body></html>\n"])


def _json(data: Mapping[str, Any]) -> str:
    text = utf8_json(_clean(plain(data)))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _clean(value: Any) -> Any:
    """Return JSON values whose texts hold no control characters but line breaks."""
    if isinstance(value, str):
        return "\n".join(map(printable, value.split("\n")))
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


@functools.lru_cache
def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
