"""A document of rules, compiled: finds the view of a request by one dictionary look-up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Final
from weakref import WeakValueDictionary

from api.rules.compiled import Compiled
from api.rules.derivation import Derivation
from api.rules.document import Document
from api.rules.pools import TOUCH_SCORES, scores_of
from api.rules.rule import Availability, MinNew, Rule, Scope
from api.rules.view import View
from api.rules.views import Held, Views
from api.rules.windows import Window
from api.types import Query

_log = logging.getLogger(__name__)

_MOST_KEYS: Final = 16_384
"""Kinds of requests whose view is remembered."""
_MOST_PAGES: Final = 2_048
"""Pages whose rules are remembered."""
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
        self._availability = [at for at, rule in enumerate(self._rules) if isinstance(rule, Availability)]
        self._ages = any(isinstance(rule, MinNew) for rule in self._rules)
        self._open: tuple[bool, ...] = ()
        self._until = -inf
        self._pages: dict[tuple[str, str | None], tuple[int, ...]] = {}
        """Rules that hold on a page at some time for somebody."""
        self._of: dict[_Key, View | None] = {}
        """The views of kinds of requests; many share one, since not every rule tells them apart."""
        self._keys: dict[View, set[_Key]] = {}
        """Where each view is in ``_of``."""
        self._views = Views(self._forget)
        self._derivations: WeakValueDictionary[Held, Derivation] = WeakValueDictionary()
        """As long as a view has them."""
        self._answers: Counter[str] = Counter()
        """Of views that are gone."""
        self._reported: set[tuple[str, str]] = set()

    def of(self, query: Query) -> View | None:
        """The rules for a request; None where none hold. The container must be one of the catalog's, or empty."""
        if (now := self._now()) >= self._until:
            self._turn(now)
        key = (query.container_id, query.category, self._segments.of(query.customer_id))
        try:
            view = self._of[key]
        except KeyError:
            view = self._look_up(key)
        if view is not None:
            view.answers += 1
            self._views.used(view)
        return view

    def answers(self) -> dict[str, int]:
        """Requests that each rule held for, by the rule's id."""
        total = Counter({rule.id: 0 for rule in self._rules})
        total.update(self._answers)
        for view in list(self._views):
            _add_answers(total, view)
        return dict(total)

    def _turn(self, now: float) -> None:
        """Look which time windows are open, and when that may change.

        Views outlive it: those whose rules still hold are found again with all that they made.
        """
        changes = [window.next_change(now) for window in self._windows]
        self._until = min([*changes, now + _HOUR_S] if self._ages else changes, default=inf)
        opened = tuple(window.open_at(now) for window in self._windows)
        if opened != self._open:
            self._open = opened
            self._of.clear()
            self._keys.clear()
        if self._ages:
            for view in list(self._views):
                view.forget_ages()

    def _look_up(self, key: _Key) -> View | None:
        container_id, category, segments = key
        held = tuple(
            at
            for at in self._on_page(container_id, category)
            if self._open[at] and (self._masks[at] == -1 or self._masks[at] & segments)
        )
        view = self._view((container_id, category, held))
        if len(self._of) >= _MOST_KEYS:
            oldest = next(iter(self._of))
            if (other := self._of.pop(oldest)) is not None:
                self._keys[other].discard(oldest)
        self._of[key] = view
        if view is not None:
            self._keys.setdefault(view, set()).add(key)
        return view

    def _on_page(self, container_id: str, category: str | None) -> tuple[int, ...]:
        try:
            return self._pages[container_id, category]
        except KeyError:
            if len(self._pages) >= _MOST_PAGES:
                del self._pages[next(iter(self._pages))]
            placed = (at for at, rule in enumerate(self._rules) if _holds_on(rule.scope, container_id, category))
            self._pages[container_id, category] = found = tuple(placed)
            return found

    def _view(self, key: Held) -> View | None:
        if (known := self._views.find(key)) is not None:
            return known
        container_id, _, held = key
        here = set(held)
        elsewhere = [at for at in self._availability if at not in here and (container_id or self._rules[at].scope.rank)]
        if not held and not elsewhere:
            return None
        rules, others = [self._compiled[at] for at in held], [self._compiled[at] for at in elsewhere]
        view = View(
            rules,
            others,
            self._derivation(key, rules, others),
            today=self._today,
            keeps=bool(container_id),
            report=self._report,
            resized=self._views.resized,
        )
        self._views.add(key, view)
        return view

    def _derivation(self, key: Held, held: list[Compiled], elsewhere: list[Compiled]) -> Derivation | None:
        """Caps, shares and purchases don't tell pools apart."""
        container_id, category, numbers = key
        touching = (container_id, category, tuple(at for at in numbers if isinstance(self._rules[at], TOUCH_SCORES)))
        if (known := self._derivations.get(touching)) is not None:
            return known
        if (scores := scores_of(held, elsewhere)) is None:
            return None
        self._derivations[touching] = made = Derivation(scores, self._views.resized)
        return made

    def _forget(self, view: View) -> None:
        """Of a view that is let go only the answers stay."""
        for key in self._keys.pop(view, ()):
            del self._of[key]
        _add_answers(self._answers, view)
        view.answers = 0

    def _report(self, rule: Rule, column: str) -> None:
        if (rule.id, column) not in self._reported:
            self._reported.add((rule.id, column))
            _log.warning("rule %r needs the products' %s, which this catalog doesn't have", rule.id, column)


def _holds_on(scope: Scope, container_id: str, category: str | None) -> bool:
    if scope.categories is not None and category not in scope.categories:
        return False
    if not container_id:
        return scope.rank
    return scope.containers is None or container_id in scope.containers


def _add_answers(total: Counter[str], view: View) -> None:
    for rule in (*view.rules, *view.elsewhere):
        total[rule.id] += view.answers
