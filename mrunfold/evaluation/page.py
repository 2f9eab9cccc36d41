"""report.html: one page that needs neither network nor scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrunfold.evaluation.bootstrap import Interval
from mrunfold.evaluation.compare import Comparison
from mrunfold.evaluation.figures import ERROR_GAIN, distributions_svg, volume_png
from mrunfold.evaluation.run import COLUMNS, Run
from mrunfold.evaluation.volumes import COVERAGE_RULE, LPIPS_RULE, RULE, VolumeScore, load_pair
from mrunfold.text import printable

__all__ = ["HEADINGS", "interval_text", "page"]

TEMPLATE = Path(__file__).with_name("report.html")
Table = tuple[list[str], list[list[str]]]  # head, rows
HEADINGS = {
    "nmse": "NMSE", "psnr": "PSNR / dB", "ssim": "SSIM", "lpips": "LPIPS", "coverage_90": "coverage of 90 %",
}  # fmt: skip
DIGITS = {"nmse": 5, "psnr": 2, "ssim": 4, "lpips": 4, "coverage_90": 3}
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0 1.4em}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child,td.t,th.t{text-align:left}.warn{color:#a11}"
    "code{font-size:.9em;word-break:break-all}img,svg{max-width:100%;height:auto}figure{margin:1em 0 2em}"
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def interval_text(metric: str, interval: Interval | None, signed: bool = False) -> str:
    """Return `0.9123 [0.9011, 0.9230]`; the mean alone where there is no interval."""
    if interval is None:
        return "–"
    form = f"{'+' if signed else ''}.{DIGITS[metric]}f"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:{form}}"
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def page(runs: Sequence[Run], comparison: Comparison | None, *, draws: int, seed: int, version: str) -> str:
    """Return the report of one run, or of two and their comparison, as HTML; all text in it is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True, finalize=_shown
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title="Evaluation of " + " and ".join(run.name for run in runs),
        policy=POLICY,
        style=Markup(STYLE),
        warnings=_warnings(runs, comparison),
        runs=[_facts(run, draws, seed) for run in runs],
        comparison=None if comparison is None else _comparison(comparison),
        distributions=Markup(distributions_svg(runs)),  # drawn by matplotlib, which escapes its text
        rules=_rules(runs, draws, seed, version),
    )


def _shown(value: Any) -> Any:
    """Return a text with its control characters spelled out; what is markup already stays."""
    return printable(value) if type(value) is str else value


def _facts(run: Run, draws: int, seed: int) -> dict[str, Any]:
    return {
        "name": run.name,
        "scored": len(run.scored),
        "total": len(run.volumes),
        "digests": run.protocol_digests,
        "summary": _summary_table(run.summary(draws=draws, seed=seed)),
        "pictures": _pictures(run),
        "volumes": _volume_table(run),
    }


def _rules(runs: Sequence[Run], draws: int, seed: int, version: str) -> list[str]:
    rules = [f"{RULE}."]
    if any(v.coverage_90 is not None for run in runs for v in run.scored):
        rules.append(f"Coverage: {COVERAGE_RULE}.")
    lpips = LPIPS_RULE if any(run.lpips_features for run in runs) else "LPIPS is not computed"
    rules.append(
        f"In brackets: 95 % percentile intervals of the mean, bootstrap over volumes, {draws} draws, seed "
        f"{seed}. {lpips}. mrunfold {version}."
    )
    return rules


def _warnings(runs: Sequence[Run], comparison: Comparison | None) -> list[str]:
    found = []
    if any(v.simulated for run in runs for v in run.scored):
        found.append("Simulated data: the files say so themselves. These numbers do not speak of scans.")
    for run in runs:
        if run.unscored:
            found.append(f"{run.name}: {len(run.unscored)} volumes have no score and are in no mean.")
    if comparison is not None and len({d for run in runs for d in run.protocol_digests}) > 1:
        found.append("The runs were made under different protocols and compared all the same.")
    return found


def _summary_table(summary: Mapping[str, Mapping[str, Interval | None]], signed: bool = False) -> Table:
    shown = [m for m in COLUMNS if any(group.get(m) is not None for group in summary.values())]
    rows = []
    for name, group in summary.items():
        count = group["ssim"].count if group.get("ssim") else 0  # type: ignore[union-attr]
        rows.append([name, str(count), *(interval_text(m, group.get(m), signed) for m in shown)])
    return ["acquisition", "volumes", *(HEADINGS[m] for m in shown)], rows


def _comparison(comparison: Comparison) -> dict[str, Any]:
    total = len(comparison.names)
    wins = (f"{HEADINGS[m].split(' ')[0]} {n} of {total}" for m, n in comparison.better.items())
    return {
        "only_one": ", ".join(comparison.only_one),
        "differences": _summary_table(comparison.differences, signed=True),
        "wins": ", ".join(wins),
    }


def _pictures(run: Run) -> list[dict[str, str]]:
    """Return figures of the volumes with the lowest and the median SSIM."""
    ranked = sorted(run.scored, key=lambda v: (v.ssim, v.name))
    chosen = [("worst", ranked[0])]
    if len(ranked) > 1:
        chosen.append(("median", ranked[len(ranked) // 2]))
    figures = []
    for word, volume in chosen:
        uri, index = volume_png(load_pair(run.recons / volume.name, run.targets / volume.name, run.kind))
        text = (
            f"{word} SSIM: {volume.name}, slice {index} from 0, {volume.acquisition}: SSIM {volume.ssim:.4f}"
            f", PSNR {volume.psnr:.2f} dB (of the volume); error ×{ERROR_GAIN}, one grey scale, as stored"
        )
        figures.append({"uri": uri, "text": text})
    return figures


def _volume_table(run: Run) -> Table:
    shown = [m for m in COLUMNS if any(getattr(v, m) is not None for v in run.scored)]
    rows = [[v.name, v.acquisition, *(_number(v, m) for m in shown), _remark(v)] for v in run.volumes]
    return ["volume", "acquisition", *(HEADINGS[m] for m in shown), "remark"], rows


def _number(volume: VolumeScore, metric: str) -> str:
    value = getattr(volume, metric)
    return "–" if value is None else f"{value:.{DIGITS[metric]}f}"


def _remark(volume: VolumeScore) -> str:
    return f"not scored: {volume.problem}" if volume.problem else "; ".join(volume.notes)
