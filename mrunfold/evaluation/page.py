"""report.html: one page that needs neither network nor scripts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from mrunfold.evaluation.bootstrap import Interval
from mrunfold.evaluation.compare import Comparison
from mrunfold.evaluation.figures import ERROR_GAIN, distributions_svg, volume_png
from mrunfold.evaluation.run import COLUMNS, Run
from mrunfold.evaluation.volumes import COVERAGE_RULE, LPIPS_RULE, RULE, VolumeScore, load_pair
from mrunfold.text import printable

__all__ = ["HEADINGS", "interval_text", "page"]

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


def escape(text: str) -> str:
    """Return text as HTML shows it, control characters spelled out."""
    return html.escape(printable(text))


def page(runs: Sequence[Run], comparison: Comparison | None, *, draws: int, seed: int, version: str) -> str:
    """Return the report of one run, or of two and their comparison, as HTML."""
    title = "Evaluation of " + " and ".join(run.name for run in runs)
    parts = [f"<h1>{escape(title)}</h1>", "<p>Research, not for diagnosis.</p>", *_warnings(runs, comparison)]
    for run in runs:
        parts.append(f"<h2>{escape(run.name)}</h2>")
        parts.append(f"<p>{len(run.scored)} of {len(run.volumes)} volumes scored. {_protocols(run)}</p>")
        parts.append(_summary_table(run.summary(draws=draws, seed=seed)))
    if comparison is not None:
        parts.append(_comparison(runs, comparison))
    parts += ["<h2>Distributions</h2>", f"<figure>{distributions_svg(runs)}</figure>"]
    for run in runs:
        parts += [f"<h2>Volumes of {escape(run.name)}</h2>", *_pictures(run), _volume_table(run)]
    parts += ["<h2>How this was counted</h2>", f"<p>{escape(RULE)}.</p>"]
    if any(v.coverage_90 is not None for run in runs for v in run.scored):
        parts.append(f"<p>Coverage: {escape(COVERAGE_RULE)}.</p>")
    lpips = LPIPS_RULE if any(run.lpips_features for run in runs) else "LPIPS is not computed"
    parts.append(
        f"<p>In brackets: 95 % percentile intervals of the mean, bootstrap over volumes, {draws} draws, seed "
        f"{seed}. {escape(lpips)}. mrunfold {escape(version)}.</p>"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _warnings(runs: Sequence[Run], comparison: Comparison | None) -> list[str]:
    found = []
    if any(v.simulated for run in runs for v in run.scored):
        found.append("Simulated data: the files say so themselves. These numbers do not speak of scans.")
    for run in runs:
        if run.unscored:
            found.append(f"{run.name}: {len(run.unscored)} volumes have no score and are in no mean.")
    if comparison is not None and len({d for run in runs for d in run.protocol_digests}) > 1:
        found.append("The runs were made under different protocols and compared all the same.")
    return [f'<p class="warn">{escape(text)}</p>' for text in found]


def _protocols(run: Run) -> str:
    digests = run.protocol_digests
    if digests == (None,):
        return "Its files carry no protocol digest."
    said = ", ".join("none" if d is None else f"<code>{escape(d)}</code>" for d in digests)
    return f"Protocol digest: {said}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{first}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _summary_table(summary: Mapping[str, Mapping[str, Interval | None]], signed: bool = False) -> str:
    shown = [m for m in COLUMNS if any(group.get(m) is not None for group in summary.values())]
    rows = []
    for name, group in summary.items():
        count = group["ssim"].count if group.get("ssim") else 0  # type: ignore[union-attr]
        rows.append([name, str(count), *(interval_text(m, group.get(m), signed) for m in shown)])
    return _table(["acquisition", "volumes", *(HEADINGS[m] for m in shown)], rows)


def _comparison(runs: Sequence[Run], comparison: Comparison) -> str:
    first, second = (run.name for run in runs)
    total = len(comparison.names)
    wins = ", ".join(f"{HEADINGS[m].split(' ')[0]} {n} of {total}" for m, n in comparison.better.items())
    left = ""
    if comparison.only_one:
        left = (
            f'<p class="warn">Scored in one run only, left out: {escape(", ".join(comparison.only_one))}.</p>'
        )
    return (
        f"<h2>Paired differences, {escape(first)} − {escape(second)}</h2>{left}"
        + _summary_table(comparison.differences, signed=True)
        + f"<p>{escape(first)} is better in: {wins} volumes.</p>"
    )


def _pictures(run: Run) -> list[str]:
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
        figures.append(
            f'<figure><img src="{uri}" alt="{escape(text)}"><figcaption>{escape(text)}</figcaption></figure>'
        )
    return figures


def _volume_table(run: Run) -> str:
    shown = [m for m in COLUMNS if any(getattr(v, m) is not None for v in run.scored)]
    rows = [[v.name, v.acquisition, *(_number(v, m) for m in shown), _remark(v)] for v in run.volumes]
    return _table(["volume", "acquisition", *(HEADINGS[m] for m in shown), "remark"], rows)


def _number(volume: VolumeScore, metric: str) -> str:
    value = getattr(volume, metric)
    return "–" if value is None else f"{value:.{DIGITS[metric]}f}"


def _remark(volume: VolumeScore) -> str:
    return f"not scored: {volume.problem}" if volume.problem else "; ".join(volume.notes)
