"""The degradation ladder below the ensemble: the next best order of products, made from what is in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from api.fallback.rung import PrecomputedRung
from api.types import Pool, Query, Ranking, Source
from ensemble import contract


class Ladder:
    """Answers without asking anything of anybody: every rung costs microseconds and none can wait."""

    def __init__(self, precomputed: PrecomputedRung | None) -> None:
        """Use the customers' own lists where there are some."""
        self._precomputed = precomputed

    def without_ensemble(self, query: Query, pool: Pool) -> Ranking:
        """What was computed for this customer, else the pool's own order, which is the catalog's: by popularity."""
        if self._precomputed is not None and (found := self._precomputed.find(query, pool)) is not None:
            return Ranking(found, Source.PRECOMPUTED, self._precomputed.release)
        return Ranking(_by_popularity(pool, query.limit), Source.POPULARITY)

    def without_pool(self, query: Query) -> Ranking | None:
        """What was computed for this customer, else for everybody; what is in stock now isn't known.

        None where nothing was computed for the container.
        """
        return None if self._precomputed is None else self._precomputed.ranking_without_pool(query)


def longest(query: Query) -> Query:
    """The same for a page as long as any can be, so that a rung tells all of its order."""
    return replace(query, limit=contract.MAX_CANDIDATES)


def _by_popularity(pool: Pool, limit: int) -> npt.NDArray[np.int64]:
    """The pool's own order without excluded products."""
    allowed: npt.NDArray[np.int64] = pool.product_id[pool.boost != contract.EXCLUDED]
    return allowed[:limit]
