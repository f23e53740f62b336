"""Ranking metrics of top-k lists, vectorised over customers.

With relevance 0/1, ``hit[j]`` at 0-based rank ``j`` and ``T`` the products the customer bought:

* recall@k = hits among the first k / |T|
* PHR@k (personal hit ratio) = 1 where any of the first k is a hit
* DCG@k = sum of hit[j] / log2(j + 2) over j < k (Järvelin and Kekäläinen, 2002)
* ndcg@k = DCG@k / the DCG of min(k, |T|) hits in a row: a perfect list scores 1 for every customer. The headline.
* ndcg_full@k = DCG@k / the DCG of |T| hits in a row: the convention of several next-basket papers, where a customer
  with more than k products can't reach 1. Given so that figures can be set beside theirs.
* recall_repeat@k, recall_explore@k = recall among the products of T that the customer had bought before, or hadn't;
  undefined (NaN) for a customer without such products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.truth import Truth

CUTOFFS: Final = (10, 20)
HEADLINE: Final = "ndcg@10"


def hits(recommendations: npt.NDArray[np.int64], truth: Truth) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which recommendations the customer bought, and which of those are repeats; two bool [U, K].

    Args:
        recommendations: [U, K] product ids, best first; 0 fills a short list and is never a hit.
        truth: U rows, in the same order.

    Raises:
        ValueError: the number of rows differs, or a list names a product twice (it would count twice).
    """
    if recommendations.ndim != 2 or len(recommendations) != len(truth):
        raise ValueError(f"recommendations of shape {recommendations.shape} for {len(truth)} customers: must be [U, K]")
    ordered = np.sort(recommendations, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)).any():
        raise ValueError("a recommendation list names a product twice")
    bought, code = np.unique(truth.product_id, return_inverse=True)
    if not bought.size:
        nothing = np.zeros(recommendations.shape, np.bool_)
        return nothing, nothing.copy()
    # One ascending key per (row, product) pair turns membership into a single binary search.
    pair_key = truth.row * bought.size + code
    position = np.minimum(np.searchsorted(bought, recommendations), bought.size - 1)
    key = np.arange(len(truth))[:, None] * bought.size + position
    place = np.minimum(np.searchsorted(pair_key, key), pair_key.size - 1)
    hit = (bought[position] == recommendations) & (pair_key[place] == key)
    return hit, hit & truth.repeat[place]


def per_customer(
    recommendations: npt.NDArray[np.int64], truth: Truth, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, npt.NDArray[np.float64]]:
    """Every metric of every customer, each float64 [U]; NaN where a metric is undefined for a customer.

    Arguments and errors as for :func:`hits`; a list shorter than a cutoff counts as filled with misses.
    """
    hit, repeat = hits(recommendations, truth)
    bought = np.diff(truth.start)
    repeats = np.bincount(truth.row[truth.repeat], minlength=len(truth))
    longest = max(int(bought.max(initial=1)), *cutoffs)
    ideal = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(longest) + 2.0))))
    discount = 1.0 / np.log2(np.arange(recommendations.shape[1]) + 2.0)
    result: dict[str, npt.NDArray[np.float64]] = {}
    for k in cutoffs:
        found = hit[:, :k].sum(axis=1)
        found_repeats = repeat[:, :k].sum(axis=1)
        gain = hit[:, :k] @ discount[:k]
        result[f"ndcg@{k}"] = _ratio(gain, ideal[np.minimum(bought, k)])
        result[f"ndcg_full@{k}"] = _ratio(gain, ideal[bought])
        result[f"recall@{k}"] = _ratio(found, bought)
        result[f"phr@{k}"] = np.where(bought > 0, (found > 0).astype(np.float64), np.nan)
        result[f"recall_repeat@{k}"] = _ratio(found_repeats, repeats)
        result[f"recall_explore@{k}"] = _ratio(found - found_repeats, bought - repeats)
    return result


def mean(values: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """The mean of each metric over the customers for whom it is defined; NaN if there are none."""
    return {
        name: float(np.nanmean(value)) if np.isfinite(value).any() else float("nan") for name, value in values.items()
    }


def evaluate_topk(
    recommendations: npt.NDArray[np.int64], truth: Truth, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """The mean of every metric over the customers; arguments and errors as for :func:`hits`."""
    return mean(per_customer(recommendations, truth, cutoffs))


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """``part / whole``, NaN where ``whole`` is 0; both [U]."""
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
