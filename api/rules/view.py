"""The rules of one kind of page for one kind of customer at one time, compiled: what a request looks up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import ref

import numpy as np
import numpy.typing as npt

from api.rules import arrange
from api.rules.pools import Scores, derived
from api.rules.rule import Availability, Boost, Bury, Cap, Exclude, HideBought, MinNew, Pin, Rule
from api.rules.selection import Selection, lacking
from api.rules.table import Table
from api.types import Pool, Query, Ranking, Recent
from ensemble import contract

Report = Callable[[Rule, str], None]
"""Hears of a rule and of what its catalog lacks for it."""


class View:
    """Applies rules. What it makes of a pool is kept until another pool comes."""

    __slots__ = (
        "__weakref__",
        "_caps",
        "_derived",
        "_hides",
        "_ids_suffice",
        "_keeps",
        "_new",
        "_pins",
        "_report",
        "_scores",
        "_source",
        "_table",
        "_tabled",
        "_today",
        "answers",
        "elsewhere",
        "rules",
    )

    def __init__(
        self,
        rules: Sequence[Rule],
        elsewhere: Sequence[Availability],
        *,
        today: Callable[[], float],
        keeps: bool,
        report: Report,
    ) -> None:
        """Compile.

        Args:
            rules: those that hold.
            elsewhere: availability rules that don't, so that their products can't be shown.
            today: days since 1970-01-01 UTC.
            keeps: whether the same pool will come again.
            report: hears of what the catalog lacks.
        """
        self.rules, self.elsewhere = tuple(rules), tuple(elsewhere)
        self.answers = 0
        """Requests that the rules held for."""
        self._today, self._keeps, self._report = today, keeps, report
        self._pins = tuple((rule.position - 1, rule.product) for rule in rules if isinstance(rule, Pin))
        self._caps = tuple(rule for rule in rules if isinstance(rule, Cap))
        self._hides = tuple(rule for rule in rules if isinstance(rule, HideBought))
        self._new = next((rule for rule in rules if isinstance(rule, MinNew)), None)
        self._scores = _scores(rules, elsewhere)
        excluding: list[Exclude | Availability] = [*elsewhere, *(rule for rule in rules if isinstance(rule, Exclude))]
        self._ids_suffice = all(rule.products.only_ids for rule in excluding)
        self._source: Callable[[], Pool | None] = _nothing
        self._derived: Pool | None = None
        self._tabled: Callable[[], Pool | None] = _nothing
        self._table: Table | None = None

    @property
    def nbytes(self) -> int:
        """What is kept of a pool, in bytes."""
        made, source = self._derived, self._source()
        if made is None:
            return 0
        if source is not None and made.product_id is source.product_id:  # all but the boosts is shared
            return made.boost.nbytes
        rows = 0 if made.attributes is None else made.attributes.row.nbytes
        return rows + sum(each.nbytes for each in (made.product_id, made.category_id, made.offer, made.boost))

    def pool(self, pool: Pool) -> Pool:
        """The pool as it is to be ranked: other boosts, and excluded products out of the way."""
        if self._scores is None:
            return pool
        if self._source() is pool and self._derived is not None:
            return self._derived
        self._say_what_is_lacking(pool)
        made = derived(pool, self._scores)
        if self._keeps:
            self._source, self._derived = ref(pool), made
        return made

    def arranged(self, query: Query, pool: Pool, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A ranked order as it is to be shown.

        Args:
            query: who asks; ``bought``, else ``recent``, says what they bought. Behind the first page of a scroll only
                that counts: the places that other rules speak of are on the pages before.
            pool: what :meth:`pool` gave, or a part of it.
            order: product ids, best first: all that were ranked, without padding.

        Returns:
            Product ids without hidden ones, perhaps ``order`` itself.
        """
        return self.traced(query, pool, order, None)

    def traced(
        self, query: Query, pool: Pool, order: npt.NDArray[np.int64], touched: Callable[[int, str], None] | None
    ) -> npt.NDArray[np.int64]:
        """The same; ``touched`` hears product and rule where a cap, a share or a purchase changed something."""
        if self._hides and (bought := query.recent if query.bought is None else query.bought()) is not None:
            order = self._without_bought(bought, pool, order, touched)
        if query.cursor is not None:
            return order
        pins = self._pinned(order)
        if not (pins or self._caps or self._new):
            return order
        if not (self._caps or self._new):
            return order[arrange.pinned(order.size, pins)]
        table = self._table_of(pool)
        kinds = table.kinds
        caps = [
            arrange.Capped(rule.id, group, rule.most, rule.among)
            for rule, group in zip(self._caps, kinds.groups, strict=True)
        ]
        new = self._new
        share = None if new is None else arrange.Share(new.id, kinds.new, new.share, new.among)
        heard = None if touched is None else (lambda index, rule_id: touched(int(order[index]), rule_id))
        return order[arrange.arranged(kinds.code[table.rows(order)], pins, caps, share, heard)]

    def allowed_of(self, ranking: Ranking) -> Ranking | None:
        """A page that was made without a pool, as far as it may be shown.

        None where it can't be said which of the products are excluded, because rules name categories or brands.
        """
        if self._scores is None:
            return ranking
        if not self._ids_suffice:
            return None
        ids = ranking.product_id
        blank = np.zeros(ids.size, np.float32)
        offer = np.zeros((ids.size, len(contract.OFFER)), np.float32)
        shown = ids[~self._scores.hidden(Pool("", 0, ids, np.zeros(ids.size, np.int32), offer, blank))]
        return Ranking(shown, ranking.source, ranking.release)

    def _pinned(self, order: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
        """Index and place of the pinned products that are there."""
        found = ((np.flatnonzero(order == product), place) for place, product in self._pins)
        return [(int(at[0]), place) for at, place in found if at.size]

    def _without_bought(
        self,
        recent: Recent,
        pool: Pool,
        order: npt.NDArray[np.int64],
        touched: Callable[[int, str], None] | None,
    ) -> npt.NDArray[np.int64]:
        table = self._table_of(pool)
        for number, rule in enumerate(self._hides):
            bought = recent.product_id[recent.age <= rule.days]
            bought = bought[(bought != contract.PADDING) & table.holds(bought)]
            bought = bought[~table.replenishable[number][table.rows(bought)]]
            if bought.size:
                hidden = (order[:, None] == bought).any(axis=1)
                if touched is not None:
                    for product in order[hidden].tolist():
                        touched(product, rule.id)
                order = order[~hidden]
        return order

    def _table_of(self, pool: Pool) -> Table:
        if self._tabled() is pool and self._table is not None:
            return self._table
        self._say_what_is_lacking(pool)
        made = Table.of(pool, self._caps, self._hides, self._new, self._today())
        if self._keeps:
            self._tabled, self._table = ref(pool), made
        return made

    def _say_what_is_lacking(self, pool: Pool) -> None:
        for rule in self.rules:
            for column in lacking(rule, pool):
                self._report(rule, column)


def _scores(rules: Sequence[Rule], elsewhere: Sequence[Availability]) -> Scores | None:
    lifts = [
        (Selection(rule.products), rule.amount if isinstance(rule, Boost) else -rule.amount)
        for rule in rules
        if isinstance(rule, Boost | Bury)
    ]
    excluded = tuple(Selection(rule.products) for rule in rules if isinstance(rule, Exclude))
    pinned = np.array([rule.product for rule in rules if isinstance(rule, Pin)], np.int64)
    if not (lifts or excluded or elsewhere or pinned.size):
        return None
    within = tuple(Selection(rule.products) for rule in rules if isinstance(rule, Availability))
    return Scores(excluded, within, tuple(Selection(rule.products) for rule in elsewhere), tuple(lifts), pinned)


def _nothing() -> None:
    """Of no pool yet."""
