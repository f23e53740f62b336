"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(names: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Its lines; the first ``left`` columns are words, the others numbers."""
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * left + " --: |" * (len(names) - left)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]
