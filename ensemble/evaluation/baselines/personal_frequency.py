"""Personal frequency with popularity back-off: what the customer buys often, then what everybody buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.popularity import ALL_TIME, popular, recent_buyers
from ensemble.evaluation.history import History, Past, Unit
from ensemble.evaluation.topk import TopK, merge_topk, sparse_topk


def row_of(history: History, customer_id: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row of ``customer_id`` ([U], ascending) that each customer number belongs to, [C]; -1 for none."""
    if not customer_id.size:
        return np.full(len(history.customer_id), -1)
    position = np.minimum(np.searchsorted(customer_id, history.customer_id), len(customer_id) - 1)
    return np.where(customer_id[position] == history.customer_id, position, -1)


@dataclass(frozen=True, slots=True)
class PersonalFrequency:
    """score = baskets of the customer with the product, halved every ``half_life`` weeks, + ``backoff`` x popularity.

    Popularity is relative to the most popular product and has a half-life of its own. A half-life of ``ALL_TIME`` is
    plain personal frequency: every basket counts the same.
    """

    half_life: float = 16.0
    backoff: float = 0.1
    popularity_half_life: float = 2.0
    unit: Unit = Unit.TRIP

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "personal frequency" if self.half_life == ALL_TIME else "decayed frequency"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(self.unit)
        count = history.per_pair(0.5 ** (history.age / self.half_life))
        row = row_of(history, customer_id)[history.pair_customer]
        keep = (row >= 0) & np.isin(history.product_id, candidates)[history.pair_product]
        buyers = recent_buyers(past.weeks, self.popularity_half_life)
        # Both units know the same products, so their numbers agree.
        score = count + self.backoff * buyers[history.pair_product] / buyers.max(initial=1e-300)
        own = sparse_topk(row[keep], history.product_id[history.pair_product[keep]], score[keep], len(customer_id), k)
        # A product outside the customer's history scores by popularity alone, and one inside it scores no less, so
        # the k most popular products are all that can be missing from the list.
        everyone = popular(past, self.popularity_half_life, candidates, k)
        shared = TopK(
            np.repeat(everyone.product_id, len(customer_id), axis=0),
            np.repeat(self.backoff * everyone.score, len(customer_id), axis=0),
        )
        return merge_topk(own, shared, k).product_id
