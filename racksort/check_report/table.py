"""The report on the terminal."""

from __future__ import annotations

from typing import Final

from rich.table import Table
from rich.text import Text

from ensemble.releases.check.finding import Report, Severity, Verdict

_COLOURS: Final = {
    Verdict.PASSED: "green",
    Verdict.REFUSED: "red",
    Verdict.SKIPPED: "yellow",
    Verdict.NOT_RUN: "yellow",
}


def of_checks(report: Report) -> Table:
    """A line per check: its verdict, the figure that decides, and the time it took."""
    against = "" if report.live is None else f", against {report.live}"
    table = Table(title=f"{report.release} in {report.repository}{against}", title_justify="left")
    for column in ("check", "verdict", "figure"):
        table.add_column(column)
    table.add_column("s", justify="right")
    for section in report.sections:
        verdict = Text(section.verdict.value, style=_COLOURS[section.verdict])
        table.add_row(section.name, verdict, Text(section.figure), f"{section.seconds:.1f}")
    return table


def of_findings(report: Report) -> list[Text]:
    """A line per finding."""
    return [
        Text.assemble(
            (f"{found.severity.value} ", "yellow" if found.severity is Severity.WARNING else "red"),
            (f"{found.check}: ", "bold"),
            found.line,
        )
        for found in report.findings
    ]
