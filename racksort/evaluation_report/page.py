"""The report as one HTML file with plots: no scripts, nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

from ensemble.evaluation.report import Record
from ensemble.evaluation.study import Study, Table
from racksort.evaluation_report import method, prose, standing, tables
from racksort.page import head

_STYLE: Final = """
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; } nav { column-width: 16rem; } nav a { display: block; color: inherit; }
.soft { color: var(--soft); } .wide { overflow-x: auto; } code { overflow-wrap: anywhere; }
td:not(:first-child) { font-variant-numeric: tabular-nums; }
"""
_TITLE: Final = "Ranking quality"


def rendered(figures: Record, plots: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        figures: the record.
        plots: SVG by name, ``plots.drawn`` of the record.
    """
    return "".join(_parts(figures, plots))


def _parts(figures: Record, plots: Mapping[str, str]) -> Iterator[str]:
    yield head(_TITLE, _STYLE)
    judged = figures["release"] or "the baselines alone"
    yield f"<h1>{_TITLE}</h1>\n<ul>\n"
    yield "".join(f"<li>{escape(sentence)}\n" for sentence in standing.summary(figures)) + "</ul>\n"
    yield f'<p class="soft">{escape(judged)}; {escape(figures["data"])}; {standing.weeks(figures)}.</p>\n'
    studies = [Study.from_json(record) for record in figures["studies"]]
    titles = [*map(tables.title_of, figures["settings"]), *(study.title for study in studies), _SETTINGS, _METHOD]
    yield "<nav>\n" + "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>\n' for title in titles) + "</nav>\n"
    for name in ("headline", "against", "by-week"):
        yield from _figure(plots, name)
    for name in figures["settings"]:
        yield _heading(tables.title_of(name))
        yield f"<p>{escape(tables.asked(figures, name))} In brackets: 95 % intervals.</p>\n"
        for table in tables.of_setting(figures, name):
            yield from _table(table)
    for study in studies:
        yield from _study(study, plots)
    yield _heading(_SETTINGS)
    yield from _rows(tables.of_tuning(figures))
    notes = method.text(figures)
    yield _heading(_METHOD) + prose.html(notes.removeprefix(f"## {_METHOD}\n"))


_SETTINGS: Final = "The baselines' settings"
_METHOD: Final = "How it is measured"


def _study(study: Study, plots: Mapping[str, str]) -> Iterator[str]:
    yield _heading(study.title)
    yield f"<p><em>{prose.inline(study.question)}</em></p>\n<ul>\n"
    yield "".join(f"<li>{prose.inline(finding)}\n" for finding in study.findings) + "</ul>\n"
    for number in range(1, len(study.plots) + 1):
        yield from _figure(plots, f"{study.key}-{number}")
    for table in study.tables:
        yield from _table(table)


def _figure(plots: Mapping[str, str], name: str) -> Iterator[str]:
    if name in plots:
        yield f"<figure>{plots[name]}</figure>\n"


def _table(table: Table) -> Iterator[str]:
    yield f"<h3>{prose.inline(table.title)}</h3>\n"
    yield from _rows(table)
    if table.note:
        yield f'<p class="soft">{prose.inline(table.note)}</p>\n'


def _rows(table: Table) -> Iterator[str]:
    yield '<div class="wide"><table>\n<tr>' + "".join(f"<th>{escape(column)}" for column in table.columns) + "\n"
    for row in tables.cells(table):
        yield "<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) + "\n"
    yield "</table></div>\n"


def _heading(title: str) -> str:
    return f'<h2 id="{_anchor(title)}">{escape(title)}</h2>\n'


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
