"""The best k products per row, from sparse or dense scores. Ties go to the smaller product id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class TopK:
    """The best products of U rows: ``product_id`` int64 [U, k], 0 where a row has fewer, ``score`` float64 [U, k]."""

    product_id: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    """-inf where ``product_id`` is 0."""


def sparse_topk(
    row: npt.NDArray[np.int64],
    product_id: npt.NDArray[np.int64],
    score: npt.NDArray[np.float64],
    rows: int,
    k: int,
) -> TopK:
    """The k best entries of each row; ``row``, ``product_id`` and ``score`` are [n], ``row`` within 0..rows-1."""
    order = np.lexsort((product_id, -score, row))
    row = row[order]
    start = np.searchsorted(row, np.arange(rows))
    rank = np.arange(len(row)) - start[row]
    keep = rank < k
    result = TopK(np.zeros((rows, k), np.int64), np.full((rows, k), -np.inf))
    result.product_id[row[keep], rank[keep]] = product_id[order][keep]
    result.score[row[keep], rank[keep]] = score[order][keep]
    return result


def dense_topk(score: npt.NDArray[Any], product_id: npt.NDArray[np.int64], k: int) -> TopK:
    """The k best columns of each row of ``score`` [U, m]; column j is ``product_id[j]``, ids ascending."""
    row, column = np.nonzero(_contenders(score, k))
    return sparse_topk(row, product_id[column], score[row, column].astype(np.float64), len(score), k)


_LAYERS: Final = 64
"""Pieces that a row is cut into and that are laid over each other."""


def _contenders(score: npt.NDArray[Any], k: int) -> npt.NDArray[np.bool_]:
    """[U, m]: all of each row's k best columns, and few others.

    A row's k-th best is at least the k-th best of the maxima through its layers, which the vector units find twenty
    times as fast as a partition of the row.
    """
    rows, width = score.shape
    maxima = width // _LAYERS
    if not 0 < k < width:
        return np.full((rows, width), k > 0)
    if maxima <= k:
        border = np.partition(score, width - k, axis=1)[:, width - k]
    else:
        largest = score[:, : maxima * _LAYERS].reshape(rows, _LAYERS, maxima).max(axis=1)
        border = np.partition(largest, maxima - k, axis=1)[:, maxima - k]
    contends: npt.NDArray[np.bool_] = score >= border[:, None]
    # Where many are as good as the border, such as all products that nothing is known of, the first k of them do: ties
    # are settled by the id.
    for row in np.flatnonzero(np.count_nonzero(contends, axis=1) > k):
        contends[row, np.flatnonzero(score[row] == border[row])[k:]] = False
    return contends


def merge_topk(first: TopK, second: TopK, k: int) -> TopK:
    """The k best of two lists per row; a product in both counts once, with its higher score."""
    product_id = np.concatenate([first.product_id, second.product_id], axis=1)
    score = np.concatenate([first.score, second.score], axis=1)
    rows = len(product_id)
    row = np.repeat(np.arange(rows), product_id.shape[1])
    product_id, score = product_id.ravel(), score.ravel()
    order = np.lexsort((-score, product_id, row))
    row, product_id, score = row[order], product_id[order], score[order]
    first_of_its_kind = np.ones(len(row), np.bool_)
    first_of_its_kind[1:] = (row[1:] != row[:-1]) | (product_id[1:] != product_id[:-1])
    keep = first_of_its_kind & (product_id != 0)
    return sparse_topk(row[keep], product_id[keep], score[keep], rows, k)
