"""The ensemble as a method under evaluation: over the full catalogue by score, or one pool in served order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.evaluation.history import Past
from ensemble.evaluation.scoring import CandidateRow, Ranked, Scorer, batches_of, now_of, windows
from ensemble.evaluation.topk import sparse_topk


def _nothing(_fraction: float) -> None:
    """The default listener."""


@dataclass(frozen=True, slots=True)
class EnsembleByScore:
    """All candidates, however many, asked for in windows of 1,024 and merged by score.

    A blended score doesn't depend on the other candidates of its window, so the merge is the order that one window
    of all products would have, before the list's rules.
    """

    scorer: Scorer
    on_progress: Callable[[float], None] = _nothing

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "ensemble"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``."""
        rows = windows(past, candidates)
        groups = batches_of(customer_id)
        answers = self.scorer.rank_all(_requests(past, groups, rows, page_size=0))
        result = np.zeros((len(customer_id), k), np.int64)
        done = 0
        for index, group in enumerate(groups):
            best = [_best(next(answers), k) for _ in rows]
            product_id = np.concatenate([ids for ids, _ in best], axis=1)
            score = np.concatenate([scores for _, scores in best], axis=1)
            result[done : done + len(group)] = _top(product_id, score, k)
            done += len(group)
            self.on_progress((index + 1) / len(groups))
        return result


@dataclass(frozen=True, slots=True)
class EnsembleAsServed:
    """At most 1,024 candidates in one row, in the order in which a shop would show them: all rules of the list on."""

    scorer: Scorer

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "ensemble"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``.

        Raises:
            ValueError: more candidates than one row holds.
        """
        if len(candidates) > contract.MAX_CANDIDATES:
            raise ValueError(f"{len(candidates)} candidates: a pool holds at most {contract.MAX_CANDIDATES}")
        answers = self.scorer.rank_all(_requests(past, batches_of(customer_id), windows(past, candidates), page_size=k))
        parts = [ranked.product_id[:, :k] for ranked in answers]
        ranked_id = np.concatenate(parts)
        return np.pad(ranked_id, ((0, 0), (0, k - ranked_id.shape[1])))


def _requests(
    past: Past, groups: list[npt.NDArray[np.int64]], rows: list[CandidateRow], page_size: int
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    day = now_of(past)
    for group in groups:
        for row in rows:
            yield row.tensors(group, day, page_size)


def _best(ranked: Ranked, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The k products of a window with the highest scores, [B, k] each, in no particular order."""
    if ranked.score.shape[1] <= k:
        return ranked.product_id, ranked.score
    place = np.argpartition(-ranked.score, k - 1, axis=1)[:, :k]
    return np.take_along_axis(ranked.product_id, place, axis=1), np.take_along_axis(ranked.score, place, axis=1)


def _top(product_id: npt.NDArray[np.int64], score: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    rows, width = product_id.shape
    row = np.repeat(np.arange(rows), width)
    real = product_id.ravel() != contract.PADDING
    return sparse_topk(row[real], product_id.ravel()[real], score.ravel()[real].astype(np.float64), rows, k).product_id
