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
* revenue@k = what the customer spent in the week on hits among the first k / all that it spent on T; undefined where
  nothing was paid.
* categories@k = distinct leaf categories among the first k, whether bought or not: how mixed the list is.
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
    hit, pair = _matched(recommendations, truth)
    return hit, hit & _taken(truth.repeat, pair)


def _matched(
    recommendations: npt.NDArray[np.int64], truth: Truth
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which recommendations are hits, and the pair of the truth that each hit is; both [U, K]."""
    if recommendations.ndim != 2 or len(recommendations) != len(truth):
        raise ValueError(f"recommendations of shape {recommendations.shape} for {len(truth)} customers: must be [U, K]")
    ordered = np.sort(recommendations, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)).any():
        raise ValueError("a recommendation list names a product twice")
    bought, code = np.unique(truth.product_id, return_inverse=True)
    if not bought.size:
        return np.zeros(recommendations.shape, np.bool_), np.zeros(recommendations.shape, np.int64)
    # One ascending key per (row, product) pair turns membership into a single binary search.
    pair_key = truth.row * bought.size + code
    position = np.minimum(np.searchsorted(bought, recommendations), bought.size - 1)
    key = np.arange(len(truth))[:, None] * bought.size + position
    pair = np.minimum(np.searchsorted(pair_key, key), pair_key.size - 1)
    return (bought[position] == recommendations) & (pair_key[pair] == key), pair


def _taken(value: npt.NDArray[Any], pair: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """``value`` [n] of pairs [U, K]; zeros where the truth is empty."""
    taken: npt.NDArray[Any] = value[pair] if len(value) else np.zeros(pair.shape, value.dtype)
    return taken


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


def revenue_caught(
    recommendations: npt.NDArray[np.int64], truth: Truth, spent: npt.NDArray[np.float64], k: int
) -> npt.NDArray[np.float64]:
    """revenue@k of every customer, float64 [U]; NaN where nothing was paid.

    Args:
        recommendations: [U, K], as for :func:`hits`, which also has the errors.
        truth: U rows.
        spent: [n] for the truth's pairs, at least 0; ``truth.spent_of`` makes it.
        k: the first so many places count.
    """
    hit, pair = _matched(recommendations[:, :k], truth)
    caught = np.where(hit, _taken(spent, pair), 0.0).sum(axis=1)
    return _ratio(caught, np.bincount(truth.row, spent, len(truth)))


def categories_named(
    recommendations: npt.NDArray[np.int64],
    product_id: npt.NDArray[np.int64],
    category_id: npt.NDArray[np.integer[Any]],
    k: int,
) -> npt.NDArray[np.float64]:
    """categories@k of every list, float64 [U].

    Args:
        recommendations: [U, K]; 0 fills a short list and has no category.
        product_id: [p], ascending; holds every product that is recommended.
        category_id: [p], of these products.
        k: the first so many places count.
    """
    shown = recommendations[:, :k]
    position = np.minimum(np.searchsorted(product_id, shown), len(product_id) - 1)
    category = np.sort(np.where(shown != 0, category_id[position].astype(np.int64), _NO_CATEGORY), axis=1)
    first_of_its_kind = np.ones(category.shape, np.bool_)
    first_of_its_kind[:, 1:] = category[:, 1:] != category[:, :-1]
    count: npt.NDArray[np.int64] = (first_of_its_kind & (category != _NO_CATEGORY)).sum(axis=1)
    return count.astype(np.float64)


_NO_CATEGORY: Final = -1
"""Of padding; categories are numbered from 0."""


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
