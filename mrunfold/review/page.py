"""One HTML file that needs neither network nor server: scripts, styles and volumes are inside of it.

What is too wide for one file lies in a folder beside it.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

from mrunfold.export.record import plain
from mrunfold.review.cases import Case, Panel
from mrunfold.review.overlay import FLOOR, OBJECT, SIDE, presets, relative_spread
from mrunfold.review.volumes import ALPHABET, LEVELS, ROOTS, Grid, Volume, as_text, grid_header, pack
from mrunfold.review.words import RULE
from mrunfold.text import printable, utf8_json

__all__ = ["WIDEST", "Page", "asset", "case_data", "html", "view_page"]

NIIVUE = "vendor/niivue.umd.js"
WIDEST = 6_000_000  # bytes of a page: what e-mail takes
RESERVE = 40_000  # of them, for what is not counted: licences, policy, elements
# What stays in the page longest where not everything does.
FIRST = ("recon", "std", "reference", "zero_filled")


@dataclass(frozen=True)
class Page:
    """A page: its HTML, and the files that lie in the folder beside it, by name, if any."""

    text: str
    files: dict[str, str] = field(default_factory=dict)


def view_page(cases: Sequence[Case], version: str, folder: str | None = None) -> Page:
    """Return the page that shows `cases`.

    folder: the name of the one beside it, for what would make it larger than WIDEST; None: everything is in
    the page, however large.
    """
    volumes: list[Volume] = []
    items = [case_data(case, volumes) for case in cases]
    data = {"title": f"{cases[0].title} · research use, not for diagnosis", "cases": items}
    order = sorted(
        (FIRST.index(p["key"]) if p["key"] in FIRST else len(FIRST), number, p["volume"])
        for number, case in enumerate(items)
        for p in case["panels"]
        if p["volume"] is not None
    )
    body = asset("assets/view.html").replace("@RULE@", escape(RULE[0].upper() + RULE[1:] + "."))
    scripts = ("assets/volumes.js", "assets/panel.js", "assets/viewer.js", "assets/view.js")
    return html(body, data, volumes, scripts, ("assets/page.css",), version, folder, [n for *_, n in order])


def case_data(case: Case, volumes: list[Volume]) -> dict[str, Any]:
    """Return what the page's script knows of a case, and add its volumes to `volumes`."""
    planes = case.planes
    width, height = case.voxel_mm[1::-1] if not case.view.transpose else case.voxel_mm[:2]
    grid = Grid(case.shape, (width, height, case.voxel_mm[2]), planes.axes)
    numbers: dict[str, int] = {}
    for panel in case.panels:
        if panel.between is None:
            top = case.top if panel.role == "image" else float(max(f.max() for f in panel.frames))
            numbers[panel.key] = len(volumes)
            volumes.append(pack(panel.frames, case.view, top, square=panel.role == "map"))
    return {
        "title": case.title,
        "header": base64.b64encode(grid_header(grid)).decode("ascii"),
        "panels": [_panel_data(p, numbers) for p in case.panels],
        "edges": case.view.edges,
        "planes": planes.edges,
        "axes": planes.axes,
        "plane": planes.own,
        "shape": grid.shape,
        "voxel_mm": grid.voxel_mm,
        "places": case.places,
        "labels": case.labels,
        "lps": case.lps,
        "window": case.window,
        "top": case.top,
        "presets": presets(_shown(case).frames[0], case.window),
        "overlay": _overlay(case),
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


def _overlay(case: Case) -> dict[str, float] | None:
    """Return how the page makes the overlay of a case and where it begins and ends; None for none."""
    import numpy as np

    std = next((p for p in case.panels if p.key == "std"), None)
    if std is None:
        return None
    found = relative_spread(np.concatenate(std.frames), np.concatenate(_shown(case).frames), case.window)
    how = {"side": SIDE, "floor": FLOOR * case.window, "object": OBJECT * case.window}
    return {"threshold": found.threshold, "top": found.top, **how}


def _panel_data(panel: Panel, numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "key": panel.key,
        "title": panel.title,
        "role": panel.role,
        "note": panel.note,
        "frames": len(panel.frames) // panel.samples,
        "samples": panel.samples,
        "volume": numbers.get(panel.key),
        "between": panel.between,
        "overlay": panel.key == "recon" and "std" in numbers,
    }


@functools.lru_cache
def asset(name: str) -> str:
    """Return a text file that is installed with this package."""
    return resources.files("mrunfold.review").joinpath(name).read_text(encoding="utf-8")


def html(
    body: str,
    data: Mapping[str, Any],
    volumes: Sequence[Volume],
    scripts: Sequence[str],
    styles: Sequence[str],
    version: str,
    folder: str | None = None,
    order: Sequence[int] = (),
) -> Page:
    """Return a page of a body, its data and volumes, and the assets that run it.

    Nothing is fetched: the policy allows the scripts and styles in it, by hash, and pictures that they draw;
    scripts of the folder beside it, where that holds anything: volumes beyond WIDEST, the last of `order`.
    """
    # NiiVue is packed, as it is large; `assets/start.js` unpacks it, and runs the others then.
    start = asset("assets/start.js").replace("@ALPHABET@", ALPHABET)
    sources = [asset(name) for name in (NIIVUE, *scripts)]
    sheets = [asset(name) for name in styles]
    for text in (start, *sources):
        if "</script" in text.lower():
            raise ValueError("a script that ends its own element")
    bundle = gzip.compress(sources[0].encode("utf-8"), 9, mtime=0)
    texts = [as_text(volume.data) for volume in volumes]
    name = hashlib.sha256("".join(texts).encode("ascii")).hexdigest()[:12]
    frame = sum(map(len, (body, *sheets, *sources[1:], start))) + len(bundle) * 16 // 13 + len(_json(data))
    apart = set() if folder is None else _beyond(texts, order, WIDEST - frame - RESERVE)
    known: dict[str, Any] = {"page": name, "levels": LEVELS, "roots": ROOTS, "bundle": len(bundle)}
    known["volumes"] = [
        _about(volume, f"{folder}/{_file(n)}" if n in apart else None) for n, volume in enumerate(volumes)
    ]
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy([start, *sources], sheets, apart)}">',
        '<meta name="viewport" content="width=device-width">',
        f'<meta name="generator" content="mrunfold {escape(version)}">',
        "<title>loading</title>",
        *(f"<style>{sheet}</style>" for sheet in sheets),
        "</head><body>",
        body,
        # No "<" in it: no text can end the element that holds it.
        f'<script type="application/json" id="page-data">{_json({**data, **known})}</script>',
    ]
    for number, text in enumerate(texts):
        if number not in apart:
            parts.append(f'<script type="text/plain" id="volume-{number}">{text}</script>')
    parts += [f"<!--\n{asset('vendor/LICENSES.txt').replace('--', '- -')}-->"]
    parts.append(f'<script type="text/plain" id="niivue">{as_text(bundle)}</script>')
    parts += [f'<script type="text/plain" class="run">{text}</script>' for text in sources[1:]]
    parts.append(f"<script>{start}</script>")
    files = {_file(number): f"keepVolume('{name}',{number},'{texts[number]}');\n" for number in sorted(apart)}
    return Page("\n".join([*parts, "</body></html>\n"]), files)


def _about(volume: Volume, file: str | None) -> dict[str, Any]:
    return {"bytes": len(volume.data), "top": volume.top, "square": volume.square, "file": file}


def _file(number: int) -> str:
    return f"volume-{number}.js"


def _beyond(texts: Sequence[str], order: Sequence[int], room: int) -> set[int]:
    """Return the volumes that do not fit into so many bytes, taken in their order."""
    apart = set()
    for number in order:
        room -= len(texts[number])
        if room < 0:
            apart.add(number)
            room += len(texts[number])
    return apart


def _policy(scripts: Sequence[str], sheets: Sequence[str], apart: set[int]) -> str:
    beside = " 'self' file:" if apart else ""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(_hash(text) for text in scripts) + beside,
            "style-src " + " ".join(_hash(text) for text in sheets),
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


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
