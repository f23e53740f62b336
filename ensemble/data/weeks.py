"""The shop's week: when it starts and which one a moment belongs to.

Weeks are numbered from the first of the reference data (dunnhumby, The Complete Journey, 2017). Week 2 starts on Monday
2017-01-02 at 05:00 UTC, which is midnight in the shops' winter time, and every other week 7 days after the one before;
data of other years simply has other numbers. In summer the reference data's own weeks start an hour earlier in UTC, so
a purchase's week is the one that the data records, never one derived from its time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

DAYS: Final = 7.0
"""Days in a week."""

_WEEK_2: Final = 17168 + 5 / 24
"""2017-01-02T05:00Z as days since 1970-01-01 UTC."""


def week_start(week: int) -> float:
    """The moment at which ``week`` starts, in days since 1970-01-01 UTC."""
    return _WEEK_2 + DAYS * (week - 2)


def week_of(day: float) -> int:
    """The week that holds ``day`` (days since 1970-01-01 UTC): ``week_start(w) <= day < week_start(w + 1)``."""
    return int(weeks_of(np.array([day]))[0])


def weeks_of(days: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """``week_of`` of each of ``days`` [n], which must be finite."""
    week: npt.NDArray[np.int64] = 2 + np.floor((days - _WEEK_2) / DAYS).astype(np.int64)
    # The quotient's rounding may put a moment just beside a boundary on its wrong side.
    week += days >= _WEEK_2 + DAYS * (week - 1)
    week -= days < _WEEK_2 + DAYS * (week - 2)
    return week
