"""The lines of a reading study as CSV and as a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from mrunfold.io.atomic import atomic_path
from mrunfold.io.tables import safe_cell
from mrunfold.review.agreement import FIELDS, Line

__all__ = ["write_agreement"]

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;width:100%;font-size:.9em}"
    "th,td{text-align:left;padding:.25em .6em;border-bottom:1px solid #ccc;vertical-align:top}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".purpose{color:#a11;font-weight:600}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
HEADS = ("question", "of", "value", "95 % interval", "p", "p (Holm)", "cases", "readers", "how")


def write_agreement(table: Path, lines: Sequence[Line], version: str) -> tuple[Path, Path]:
    """Write NAME.agreement.csv and NAME.agreement.html beside the table NAME.csv and return both.

    They replace earlier ones: they belong to the table, which was checked.
    """
    made = table.with_suffix(".agreement.csv"), table.with_suffix(".agreement.html")
    for path, text in zip(made, (_csv(lines), _page(lines, version)), strict=True):
        with atomic_path(path) as part:
            part.write_bytes(text.encode("utf-8"))
    return made


def _csv(lines: Sequence[Line]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for line in lines:
        row = asdict(line)
        writer.writerow(safe_cell(row[name]) for name in FIELDS)
    return buffer.getvalue()


def _page(lines: Sequence[Line], version: str) -> str:
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Reading study</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f'<meta name="generator" content="mrunfold {escape(version)}"><style>{STYLE}</style></head><body>',
        '<h1>Reading study</h1><p class="purpose">Research use, not for diagnosis.</p>',
    ]
    for name in dict.fromkeys(line.measure for line in lines):
        heads = "".join(f"<th>{head}</th>" for head in HEADS)
        parts.append(f"<h2>{escape(name[0].upper() + name[1:])}</h2><table><tr>{heads}</tr>")
        parts += [_row(line) for line in lines if line.measure == name]
        parts.append("</table>")
    return "\n".join([*parts, "</body></html>\n"])


def _row(line: Line) -> str:
    interval = "" if line.low is None or line.high is None else f"{_short(line.low)} to {_short(line.high)}"
    cells = [("", line.question), ("", line.of), ("n", "—" if line.value is None else _short(line.value))]
    cells += [("n", interval), ("n", _p(line.p)), ("n", _p(line.p_holm)), ("n", str(line.cases))]
    cells += [("n", str(line.readers)), ("", line.how)]
    return "<tr>" + "".join(f'<td class="{kind}">{escape(text)}</td>' for kind, text in cells) + "</tr>"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.2f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"
