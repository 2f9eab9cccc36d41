"""docs/results/faults.json as the table of docs/reliability.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["bad", "markdown", "write_table"]

BEGIN, END = "<!-- table: faults.json -->", "<!-- end of table -->"
NEVER = {
    "files": ("failed", "wrong", "crashed", "hung"),
    "kills": ("lost", "doubled", "hung"),
    "names": ("failed", "tracebacks", "control_characters"),
    "refusals": ("lost", "doubled", "tracebacks", "crashed", "left_over", "hung"),
}


def bad(found: Mapping[str, Any]) -> list[str]:
    """Return what must not have happened and did, in words."""
    said = []
    for part, words in NEVER.items():
        if found[part] is None:
            continue
        rows = found[part] if part in ("files", "kills") else {part: found[part]}
        for kind, counts in rows.items():
            said += [
                f"{kind}: {counts[word]} {word} {counts.get('examples', '')}"
                for word in words
                if counts[word]
            ]
    return said


def markdown(found: Mapping[str, Any]) -> str:
    """Return the tables of a campaign."""
    files = found["files"]
    total = sum(counts["tried"] for counts in files.values())
    lines = [
        f"Seed {found['seed']}, {sum(found['minutes'].values()):.0f} minutes, "
        f"Python {found['system']['python']}, {found['system']['machine']}.",
        "",
        f"| damaged files: {total} | tried | read | refused | other error | wrong | crash | hung | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, c in files.items():
        cells = [c[k] for k in ("tried", "read", "refused", "failed", "wrong", "crashed", "hung")]
        lines.append(f"| {kind} | {' | '.join(map(str, cells))} | {c['peak_memory_mb']:.0f} MB |")
    lines += ["", "| SIGKILL | kills | while a volume was written | lost | doubled | half files | hung |"]
    lines.append("|---|---|---|---|---|---|---|")
    for kind, c in found["kills"].items():
        cells = [c[k] for k in ("kills", "while_writing", "lost", "doubled", "half_files", "hung")]
        lines.append(f"| {kind} | {' | '.join(map(str, cells))} |")
    n, r = found["names"], found["refusals"]
    lines += [
        "",
        "| | tried | failed or lost | tracebacks | other |",
        "|---|---|---|---|---|",
        f"| odd names | {n['tried']} | {n['failed']} | {n['tracebacks']} | "
        f"{n['control_characters']} outputs with control characters |",
    ]
    if r["tried"] is None:
        lines.append("| rename, fsync or write refused | not tried: no strace | | | |")
    else:
        lines.append(
            f"| rename, fsync or write refused | {r['tried']} | {r['lost'] + r['doubled']} | "
            f"{r['tracebacks']} | {r['crashed']} crashes, {r['left_over']} files left over, "
            f"{r['hung']} hung |"
        )
    return "\n".join(lines)


def write_table(results: Path, page: Path | None) -> int:
    """Put the table of `results` on the page; return 0, or 1 where something happened that must not."""
    found = json.loads(results.read_text(encoding="utf-8"))
    text = "" if page is None else page.read_text(encoding="utf-8")
    if page is not None and BEGIN in text:
        pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
        table = f"{BEGIN}\n{markdown(found)}\n{END}"
        page.write_text(re.sub(pattern, lambda _: table, text, flags=re.DOTALL), encoding="utf-8")
    for line in bad(found):
        print(line)
    return 1 if bad(found) else 0
