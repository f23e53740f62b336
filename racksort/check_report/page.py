"""The report as one HTML file with plots: no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from ensemble.releases.check.finding import Report, Severity, Verdict
from racksort.check_report import plots
from racksort.page import head

_STYLE: Final = """
.passed { color: #1e8449; } .refused, .unservable { color: #c0392b; } .skipped, .not-run, .warning { color: #b9770e; }
.verdict { font-weight: 600; white-space: nowrap; } .soft { color: var(--soft); }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; } code { overflow-wrap: anywhere; }
"""


def rendered(report: Report) -> str:
    """The whole file."""
    return "".join(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    title = f"{report.release}: {'passed' if report.passed else 'refused'}"
    yield head(title, _STYLE)
    yield f"<h1>{escape(title)}</h1>\n<p>{escape(report.summary())}.</p>\n"
    against = "nothing" if report.live is None else report.live
    yield (
        f'<p class="soft">{escape(report.repository)}, compared with {escape(against)}, {escape(report.checked_at)}. '
        f"SHA-256 of the files: <code>{escape(report.digest or 'none')}</code></p>\n"
    )
    yield '<table>\n<tr><th>check<th>verdict<th>figure<th class="n">seconds\n'
    for section in report.sections:
        css = section.verdict.value.replace(" ", "-")
        yield f'<tr><td>{section.name}<td class="verdict {css}">{section.verdict.value}<td>{escape(section.figure)}'
        yield f'<td class="n">{section.seconds:.1f}\n'
    yield "</table>\n"
    yield from _findings(report)
    yield from _drawn(report)
    yield "<h2>Bounds</h2>\n<table>\n"
    for name, value in report.bounds.items():
        shown = ", ".join(value) or "nothing" if isinstance(value, list) else value
        yield f'<tr><td>{escape(name)}<td class="n">{escape(str(shown))}\n'
    yield "</table>\n"


def _findings(report: Report) -> Iterator[str]:
    yield "<h2>Findings</h2>\n"
    if not report.findings:
        yield "<p>None.</p>\n"
        return
    yield "<table>\n<tr><th>check<th>severity<th>where<th>what<th>what to do\n"
    for found in sorted(report.findings, key=lambda each: each.severity is Severity.WARNING):
        yield f'<tr><td>{found.check}<td class="verdict {found.severity.value}">{found.severity.value}'
        yield f"<td><code>{escape(found.where)}</code><td>{escape(found.what)}<td>{escape(found.remedy)}\n"
    yield "</table>\n"


def _drawn(report: Report) -> Iterator[str]:
    data = {section.name: section.data for section in report.sections if section.verdict is not Verdict.SKIPPED}
    if cells := data.get("latency", {}).get("cells"):
        yield f"<h2>Latency through Triton</h2>\n<figure>{plots.latency(cells)}</figure>\n"
        yield '<table>\n<tr><th class="n">candidates<th class="n">rows<th class="n">median ms<th class="n">p95 ms'
        yield '<th class="n">live median ms<th class="n">live p95 ms<th class="n">ratio<th class="n">rounds\n'
        for cell in cells:
            figures = [cell[key] for key in ("median_ms", "p95_ms", "live_median_ms", "live_p95_ms", "ratio")]
            shown = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
            yield "<tr>" + "".join(
                f'<td class="n">{value}' for value in (cell["candidates"], cell["rows"], *shown, cell["rounds"])
            )
            yield "\n"
        yield "</table>\n"
    if moved := data.get("live"):
        yield "<h2>What is ranked otherwise than by the live release</h2>\n"
        if "overlap@10_rows" in moved:
            yield f'<div class="pair"><figure>{plots.overlap(moved["overlap@10_rows"])}</figure>'
            yield f"<figure>{plots.components(moved['components'], moved['score'])}</figure></div>\n"
            yield f"<p>{escape(_moved(moved['moved_most'], moved['components']))}</p>\n"
    if pools := data.get("quality", {}).get("pools"):
        yield f"<h2>Quality in week {data['quality']['week']}</h2>\n<figure>{plots.quality(pools)}</figure>\n"


def _moved(most: str | None, components: dict[str, dict[str, float]]) -> str:
    if most is None:
        return "Every score is the same."
    alone = ", ".join(f"{name} {each['overlap@10_if_alone']:.2f}" for name, each in components.items())
    return f"{most} moved the order most: overlap of the live order with the one that a component alone gives: {alone}."
