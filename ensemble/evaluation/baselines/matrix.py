"""Histories as a matrix of customers and products, and the best of scores that are too many to hold at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.personal_frequency import row_of
from ensemble.evaluation.history import History
from ensemble.evaluation.topk import TopK, dense_topk

if TYPE_CHECKING:
    # SciPy comes with the packages that only the evaluation needs.
    from scipy.sparse import csr_matrix

    Sparse: TypeAlias = csr_matrix

_BLOCK: Final = 256
"""Customers scored at a time: with 60,000 products their scores are 60 MB."""

Score = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Takes customer numbers [b] and gives their scores of the products in question [b, m]."""


def matrix_of(history: History, weight: npt.NDArray[np.float64]) -> Sparse:
    """The sparse matrix [C, P] whose entries are the pairs' ``weight`` ([Q], from ``History.per_pair``)."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415  # see above

    shape = (len(history.customer_id), len(history.product_id))
    return csr_matrix((weight.astype(np.float32), (history.pair_customer, history.pair_product)), shape)


def decayed(history: History, half_life: float) -> npt.NDArray[np.float64]:
    """Baskets of each pair, halved every ``half_life`` weeks, [Q]."""
    return history.per_pair(0.5 ** (history.age / half_life))


def best_of(
    history: History,
    customer_id: npt.NDArray[np.int64],
    product: npt.NDArray[np.int64],
    score: Score,
    k: int,
) -> TopK:
    """The k best of the product numbers ``product`` ([m], ascending) for each of ``customer_id`` ([U], ascending).

    A customer without a history has an empty row.
    """
    result = TopK(np.zeros((len(customer_id), k), np.int64), np.full((len(customer_id), k), -np.inf))
    if not product.size:
        return result
    row = row_of(history, customer_id)
    known = np.flatnonzero(row >= 0)
    for begin in range(0, len(known), _BLOCK):
        block = known[begin : begin + _BLOCK]
        best = dense_topk(score(block), history.product_id[product], k)
        result.product_id[row[block]], result.score[row[block]] = best.product_id, best.score
    return result
