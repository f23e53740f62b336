"""Questions with candidates of their own: what will this customer buy next, asked at a moment of the customer's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.data.offers import offers_at
from ensemble.evaluation.baselines.popularity import popular
from ensemble.evaluation.history import Past
from ensemble.evaluation.scoring import Scorer
from ensemble.evaluation.topk import sparse_topk
from ensemble.tensors import Tensors

POPULAR: Final = 1000
"""Products that everybody is offered besides the own history: in week 47, NDCG@10 differs by 0.0001 from that over the
full catalogue."""
_HALF_LIFE: Final = 2.0
"""Weeks; of the popularity that chooses them. Not tuned: it belongs to the question, not to a method."""
_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")


@dataclass(frozen=True, slots=True)
class Questions:
    """U questions with n candidates in all, as compressed sparse rows."""

    customer_id: npt.NDArray[np.int64]
    """[U]."""
    day: npt.NDArray[np.float64]
    """[U]: the moment of asking, in days since 1970-01-01 UTC."""
    start: npt.NDArray[np.int64]
    """[U + 1]: question ``u`` has the candidates ``start[u]:start[u + 1]``."""
    product_id: npt.NDArray[np.int64]
    """[n], ascending within a question."""
    recent_product_id: npt.NDArray[np.int64]
    """[U, R]: events as in the contract, newest first; 0 = none."""
    recent_age: npt.NDArray[np.float32]
    """[U, R]: days before the moment."""

    def __len__(self) -> int:
        """U, the number of questions."""
        return len(self.customer_id)

    @property
    def row(self) -> npt.NDArray[np.int64]:
        """[n]: the question of each candidate."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def at(self, day: float) -> Questions:
        """The same questions, all asked at ``day``."""
        return replace(self, day=np.full(len(self), day))

    def with_events(self, product_id: npt.NDArray[np.int64], age: npt.NDArray[np.float32]) -> Questions:
        """The same questions with recent events [U, R]."""
        return replace(self, recent_product_id=product_id, recent_age=age)

    def places(self, row: npt.NDArray[np.int64], product_id: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where candidates stand, given their question and product [m]; -1 for what isn't a candidate."""
        known, code = np.unique(self.product_id, return_inverse=True)
        if not known.size:
            return np.full(len(row), -1)
        key = self.row * known.size + code
        at = np.minimum(np.searchsorted(known, product_id), known.size - 1)
        wanted = row * known.size + at
        place = np.minimum(np.searchsorted(key, wanted), key.size - 1)
        return np.where((known[at] == product_id) & (key[place] == wanted), place, -1)


def own_and_popular(
    past: Past,
    customer_id: npt.NDArray[np.int64],
    day: npt.NDArray[np.float64],
    more_row: npt.NDArray[np.int64] | None = None,
    more_product: npt.NDArray[np.int64] | None = None,
) -> Questions:
    """Ask each customer [U] at ``day`` [U] about all products of the own history and the ``POPULAR`` most popular.

    ``more_row`` and ``more_product`` [m] name further candidates of single questions. Only merchandise is asked about.
    """
    history = past.weeks
    everyone = popular(past, _HALF_LIFE, past.merchandise, POPULAR).product_id[0]
    everyone = everyone[everyone != contract.PADDING]
    owner = history.customer_id[history.pair_customer]
    begin, end = (np.searchsorted(owner, customer_id, side=side) for side in _SIDES)
    bought = history.product_id[history.pair_product]
    extra: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(customer_id)
    if more_row is not None and more_product is not None:
        sold = np.isin(more_product, past.merchandise)
        for row, product in zip(more_row[sold], more_product[sold], strict=True):
            extra[row] = np.append(extra[row], product)
    offered = [
        np.unique(np.concatenate((everyone, bought[slice(*ends)], extra[row])))
        for row, ends in enumerate(zip(begin, end, strict=True))
    ]
    events = (len(customer_id), contract.RECENT)
    return Questions(
        customer_id=customer_id,
        day=day,
        start=np.cumsum([0, *map(len, offered)]),
        product_id=np.concatenate([np.zeros(0, np.int64), *offered]),
        recent_product_id=np.zeros(events, np.int64),
        recent_age=np.zeros(events, np.float32),
    )


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the shop shows of its products [P] in a week: leaf categories and offers."""

    product_id: npt.NDArray[np.int64]
    """[P], ascending."""
    category_id: npt.NDArray[np.int32]
    offer: npt.NDArray[np.float32]
    """[P, F], columns ``contract.OFFER``."""


def shelf_at(cut: Dataset, week: int) -> Shelf:
    """The shelf when ``week`` starts; ``cut`` is the dataset, cut by ``before(week)``."""
    products = cut.products.sort("product_id")
    offers = offers_at(cut, week).sort("product_id")
    return Shelf(
        products["product_id"].to_numpy(),
        products["category_id"].to_numpy().astype(np.int32),
        offers.select(contract.OFFER).to_numpy().astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one request and the candidates that they are about."""

    tensors: Tensors
    place: npt.NDArray[np.int64]
    """[B, N]: position among the questions' candidates; -1 = padding."""


def batches(questions: Questions, shelf: Shelf) -> Iterator[Batch]:
    """The questions as requests: long ones in windows of ``contract.MAX_CANDIDATES``, rows of one bucket together."""
    size = np.diff(questions.start)
    parts = -(-size // contract.MAX_CANDIDATES)
    row = np.repeat(np.arange(len(questions)), parts)
    part = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    begin = questions.start[row] + part * contract.MAX_CANDIDATES
    end = np.minimum(begin + contract.MAX_CANDIDATES, questions.start[row + 1])
    bucket = np.array(contract.BUCKETS)[np.searchsorted(contract.BUCKETS, end - begin)]
    for width in contract.BUCKETS:
        chosen = np.flatnonzero(bucket == width)
        for first in range(0, len(chosen), contract.MAX_BATCH_SIZE):
            at = chosen[first : first + contract.MAX_BATCH_SIZE]
            place = begin[at, None] + np.arange(width)
            place = np.where(place < end[at, None], place, -1)
            yield Batch(_tensors(questions, shelf, row[at], place), place)


def _tensors(questions: Questions, shelf: Shelf, row: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> Tensors:
    real = place >= 0
    product = np.where(real, questions.product_id[place], contract.PADDING)
    at = np.minimum(np.searchsorted(shelf.product_id, product), len(shelf.product_id) - 1)
    if (missing := real & (shelf.product_id[at] != product)).any():
        raise ValueError(f"product {product[missing][0]} is a candidate but not in the catalogue")
    context = np.zeros((len(row), len(contract.CONTEXT)), np.float32)
    context[:, contract.CONTEXT.index("day")] = questions.day[row]
    return {
        contract.CUSTOMER_ID.name: questions.customer_id[row, None],
        contract.PRODUCT_ID.name: product,
        contract.CATEGORY_ID.name: np.where(real, shelf.category_id[at], np.int32(0)),
        contract.OFFERS.name: np.where(real[..., None], shelf.offer[at], np.float32(0)),
        contract.BOOST.name: np.zeros(product.shape, np.float32),
        contract.RECENT_PRODUCT_ID.name: questions.recent_product_id[row],
        contract.RECENT_AGE.name: questions.recent_age[row],
        contract.CONTEXTS.name: context,
    }


def _nothing(_fraction: float) -> None:
    """The default listener."""


def scores_of(
    scorer: Scorer, questions: Questions, shelf: Shelf, on_progress: Callable[[float], None] = _nothing
) -> npt.NDArray[np.float64]:
    """The score of every candidate [n] as it is told: the blend with its steeper tail, before the list's rules."""
    score = np.full(len(questions.product_id), -np.inf)
    done = 0
    for batch in batches(questions, shelf):
        (ranked,) = scorer.rank_all([batch.tensors])
        real = batch.place >= 0
        # Both sides by product: the answer's order is the list's.
        asked = np.argsort(batch.tensors[contract.PRODUCT_ID.name], axis=1, kind="stable")
        answered = np.argsort(ranked.product_id, axis=1, kind="stable")
        by_place = np.empty(real.shape, np.float32)
        np.put_along_axis(by_place, asked, np.take_along_axis(ranked.score, answered, axis=1), axis=1)
        score[batch.place[real]] = by_place[real]
        done += int(real.sum())
        on_progress(done / len(score))
    return score


def lists_of(questions: Questions, score: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.int64]:
    """The k best candidates of each question by ``score`` [n]: [U, k], 0 where there are fewer; -inf names nothing."""
    kept = np.isfinite(score)
    return sparse_topk(questions.row[kept], questions.product_id[kept], score[kept], len(questions), k).product_id
