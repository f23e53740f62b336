"""A document of rules, compiled: finds the view of a request by one dictionary look-up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Final
from weakref import WeakValueDictionary

from api.rules.compiled import Compiled
from api.rules.document import Document
from api.rules.rule import Availability, MinNew, Rule, Scope
from api.rules.view import View
from api.rules.windows import Window
from api.types import Query

_log = logging.getLogger(__name__)

_MOST_VIEWS: Final = 2_048
_MOST_BYTES: Final = 256 * 1024 * 1024
"""Of what all views have made of their pools, about."""
_HOUR_S: Final = 3_600.0
"""After which it is asked again which products are new."""

_Key = tuple[str, str | None, int]


class Book:
    """One version of the rules at work. Lives in one event loop."""

    def __init__(
        self, document: Document, *, version: int, now: Callable[[], float], today: Callable[[], float]
    ) -> None:
        """Compile.

        Args:
            document: the rules.
            version: its number; 0 where it has none.
            now: Unix time.
            today: the models' now, as days since 1970-01-01 UTC.
        """
        self.document = document
        self.version = version
        self._now, self._today = now, today
        self._segments = document.segmentation()
        self._rules = document.rules
        self._compiled = [Compiled.of(rule) for rule in self._rules]
        self._masks = [self._segments.mask(rule.scope.segments) for rule in self._rules]
        self._windows = [Window(rule.scope) for rule in self._rules]
        self._ages = any(isinstance(rule, MinNew) for rule in self._rules)
        self._open: tuple[bool, ...] = ()
        self._until = -inf
        self._views: dict[_Key, View | None] = {}
        self._shared: WeakValueDictionary[tuple[str, str | None, tuple[int, ...]], View] = WeakValueDictionary()
        """Segments that no rule tells apart share their views, and with them their pools."""
        self._answers: Counter[str] = Counter()
        """Of views that are gone."""
        self._reported: set[tuple[str, str]] = set()

    def of(self, query: Query) -> View | None:
        """The rules for a request; None where none hold. The container must be one of the catalog's, or empty."""
        if (now := self._now()) >= self._until:
            self._turn(now)
        key = (query.container_id, query.category, self._segments.of(query.customer_id))
        try:
            view = self._views[key]
        except KeyError:
            view = self._make(key)
        if view is not None:
            view.answers += 1
        return view

    def answers(self) -> dict[str, int]:
        """Requests that each rule held for, by the rule's id."""
        total = Counter({rule.id: 0 for rule in self._rules})
        total.update(self._answers)
        for view in list(self._shared.values()):
            _count(total, view)
        return dict(total)

    def _turn(self, now: float) -> None:
        """Look which time windows are open, and when that may change."""
        changes = [window.next_change(now) for window in self._windows]
        self._until = min([*changes, now + _HOUR_S] if self._ages else changes, default=inf)
        opened = tuple(window.open_at(now) for window in self._windows)
        if opened != self._open or self._ages:
            self._open = opened
            for view in list(self._shared.values()):
                _count(self._answers, view)
            self._views.clear()
            self._shared.clear()

    def _make(self, key: _Key) -> View | None:
        container_id, category, mask = key
        placed = [_on_page(rule.scope, container_id, category) for rule in self._rules]
        held = tuple(
            at
            for at, here in enumerate(placed)
            if here and self._open[at] and (self._masks[at] == -1 or self._masks[at] & mask)
        )
        view = self._view(container_id, category, held)
        self._make_room()
        self._views[key] = view
        return view

    def _view(self, container_id: str, category: str | None, held: tuple[int, ...]) -> View | None:
        if (shared := self._shared.get((container_id, category, held))) is not None:
            return shared
        here = set(held)
        elsewhere = [
            self._compiled[at]
            for at, rule in enumerate(self._rules)
            if isinstance(rule, Availability) and at not in here and (container_id or rule.scope.rank)
        ]
        rules = [self._compiled[at] for at in held]
        if not rules and not elsewhere:
            return None
        view = View(rules, elsewhere, today=self._today, keeps=bool(container_id), report=self._report)
        self._shared[container_id, category, held] = view
        return view

    def _make_room(self) -> None:
        """Forget the oldest views until there is room for another one."""
        nbytes = sum(view.nbytes for view in list(self._shared.values()))
        while self._views and (len(self._views) >= _MOST_VIEWS or nbytes > _MOST_BYTES):
            view = self._views[oldest := next(iter(self._views))]
            nbytes -= 0 if view is None else view.nbytes
            self._forget(oldest)

    def _forget(self, key: _Key) -> None:
        view = self._views.pop(key)
        if view is not None:
            _count(self._answers, view)
            view.answers = 0

    def _report(self, rule: Rule, column: str) -> None:
        if (rule.id, column) not in self._reported:
            self._reported.add((rule.id, column))
            _log.warning("rule %r needs the products' %s, which this catalog doesn't have", rule.id, column)


def _on_page(scope: Scope, container_id: str, category: str | None) -> bool:
    if scope.categories is not None and category not in scope.categories:
        return False
    if not container_id:
        return scope.rank
    return scope.containers is None or container_id in scope.containers


def _count(total: Counter[str], view: View) -> None:
    for rule in (*view.rules, *view.elsewhere):
        total[rule.id] += view.answers
