"""Item-KNN: products that the same customers buy as what this customer buys, the product itself among them.

Cosine similarity of products over customers with shrinkage (Sarwar et al., WWW 2001; Bell and Koren, ICDM 2007):
s(i, j) = n_ij / (sqrt(n_i n_j) + shrink), n_ij customers who ever bought both. Each product keeps its most similar
others; score(u, j) = sum over i of profile(u, i) s(i, j)^q, where q > 1 lets the most similar count more (Aiolli,
RecSys 2013). The profile holds the customer's baskets with the product, halved every ``half_life`` weeks. s(j, j) = 1
is kept: customers buy the same again, and without it no list would say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.matrix import best_of, decayed, matrix_of
from ensemble.evaluation.baselines.personal_frequency import row_of
from ensemble.evaluation.baselines.popularity import filled
from ensemble.evaluation.history import History, Past, Unit
from ensemble.evaluation.topk import merge_topk, sparse_topk

HEAD: Final = 4096
"""Products with most buyers, which can be each other's neighbours. The others, with fewer than 40 buyers each in the
reference data, keep their own part."""


@dataclass(slots=True)
class PairCache:
    """Keeps the common buyers of pairs of products by week: they don't depend on settings."""

    by_week: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemKnn:
    """The method with its settings."""

    neighbours: int = 100
    """Other products that each product keeps."""
    shrink: float = 20.0
    """Customers."""
    locality: float = 2.0
    """q."""
    half_life: float = 16.0
    """Weeks, of the profile."""
    unit: Unit = Unit.TRIP
    popularity_half_life: float = 2.0
    cache: PairCache | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "item-KNN"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(self.unit)
        profile = decayed(history, self.half_life)
        row = row_of(history, customer_id)[history.pair_customer]
        allowed = np.isin(history.product_id, candidates)
        pair = (row >= 0) & allowed[history.pair_product]
        own = sparse_topk(row[pair], history.product_id[history.pair_product[pair]], profile[pair], len(customer_id), k)

        head, common = self._common_buyers(past)
        similar = self._similarities(common)
        column = np.flatnonzero(allowed[head])
        similar = similar[:, column]
        profiles = matrix_of(history, profile)[:, head]
        related = best_of(history, customer_id, head[column], lambda customer: profiles[customer] @ similar, k)
        # A head product is in both with its own part in either, so the higher score is the whole one.
        return filled(merge_topk(own, related, k), past, self.popularity_half_life, candidates)

    def _similarities(self, common: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[h, h]: column j holds what each product adds to product j; only its nearest and itself aren't 0."""
        buyers = np.diag(common).copy()
        similar: npt.NDArray[np.float32] = common / (np.sqrt(np.outer(buyers, buyers)) + np.float32(self.shrink))
        np.fill_diagonal(similar, 0.0)
        if self.neighbours < len(similar) - 1:
            # By rows, which lie in one piece: as many buyers as i has in common with j has j with i.
            border = np.partition(similar, len(similar) - self.neighbours, axis=1)[:, len(similar) - self.neighbours]
            similar[similar < border] = 0.0
        if self.locality != 1.0:
            np.power(similar, np.float32(self.locality), out=similar, where=similar > 0.0)
        np.fill_diagonal(similar, 1.0)
        return similar

    def _common_buyers(self, past: Past) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        if self.cache is None:
            return common_buyers(past.trips)
        if past.week not in self.cache.by_week:
            self.cache.by_week[past.week] = common_buyers(past.trips)
        return self.cache.by_week[past.week]


def common_buyers(history: History) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Product numbers of the head [h], ascending, and customers who bought both of each two of them [h, h]."""
    buyers = np.bincount(history.pair_product, minlength=len(history.product_id))
    head = np.sort(np.argsort(-buyers, kind="stable")[:HEAD])
    bought = matrix_of(history, np.ones(len(history.pair_customer)))[:, head].toarray()
    common: npt.NDArray[np.float32] = bought.T @ bought
    return head, common
