"""The shop's rules as explanations need them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from api.explain.evidence import Effects, RuleEffect, RulesOf, no_rules
from api.rules.effects import effects
from api.rules.live import Rules
from api.rules.view import View
from api.types import Pool, Query, Ranking


class RuledPage:
    """Implements ``api.explain.evidence.PageRules`` over the rules that hold for one query."""

    def __init__(self, view: View) -> None:
        self._view = view

    def pool(self, pool: Pool) -> Pool:
        """The pool as the rules want it ranked."""
        return self._view.pool(pool)

    def arranged(self, query: Query, pool: Pool, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A ranked order as the rules want it shown."""
        return self._view.arranged(query, pool, order)

    def allowed_of(self, ranking: Ranking) -> Ranking | None:
        """What the rules let through of a page that was made without a pool."""
        return self._view.allowed_of(ranking)

    def effects(self, query: Query, pool: Pool, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]) -> Effects:
        """Which rules touched each product, and where it was and is."""
        touched = effects(self._view, query, pool, before, after)
        return {
            product: [RuleEffect(each.rule_id, each.effect, each.before, each.after) for each in touches]
            for product, touches in touched.items()
        }


def rules_of(rules: Rules | None) -> RulesOf:
    """The rules that hold for a query, as explanations ask for them."""
    if rules is None:
        return no_rules

    def of(query: Query) -> RuledPage | None:
        view = rules.of(query)
        return None if view is None else RuledPage(view)

    return of
