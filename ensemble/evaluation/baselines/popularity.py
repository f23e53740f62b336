"""Popularity: the same list for everybody, recent buyers counting more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.history import History, Past
from ensemble.evaluation.topk import TopK, dense_topk


def recent_buyers(history: History, half_life: float) -> npt.NDArray[np.float64]:
    """Buyers of each product, [P]: each (customer, basket) counts 0.5 ** (age in weeks / half_life)."""
    product = history.pair_product[history.pair]
    weight = 0.5 ** (history.age / half_life)
    return np.bincount(product, weight, len(history.product_id)).astype(np.float64)


def popular(past: Past, half_life: float, candidates: npt.NDArray[np.int64], k: int) -> TopK:
    """The k candidates with most recent buyers as one row; scores relative to the most popular product of all."""
    history = past.weeks
    buyers = recent_buyers(history, half_life)
    if buyers.size:
        buyers = buyers / buyers.max()
    allowed = np.isin(history.product_id, candidates)
    return dense_topk(buyers[None, allowed], history.product_id[allowed], k)


@dataclass(frozen=True, slots=True)
class Popularity:
    """Products by their number of weekly buyers, halved every ``half_life`` weeks."""

    half_life: float = 2.0

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "popularity"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """The same k products for every customer; see ``Recommender.recommend``."""
        return np.repeat(popular(past, self.half_life, candidates, k).product_id, len(customer_id), axis=0)
