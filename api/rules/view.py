"""The rules of one kind of page for one kind of customer at one time, compiled: what a request looks up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import ref

import numpy as np
import numpy.typing as npt

from api.rules import arrange
from api.rules.compiled import Compiled
from api.rules.derivation import Derivation
from api.rules.pools import selected
from api.rules.rule import Availability, Cap, Exclude, HideBought, MinNew, Pin, Rule
from api.rules.selection import lacks
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
        "_derivation",
        "_hides",
        "_ids_suffice",
        "_keeps",
        "_needs",
        "_new",
        "_pins",
        "_report",
        "_resized",
        "_source",
        "_table",
        "_today",
        "answers",
        "elsewhere",
        "nbytes",
        "rules",
    )

    def __init__(
        self,
        held: Sequence[Compiled],
        elsewhere: Sequence[Compiled],
        derivation: Derivation | None,
        *,
        today: Callable[[], float],
        keeps: bool,
        report: Report,
        resized: Callable[[int], None],
    ) -> None:
        """Compile.

        Args:
            held: the rules that hold.
            elsewhere: availability rules that don't, so that their products can't be shown.
            derivation: what all of them do to scores; None where they do nothing.
            today: days since 1970-01-01 UTC.
            keeps: whether the same pool will come again.
            report: hears of what the catalog lacks.
            resized: hears by how much ``nbytes`` changed.
        """
        self.rules = rules = tuple(each.rule for each in held)
        self.elsewhere = tuple(rule for _, rule in selected(elsewhere, Availability))
        self.answers = 0
        """Requests that the rules held for."""
        self.nbytes = 0
        """What is kept of a pool beside the derivation, in bytes; about."""
        self._today, self._keeps, self._report, self._resized = today, keeps, report, resized
        places = {rule.product: rule.position - 1 for rule in rules if isinstance(rule, Pin)}
        self._pins = tuple((place, product) for product, place in places.items())
        self._caps = tuple(rule for rule in rules if isinstance(rule, Cap))
        self._hides = tuple(rule for rule in rules if isinstance(rule, HideBought))
        self._new = next((rule for rule in rules if isinstance(rule, MinNew)), None)
        self._needs = tuple((each.rule, column) for each in held for column in each.needs)
        self._derivation = derivation
        if derivation is not None and keeps:
            derivation.acquire()
        excluding = [*selected(elsewhere, Availability), *selected(held, Exclude)]
        self._ids_suffice = all(selection.only_ids for selection, _ in excluding)
        self._source: Callable[[], Pool | None] = _nothing
        self._table: Table | None = None
        """Of the pool that :meth:`pool` gave last, not of parts of it."""

    def retire(self) -> int:
        """Keep nothing any more, which requests under way don't mind; returns the bytes that are let go."""
        freed = self.nbytes
        if self._derivation is not None and self._keeps:
            freed += self._derivation.release()
        self._keeps = False
        self._table, self.nbytes = None, 0
        return freed

    def forget_ages(self) -> None:
        """Ask again which products are new."""
        if self._new is not None:
            self._keep(None)

    def pool(self, pool: Pool) -> Pool:
        """The pool as it is to be ranked: other boosts, and excluded products out of the way."""
        if self._source() is not pool:
            self._source = ref(pool)
            self._say_what_is_lacking(pool)
            self._keep(None)
        return pool if self._derivation is None else self._derivation.of(pool)

    def _keep(self, table: Table | None) -> None:
        nbytes = 0 if table is None else table.nbytes
        by, self._table, self.nbytes = nbytes - self.nbytes, table, nbytes
        if by:
            self._resized(by)

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
        if self._derivation is None:
            return ranking
        if not self._ids_suffice:
            return None
        ids = ranking.product_id
        blank = np.zeros(ids.size, np.float32)
        offer = np.zeros((ids.size, len(contract.OFFER)), np.float32)
        shown = ids[~self._derivation.scores.hidden(Pool("", 0, ids, np.zeros(ids.size, np.int32), offer, blank))]
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
        whole = self._source() is pool if self._derivation is None else self._derivation.keeps(pool)
        if whole and self._table is not None:
            return self._table
        made = Table.of(pool, self._caps, self._hides, self._new, self._today())
        if whole and self._keeps:  # a further window's table is small, and would cost the next page the whole one
            self._keep(made)
        return made

    def _say_what_is_lacking(self, pool: Pool) -> None:
        for rule, column in self._needs:
            if lacks(pool, column):
                self._report(rule, column)


def _nothing() -> None:
    """Of no pool yet."""
