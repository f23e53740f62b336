"""How far two rankings agree."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

PERSISTENCE: Final = 0.9
"""p of the rank-biased overlap: the first ten ranks have 86 % of the weight."""

DEPTH: Final = 100
"""Leading products that are compared: what comes behind them has less than 0.001 % of the weight."""

Ids = npt.NDArray[np.int64]


class Agreement(NamedTuple):
    """What two rankings have in common; each from 0 (nothing) to 1."""

    overlap_10: float
    overlap_20: float
    rbo: float


def agreement(left: Ids, right: Ids) -> Agreement:
    """Compare the first ``DEPTH`` products of two rankings.

    Args:
        left: [n] product ids, best first, each once, without padding.
        right: [m], the same.
    """
    left, right = left[:DEPTH], right[:DEPTH]
    common = _common(left, right)
    return Agreement(
        _share(common, 10, left.size, right.size),
        _share(common, 20, left.size, right.size),
        _rbo(common, left.size, right.size),
    )


def overlap(left: Ids, right: Ids, depth: int) -> float:
    """Share of the first ``depth`` products that two rankings have in common; 1 where both are empty.

    Args:
        left: [n] product ids, each once.
        right: [m], the same.
        depth: 1 or more.
    """
    left, right = left[:depth], right[:depth]
    longer = max(left.size, right.size)
    return float(np.isin(left, right).sum()) / longer if longer else 1.0


def rbo(left: Ids, right: Ids) -> float:
    """Rank-biased overlap with p = ``PERSISTENCE``, extrapolated from what is seen of the rankings.

    RBO_EXT, equation 32 of Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28(4),
    2010. Only the first ``DEPTH`` products of each are looked at.

    Args:
        left: [n] product ids, best first, each once, without padding.
        right: [m], the same.
    """
    left, right = left[:DEPTH], right[:DEPTH]
    return _rbo(_common(left, right), left.size, right.size)


def spearman(left: Ids, right: Ids) -> float:
    """Spearman's rank correlation of two orders of the same products; 1 where there are fewer than two.

    Args:
        left: [n] product ids, each once.
        right: [n], the same products.
    """
    size = left.size
    if size < 2:
        return 1.0
    moved = np.argsort(left) - np.argsort(right)  # each product's place in both, in the order of the ids
    return 1.0 - 6.0 * float(moved @ moved) / (size * (size * size - 1))


def _common(left: Ids, right: Ids) -> npt.NDArray[np.int64]:
    """[max(n, m)] X_d of the paper: how many products are among the first d of both."""
    n, longer = left.size, max(left.size, right.size)
    both = np.concatenate([left, right])
    order = np.argsort(both, kind="stable")  # a product of both comes twice, of the left first
    twice = np.flatnonzero(both[order[1:]] == both[order[:-1]])
    seen_at = np.maximum(order[twice], order[twice + 1] - n)
    return np.bincount(seen_at, minlength=longer).cumsum()


def _share(common: npt.NDArray[np.int64], depth: int, n: int, m: int) -> float:
    longer = min(depth, max(n, m))
    return float(common[longer - 1]) / longer if longer else 1.0


def _rbo(common: npt.NDArray[np.int64], n: int, m: int) -> float:
    s, l = min(n, m), max(n, m)  # noqa: E741 - the paper's names
    if not s:
        return float(not l)
    p, (depths, weights) = PERSISTENCE, _weights()
    x_s, x_l = float(common[s - 1]), float(common[l - 1])
    total = float(common @ weights[:l])
    if l > s:
        total += x_s / s * float((depths[s:l] - s) @ weights[s:l])
    return min(1.0, (1 - p) / p * total + ((x_l - x_s) / l + x_s / s) * p**l)


@functools.cache
def _weights() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Depths d = 1, 2, ..., and p^d / d of each."""
    depths = np.arange(1, DEPTH + 1, dtype=np.float64)
    return depths, PERSISTENCE**depths / depths
