"""How alike two rankings of the same candidates are, vectorised over rows."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble import contract

PERSISTENCE: Final = 0.9
"""p of rank-biased overlap: the first 10 places weigh 86 %."""

Ids = npt.NDArray[np.int64]


def agreement(one: Ids, other: Ids) -> npt.NDArray[np.int64]:
    """How many products the first d places of both have in common, for d = 1..N; int64 [B, N].

    Args:
        one: [B, N] products, best first, each once; padding (0) counts as nothing.
        other: [B, N].

    Raises:
        ValueError: the shapes differ.
    """
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(f"rankings of the shapes {one.shape} and {other.shape}: give two of [B, N]")
    rows, width = one.shape
    place = _places(one, other)
    # A product is common from the deeper of its two places on.
    deeper = np.maximum(place, np.arange(width))
    row, column = np.nonzero(place < width)
    count = np.zeros((rows, width), np.int64)
    np.add.at(count, (row, deeper[row, column]), 1)
    return np.cumsum(count, axis=1)


def overlap_at(one: Ids, other: Ids, k: int) -> npt.NDArray[np.float64]:
    """Share of the first k places that both rankings have in common, [B]; of all products where there are fewer.

    A row without products in either is alike: 1.
    """
    common = agreement(one[:, :k], other[:, :k])[:, -1]
    longest = np.maximum(_count(one[:, :k]), _count(other[:, :k]))
    return np.where(longest > 0, common / np.maximum(longest, 1), 1.0)


def rank_biased_overlap(one: Ids, other: Ids, p: float = PERSISTENCE) -> npt.NDArray[np.float64]:
    """Extrapolated rank-biased overlap of each row, [B]; 1 = the same order.

    Webber, Moffat and Zobel (2010), A similarity measure for indefinite rankings, equation 30 for two rankings that
    are equally long: ``(1 - p) / p * sum(X_d / d * p^d, d = 1..k) + X_k / k * p^k`` with X_d products in common
    among the first d, and k the length of the longer one.
    """
    common = agreement(one, other)
    width = common.shape[1]
    depth = np.arange(1, width + 1)
    length = np.maximum(_count(one), _count(other))
    within = depth <= length[:, None]
    terms = np.where(within, common / depth * p**depth, 0.0).sum(axis=1)
    last = common[np.arange(len(common)), np.maximum(length - 1, 0)]
    extrapolated = (1 - p) / p * terms + last / np.maximum(length, 1) * p ** length.astype(np.float64)
    return np.where(length > 0, extrapolated, 1.0)


def _places(one: Ids, other: Ids) -> npt.NDArray[np.int64]:
    """Place in ``other`` of each product of ``one``, [B, N]; N where it isn't there or is padding."""
    width = one.shape[1]
    by_id = np.argsort(other, axis=1, kind="stable")
    place = np.full(one.shape, width, np.int64)
    for row, (wanted, order) in enumerate(zip(one, by_id, strict=True)):
        ascending = other[row, order]
        at = np.minimum(np.searchsorted(ascending, wanted), width - 1)
        found = (ascending[at] == wanted) & (wanted != contract.PADDING)
        place[row, found] = order[at[found]]
    return place


def _count(ids: Ids) -> npt.NDArray[np.int64]:
    count: npt.NDArray[np.int64] = (ids != contract.PADDING).sum(axis=1)
    return count
