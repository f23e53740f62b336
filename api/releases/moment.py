"""Whether a release may rank for now: its models mustn't look into the future."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from api.errors import ReleaseTooNew

_MINUTE: Final = 1 / 1_440
"""In days: how far apart clocks and roundings may be."""


def check_moment(release: str, history_until: float | None, today: float) -> None:
    """Refuse a release whose tables end after the moment to rank for.

    Args:
        release: its name.
        history_until: the moment that its tables end, as days since 1970-01-01 UTC; None where it isn't known.
        today: the moment to rank for, the same.

    Raises:
        ReleaseTooNew: they do.
    """
    if history_until is not None and today < history_until - _MINUTE:
        raise ReleaseTooNew(
            f"{release} has learnt from purchases up to {_moment(history_until)}, but ranks for {_moment(today)}: "
            "its models would look into the future; set RACKSORT_NOW to the end of its purchases or later, prepare "
            "the catalog for such a week, or serve a release of the earlier time"
        )


def _moment(day: float) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT%H:%MZ")
