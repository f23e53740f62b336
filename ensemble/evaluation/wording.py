"""Intervals in words, the same in every study."""

from __future__ import annotations

import math

from ensemble.bootstrap import Interval


def gained(difference: Interval) -> str:
    """A paired difference with its interval, such as ``+0.0024 [+0.0009, +0.0041]``."""
    if not math.isfinite(difference.value):
        return "not defined"
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def compared(difference: Interval) -> str:
    """What the interval of a difference allows to say: better, worse or neither."""
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "not told apart"
