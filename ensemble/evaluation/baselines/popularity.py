"""Popularity: the same list for everybody, by all buyers so far or by recent ones, and what fills other lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.history import History, Past
from ensemble.evaluation.topk import TopK, dense_topk, merge_topk

ALL_TIME: Final = math.inf
"""A half-life in which nothing fades."""

TIE_BREAK: Final = 1e-9
"""Weight of relative popularity where it only orders what has no weight at all, and all there is for strangers."""


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


def filled(lists: TopK, past: Past, half_life: float, candidates: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Lists [U, k] whose rest, and whose ties with a score of 0, are ordered by popularity; product ids [U, k].

    Args:
        lists: scores are 0 or at least ``TIE_BREAK`` where popularity shall not overrule them.
        past: where popularity is counted.
        half_life: of popularity, weeks.
        candidates: products that may be named, ascending.
    """
    rows, k = lists.product_id.shape
    everyone = popular(past, half_life, candidates, k)
    rest = TopK(np.repeat(everyone.product_id, rows, axis=0), np.repeat(TIE_BREAK * everyone.score, rows, axis=0))
    return merge_topk(lists, rest, k).product_id


@dataclass(frozen=True, slots=True)
class Popularity:
    """Products by their number of weekly buyers, halved every ``half_life`` weeks; ``ALL_TIME`` counts all alike."""

    half_life: float = 2.0

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "popularity" if self.half_life == ALL_TIME else "recent popularity"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """The same k products for every customer; see ``Recommender.recommend``."""
        return np.repeat(popular(past, self.half_life, candidates, k).product_id, len(customer_id), axis=0)
