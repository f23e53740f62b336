"""UP-CF: what the customer and customers alike bought in their latest baskets.

After Faggioli, Polato, Aiolli: "Recency Aware Collaborative Filtering for Next Basket Recommendation" (UMAP 2020). Of
a customer's last r baskets, w(u, i) is the share that hold product i, and I_u is the set of their products. Customers
are alike by the asymmetric cosine s(u, v) = |I_u and I_v| / (|I_u|^alpha |I_v|^(1 - alpha)); the score is
sum over v of s(u, v)^q w(v, i), the customer's own part, with s = 1, among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.matrix import best_of, matrix_of
from ensemble.evaluation.baselines.popularity import filled
from ensemble.evaluation.history import Past, Unit


@dataclass(frozen=True, slots=True)
class UpCf:
    """The method with its settings; the defaults are those used for a grocery data set of this publisher."""

    recency: int = 25
    """r, baskets."""
    alpha: float = 0.75
    locality: float = 10.0
    """q: the higher, the fewer neighbours count."""
    unit: Unit = Unit.TRIP
    popularity_half_life: float = 2.0

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "UP-CF"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(self.unit)
        baskets = history.baskets[history.pair_customer[history.pair]]
        latest = history.basket >= baskets - self.recency
        share = matrix_of(history, history.per_pair(latest / np.minimum(baskets, self.recency)))
        share.eliminate_zeros()
        products = np.maximum(np.diff(share.indptr), 1).astype(np.float32)
        inside = share.copy()
        inside.data[:] = 1.0
        product = np.flatnonzero(np.isin(history.product_id, candidates))
        offered = share[:, product]

        def score(customer: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            common = (inside[customer] @ inside.T).toarray()
            alike = common / (products[customer, None] ** self.alpha * products ** (1.0 - self.alpha))
            # Sparse @ dense gives a dense array; SciPy has it the other way round only for its own types.
            scores: npt.NDArray[np.float32] = (offered.T @ (alike**self.locality).T).T
            return scores

        return filled(best_of(history, customer_id, product, score, k), past, self.popularity_half_life, candidates)
