"""The shop's week: when it starts and which one a moment belongs to.

Weeks are numbered from the first of the reference data (dunnhumby, The Complete Journey, 2017). Week 2 starts on Monday
2017-01-02 at 05:00 UTC, which is midnight in the shops' winter time, and every other week 7 days after the one before;
data of other years simply has other numbers. In summer the reference data's own weeks start an hour earlier in UTC, so
a purchase's week is the one that the data records, never one derived from its time.
"""

from __future__ import annotations

import math
from typing import Final

DAYS: Final = 7.0
"""Days in a week."""

_WEEK_2: Final = 17168 + 5 / 24
"""2017-01-02T05:00Z as days since 1970-01-01 UTC."""


def week_start(week: int) -> float:
    """The moment at which ``week`` starts, in days since 1970-01-01 UTC."""
    return _WEEK_2 + DAYS * (week - 2)


def week_of(day: float) -> int:
    """The week that holds ``day`` (days since 1970-01-01 UTC): ``week_start(w) <= day < week_start(w + 1)``."""
    week = 2 + math.floor((day - _WEEK_2) / DAYS)
    # The quotient's rounding may put a moment just beside a boundary on its wrong side.
    if day >= week_start(week + 1):
        return week + 1
    return week - 1 if day < week_start(week) else week
