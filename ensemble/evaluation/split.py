"""The global time split: which weeks a model may learn from, be tuned on and be judged by.

One point in time parts past and future for every customer at once. Leaving out each customer's last basket instead
would let a model learn from other customers' later weeks (Ji et al., "A critical study on data leakage in recommender
system offline evaluation", 2020).
"""

from __future__ import annotations

import re
from typing import Final

from ensemble.errors import RacksortError

LAST_TRAINING_WEEK: Final = 40
VALIDATION_WEEKS: Final = tuple(range(41, 47))
TEST_WEEKS: Final = tuple(range(47, 53))
"""Week 53 is cut off by the end of the year, so it isn't judged."""

_WEEKS: Final = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")


def weeks_of(text: str) -> tuple[int, ...]:
    """The weeks to judge that ``text`` names, such as ``47-52`` or ``41``: all test weeks, or all validation weeks.

    Raises:
        RacksortError: it isn't a range of weeks, or they aren't all of one kind.
    """
    found = _WEEKS.fullmatch(text.strip())
    weeks: tuple[int, ...] = ()
    if found is not None:
        first = int(found[1])
        weeks = tuple(range(first, int(found[2] or first) + 1))
    if not weeks or not any(set(weeks) <= set(kind) for kind in (TEST_WEEKS, VALIDATION_WEEKS)):
        raise RacksortError(
            f"--weeks {text}: name test weeks within {_shown(TEST_WEEKS)}, or validation weeks within "
            f"{_shown(VALIDATION_WEEKS)}, such as {_shown(VALIDATION_WEEKS)} or {TEST_WEEKS[0]}"
        )
    return weeks


def are_validation(weeks: tuple[int, ...]) -> bool:
    """Whether settings were chosen on these weeks, so that figures on them flatter."""
    return any(week in VALIDATION_WEEKS for week in weeks)


def _shown(weeks: tuple[int, ...]) -> str:
    return f"{weeks[0]}-{weeks[-1]}"
