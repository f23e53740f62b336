"""Outcomes as rows, for the terminal, documents and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from racksort.dev.markdown import table
from racksort.dev.scaling.outcome import Outcome

_COLUMNS: Final = (
    "rules", "holds", "degraded, day", "worst hour", "mean ms", "slowest minute ms", "turns", "pod-hours", "core-hours"
)  # fmt: skip


def markdown(outcomes: Mapping[str, Outcome]) -> str:
    """A table in Markdown, one line for each."""
    return "\n".join(table(_COLUMNS, [_cells(name, found) for name, found in outcomes.items()], left=2))


def _cells(name: str, found: Outcome) -> Sequence[str]:
    return (
        name,
        "yes" if found.holds else "**no**",
        f"{100 * found.degraded:.2f} %",
        f"{100 * found.worst_hour:.1f} %",
        f"{1e3 * found.mean_s:.1f}",
        f"{1e3 * found.minute_s:.0f}",
        str(found.turns),
        f"{found.pod_hours:.0f}",
        f"{found.core_hours:.0f}",
    )


def as_json(found: Outcome) -> dict[str, Any]:
    """An outcome for machines, in the units of the table."""
    return {
        "holds": found.holds,
        "degraded": found.degraded,
        "worst_hour_degraded": found.worst_hour,
        "mean_ms": found.mean_s * 1e3,
        "slowest_minute_ms": found.minute_s * 1e3,
        "turns": found.turns,
        "most_adapters": found.most[0],
        "most_tritons": found.most[1],
        "pod_hours": found.pod_hours,
        "core_hours": found.core_hours,
    }
