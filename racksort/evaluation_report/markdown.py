"""The evaluation's page in docs/, written from its record so that text and figures can't drift apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ensemble.evaluation.report import Record
from ensemble.evaluation.study import Study, Table
from racksort.evaluation_report import method, standing, tables

_INTRO: Final = """\
# Ranking quality

Written by `racksort evaluate --write docs`; all digits are in [evaluation.json](evaluation.json), the same with plots
in one file in `evaluation.html`. What was tried on the way, what worked and what did not: [quality.md](quality.md).
"""

_RUNNING: Final = """\
## Running it

    racksort evaluate                                        # the release in model_repository, all studies
    racksort evaluate --no-studies --html var/quality.html   # the comparison alone, as a page with plots
    racksort evaluate --studies staleness,cold_start --json  # two studies beside it, for machines
    racksort evaluate --weeks 41-46 --no-studies             # validation weeks: for development, test weeks unseen
    racksort evaluate --direct --customers 200 --weeks 47    # a rehearsal
    racksort evaluate --processes 1                          # where memory is short: each takes up to 4 GB

Parts that don't need each other are made side by side, by default in as many processes as there are cores (8 at most).

What is finished, such as the tuning of a baseline, a method's lists of one week or a study, is kept in `var/evaluate`
under a digest of the data, of the code that measures and of the versions of the packages that compute; what a release
answered, under the digest of its files. A run that was broken off, however hard, goes on there and
gives the same figures; another release is judged without tuning the baselines again. A file that is damaged or belongs
to something else is made anew, which one line says. `--fresh` forgets all of it.
"""


def page(figures: Record, plots: Sequence[str]) -> str:
    """The page as Markdown.

    Args:
        figures: the record.
        plots: names of the plots (``plots.drawn``) that lie beside it as ``evaluation-NAME.svg``.
    """
    return "\n".join(_parts(figures, frozenset(plots)))


def _parts(figures: Record, plots: frozenset[str]) -> Iterator[str]:
    yield _INTRO
    yield "".join(f"* {sentence}\n" for sentence in standing.summary(figures))
    yield from _images(("headline", "against", "by-week"), plots)
    for name in figures["settings"]:
        yield f"## {tables.title_of(name)}\n\n{tables.asked(figures, name)} In brackets: 95 % intervals.\n"
        yield from map(_table, tables.of_setting(figures, name))
    for record in figures["studies"]:
        yield from _study(Study.from_json(record), plots)
    yield "## The baselines' settings\n"
    yield _rows(tables.of_tuning(figures))
    yield _RUNNING
    yield method.text(figures)


def _study(study: Study, plots: frozenset[str]) -> Iterator[str]:
    yield f"## {study.title}\n\n*{study.question}*\n"
    yield "".join(f"* {finding}\n" for finding in study.findings)
    yield from _images([f"{study.key}-{number}" for number in range(1, len(study.plots) + 1)], plots)
    yield from map(_table, study.tables)


def _images(names: Sequence[str], plots: frozenset[str]) -> Iterator[str]:
    for name in names:
        if name in plots:
            yield f"![{name.replace('-', ' ')}](evaluation-{name}.svg)\n"


def _table(table: Table) -> str:
    note = f"\n{table.note}\n" if table.note else ""
    return f"{table.title}:\n\n{_rows(table)}{note}"


def _rows(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *tables.cells(table)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
