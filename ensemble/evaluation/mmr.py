"""Maximal marginal relevance, the usual way to mix a list; an offline comparison for the ranking's own rules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def maximal_marginal_relevance(
    score: npt.NDArray[np.float64],
    category: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    penalty: float,
    k: int,
) -> npt.NDArray[np.int64]:
    """Greedy lists (Carbonell and Goldstein, SIGIR 1998).

    Each place goes to the candidate with the highest score - penalty · (its largest similarity to those chosen). That
    is λ · score - (1 - λ) · similarity with penalty = (1 - λ) / λ. Two candidates of one category are alike by 1, of
    one group by a half, others by 0.

    Args:
        score: [U, N]; -inf = no candidate. Each row has at least k candidates.
        category: leaf category of each candidate [U, N]; 0 = unknown, like nothing.
        group: the wider category [U, N]; 0 = unknown.
        penalty: in units of the score, at least 0.
        k: length of the lists.

    Returns:
        Positions [U, k], best first.
    """
    rows = np.arange(len(score))
    similarity = np.zeros(score.shape)
    left = score.copy()
    chosen = np.zeros((len(score), k), np.int64)
    for place in range(k):
        best = np.argmax(left - penalty * similarity, axis=1)
        chosen[:, place] = best
        left[rows, best] = -np.inf
        for kind, alike in ((group, 0.5), (category, 1.0)):
            mine = kind[rows, best][:, None]
            np.maximum(similarity, alike, out=similarity, where=(kind == mine) & (mine != 0))
    return chosen
