"""Time windows of scopes: whether one is open, when that may change, and whether two are ever open together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from math import inf
from typing import Final
from zoneinfo import ZoneInfo

from api.rules.rule import MINUTES_A_DAY, QUARTER, WEEKDAYS, Scope, minute_of

_QUARTER_S: Final = QUARTER * 60
_DAY_S: Final = MINUTES_A_DAY * 60
_SAME_ZONE_S: Final = 15 * _DAY_S
"""A weekly rhythm shows all it has, even where a day of it lacks an hour."""
_TWO_ZONES_S: Final = 400 * _DAY_S
"""Two zones shift against each other through the year."""
_SOMETIME: Final = 1_704_067_200.0
"""2024-01-01T00:00Z, a Monday: where to look where nothing says when."""


class Window:
    """When a scope is open: half-open intervals of Unix time."""

    __slots__ = ("_days", "_from", "_until", "_zone", "name", "since", "until")

    def __init__(self, scope: Scope) -> None:
        self.since = -inf if scope.since is None else scope.since.timestamp()
        self.until = inf if scope.until is None else scope.until.timestamp()
        self.name = scope.timezone
        self._zone = ZoneInfo(scope.timezone)
        self._days = frozenset(range(7) if scope.weekdays is None else map(WEEKDAYS.index, scope.weekdays))
        hours = ("00:00", "24:00") if scope.hours is None else scope.hours
        self._from, self._until = map(minute_of, hours)

    @property
    def recurs(self) -> bool:
        """Whether it opens and closes by the clock."""
        return len(self._days) < len(WEEKDAYS) or self._until - self._from < MINUTES_A_DAY

    def open_at(self, now: float) -> bool:
        """Whether it is open, in Unix time."""
        if not self.since <= now < self.until:
            return False
        if not self.recurs:
            return True
        local = datetime.fromtimestamp(now, self._zone)
        return local.weekday() in self._days and self._from <= local.hour * 60 + local.minute < self._until

    def next_change(self, now: float) -> float:
        """Until when :meth:`open_at` certainly stays as it is."""
        edges = [edge for edge in (self.since, self.until) if edge > now]
        if self.recurs and now < self.until:
            edges.append((now // _QUARTER_S + 1) * _QUARTER_S)
        return min(edges, default=inf)

    def meets(self, other: Window) -> bool:
        """Whether both are ever open at the same moment."""
        begin, end = max(self.since, other.since), min(self.until, other.until)
        if begin >= end:
            return False
        if not self.recurs and not other.recurs:
            return True
        same = self.name == other.name or not (self.recurs and other.recurs)
        if same and self.recurs and other.recurs and not self._shares_hours(other):
            return False
        span = _SAME_ZONE_S if same else _TWO_ZONES_S
        if same and end - begin >= span:
            return True
        if begin == -inf:
            begin = _SOMETIME if end == inf else end - span
        return any(self.open_at(moment) and other.open_at(moment) for moment in _moments(begin, min(end, begin + span)))

    def _shares_hours(self, other: Window) -> bool:
        return bool(self._days & other._days) and max(self._from, other._from) < min(self._until, other._until)


def _moments(begin: float, end: float) -> Iterable[float]:
    """Where an interval may open: at its begin, and at every quarter of an hour."""
    yield begin
    at = (begin // _QUARTER_S + 1) * _QUARTER_S
    while at < end:
        yield at
        at += _QUARTER_S
