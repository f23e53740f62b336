"""An explained request: query -> pool -> explained ranking -> page with explanations; beside the hot pipeline.

The same stages as in ``api.pipeline``, of which the page must not differ: tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from api.catalog.protocol import Catalog
from api.errors import CatalogUnavailable, Unavailable
from api.events.recall import Recall
from api.explain.calls import ExplainedCalls
from api.explain.evidence import Effects, Evidence, ExplainedPage, RulesOf, Scored, no_rules
from api.explain.explainer import Explainer
from api.ladder import Ladder, longest
from api.pipeline import flaws
from api.releases.counts import Unjudged
from api.releases.lane import Lane
from api.releases.lanes import Lanes
from api.resilience.budget import Budget, Budgets, Patience
from api.scroll.scroll import Scroll
from api.scroll.stock import followed
from api.types import Page, Pool, Query, Ranking, Source, Timing


class ExplainedPages:
    """Answers queries that want to know why."""

    def __init__(
        self,
        catalog: Catalog,
        lanes: Lanes,
        calls: ExplainedCalls,
        ladder: Ladder,
        scroll: Scroll,
        budgets: Budgets,
        patience: Patience,
        *,
        rules: RulesOf = no_rules,
        recall: Recall | None = None,
        clock: Callable[[], float],
    ) -> None:
        """Put the stages together.

        Args:
            catalog: where pools come from.
            lanes: which release ranks for whom.
            calls: the way to the releases; on the same clock.
            ladder: what answers where the ensemble doesn't.
            scroll: writes the cursors of grids.
            budgets: shares out each request's time.
            patience: how much of it there is; a person waits for an explanation, so it has all that can be asked for.
            rules: the merchandising rules that hold for a query.
            recall: knows what customers did lately; None where nobody does.
            clock: seconds.
        """
        self._catalog = catalog
        self._lanes = lanes
        self._calls = calls
        self._ladder = ladder
        self._scroll = scroll
        self._budgets = budgets
        self._patience = patience
        self._rules = rules
        self._recall = recall
        self._clock = clock

    async def explain(
        self,
        query: Query,
        product_ids: npt.NDArray[np.int64] | None = None,
        *,
        why_not: int | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> ExplainedPage:
        """The page that ``Pipeline.recommend`` or ``rerank`` would give, explained.

        Args:
            query: what is asked for.
            product_ids: the caller's own products; None for the query's container.
            why_not: a product whose place, or absence, shall be explained as well.
            gone: tells whether the caller has gone away meanwhile.

        Raises:
            As ``Pipeline.recommend`` does.
        """
        most_s = self._patience.max_deadline_s
        budget = self._budgets.of(most_s if query.timeout_s is None else min(query.timeout_s, most_s))
        lane = self._lanes.of(query)
        reading = None if self._recall is None else self._recall.begin(query, budget.pool_until)
        try:
            pool = await self._pool(query, product_ids, budget)
        except CatalogUnavailable as error:
            ranking = None if product_ids is not None else self._ladder.without_pool(query)
            if ranking is not None and (rules := self._rules(query)) is not None:
                ranking = rules.allowed_of(ranking)
            if ranking is None:
                raise
            spent = self._clock() - budget.arrived
            page = Page(query, ranking, Timing(spent, total=spent, budget=budget.total_s), (error.reason,))
            order = ranking.product_id
            evidence = Evidence(query, ranking.source, order, order.size)
        else:
            pooled = self._clock()
            lacking: tuple[str, ...] = ()
            if reading is not None and self._recall is not None:
                query, lacking = await self._recall.finish(query, reading, lane.history_until)
            page, evidence = await self._ranked(lane, query, pool, pooled, lacking, budget, gone)
        explainer = Explainer(evidence)
        asked = None
        if why_not is not None:
            known = explainer.in_pool(why_not) or (
                None if evidence.pool is None else await self._known(why_not, budget)
            )
            asked = explainer.why_not(why_not, known=known)
        return ExplainedPage(page, explainer.shown(), asked)

    async def _pool(self, query: Query, product_ids: npt.NDArray[np.int64] | None, budget: Budget) -> Pool:
        if product_ids is not None:
            return await self._catalog.lookup(product_ids, deadline=budget.pool_until)
        waits_until = self._patience.pool_until(budget, query.timeout_s)
        return await self._catalog.pool(query.container_id, query.category, deadline=waits_until)

    async def _ranked(
        self,
        lane: Lane,
        query: Query,
        pool: Pool,
        pooled: float,
        lacking: tuple[str, ...],
        budget: Budget,
        gone: Callable[[], bool] | None,
    ) -> tuple[Page, Evidence]:
        queue_s = ensemble_s = 0.0
        degraded = (*flaws(pool, pooled), *lacking)
        rules = self._rules(query)
        candidates = pool if rules is None else rules.pool(pool)
        scored: Scored | None = None
        source, release, order = Source.POPULARITY, None, candidates.product_id
        if order.size:
            lane.counts.unjudged[Unjudged.EXPLAINED] += 1
            try:
                answer = await self._calls.explain(lane, query, candidates, budget, gone)
                scored = Scored.of(answer.explained)
                source, release, order = Source.ENSEMBLE, answer.explained.release, scored.product_id
                queue_s, ensemble_s = answer.queue_s, answer.ensemble_s
            except Unavailable as error:
                degraded = (*degraded, error.reason)
                # The page is the beginning of a longer one, which tells places beyond it.
                lesser = self._ladder.without_ensemble(longest(query), candidates)
                source, release, order = lesser.source, lesser.release, lesser.product_id
                if candidates.scrolls or rules is not None:  # then the pipeline goes on behind the page, and how
                    order = followed(order, candidates)
        before = order
        effects: Effects = {}
        if rules is not None and order.size:
            order = rules.arranged(query, candidates, order)
            effects = rules.effects(query, pool, before, order)
        ranking = Ranking(order[: query.limit], source, release)
        timing = Timing(pooled - budget.arrived, queue_s, ensemble_s, self._clock() - budget.arrived, budget.total_s)
        evidence = Evidence(query, source, order, ranking.product_id.size, pool, candidates, scored, effects)
        cursor = self._scroll.begin(query, candidates, ranking, order) if candidates.scrolls else None
        return Page(query, ranking, timing, degraded, cursor), evidence

    async def _known(self, product_id: int, budget: Budget) -> bool | None:
        try:
            return await self._catalog.has_product(product_id, deadline=budget.answer_from)
        except CatalogUnavailable:
            return None
