"""Asks a release for scores, in batches of rows, the way the adapter asks: by the tensor contract alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.data.offers import offers_at
from ensemble.data.weeks import week_start
from ensemble.evaluation.history import Past
from ensemble.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the ensemble answers for B rows of N candidates."""

    product_id: npt.NDArray[np.int64]
    """[B, N] in the served order (all rules applied), padding last."""
    score: npt.NDArray[np.float32]
    """[B, N] blended scores in the same order, before the list's rules: they don't depend on the other candidates."""


class Scorer(Protocol):
    """One release that answers batches, wherever it runs."""

    def rank_all(self, batches: Iterable[Tensors]) -> Iterator[Ranked]:
        """One answer per batch of at most ``contract.MAX_BATCH_SIZE`` rows, in the batches' order."""
        ...


OpenScorer = Callable[[Past], AbstractContextManager[Scorer]]
"""Makes the release's tables anew as of the start of the week, serves it, and ends it on leaving the context."""


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One window of products with what the shop knows of them at the start of a week, padded to a bucket."""

    product_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int32]
    offer: npt.NDArray[np.float32]

    def tensors(self, customer_id: npt.NDArray[np.int64], day: float, page_size: int) -> dict[str, npt.NDArray[Any]]:
        """The ensemble's inputs when each of B customers is asked for this window.

        There are no recent events: the release's tables already hold everything before the week.
        """
        rows, width = len(customer_id), len(self.product_id)
        context = np.empty((rows, len(contract.CONTEXT)), np.float32)
        context[:, contract.CONTEXT.index("day")] = day
        context[:, contract.CONTEXT.index("page_size")] = page_size
        return {
            contract.CUSTOMER_ID.name: customer_id[:, None],
            contract.PRODUCT_ID.name: np.broadcast_to(self.product_id, (rows, width)),
            contract.CATEGORY_ID.name: np.broadcast_to(self.category_id, (rows, width)),
            contract.OFFERS.name: np.broadcast_to(self.offer, (rows, *self.offer.shape)),
            contract.BOOST.name: np.zeros((rows, width), np.float32),
            contract.RECENT_PRODUCT_ID.name: np.zeros((rows, contract.RECENT), np.int64),
            contract.RECENT_AGE.name: np.zeros((rows, contract.RECENT), np.float32),
            contract.CONTEXTS.name: context,
        }


def windows(past: Past, candidates: npt.NDArray[np.int64]) -> list[CandidateRow]:
    """The candidates (int64 [m], ascending) in windows of ``contract.MAX_CANDIDATES``, each padded to its bucket."""
    products = past.cut.products.sort("product_id")
    category = _lookup(products["product_id"].to_numpy(), products["category_id"].to_numpy(), candidates)
    offers = offers_at(past.cut, past.week).sort("product_id")
    offer = _lookup(
        offers["product_id"].to_numpy(), offers.select(contract.OFFER).to_numpy().astype(np.float32), candidates
    )
    result = []
    for begin in range(0, len(candidates), contract.MAX_CANDIDATES):
        part = slice(begin, begin + contract.MAX_CANDIDATES)
        padding = contract.bucket_for(len(candidates[part])) - len(candidates[part])
        result.append(
            CandidateRow(
                product_id=np.pad(candidates[part], (0, padding)),
                category_id=np.pad(category[part].astype(np.int32), (0, padding)),
                offer=np.pad(offer[part], ((0, padding), (0, 0))),
            )
        )
    return result


def batches_of(customer_id: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The customers in batches of ``contract.MAX_BATCH_SIZE``."""
    return [
        customer_id[begin : begin + contract.MAX_BATCH_SIZE]
        for begin in range(0, len(customer_id), contract.MAX_BATCH_SIZE)
    ]


def now_of(past: Past) -> float:
    """The moment of asking: the start of the week, in days since 1970-01-01 UTC."""
    return week_start(past.week)


def _lookup(known: npt.NDArray[np.int64], value: npt.NDArray[Any], wanted: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """``value`` [n, ...] of the ids ``wanted``, where ``known`` [n] ascends.

    Raises:
        ValueError: an id isn't known.
    """
    position = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    missing = wanted[known[position] != wanted]
    if missing.size:
        raise ValueError(f"product {missing[0]} is a candidate but not in the catalogue")
    found: npt.NDArray[Any] = value[position]
    return found
