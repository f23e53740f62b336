"""An ensemble in memory, deterministic and obedient: the same suite runs on it and on the real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from api.ensemble_client import Explained, Ranked
from api.errors import EnsembleError, EnsembleRejected
from api.tensors import Batch
from ensemble import contract

_MIX, _SALT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


COMPONENT_SHARES = np.array([0.5, -0.25, 0.75])
"""What each component has of the fake's score before the boost; they add up to 1."""


def fake_order(
    customer_id: int, product_id: npt.NDArray[np.int64], boost: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """The order in which the fake puts one row: by a hash of customer and product, plus the boost, ties by id.

    Same shape as ``product_id``; padding and excluded candidates come last as ``contract.PADDING``.
    """
    return _ordered(product_id, boost, _blend(customer_id, product_id))[0]


def fake_explanation(
    customer_id: int, product_id: npt.NDArray[np.int64], boost: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """:func:`fake_order` with its scores [N] and components [N, 3]."""
    blend = _blend(customer_id, product_id)
    ordered, order = _ordered(product_id, boost, blend)
    kept = ordered != contract.PADDING
    score = np.where(kept, (blend + boost)[order], -np.inf)
    component = np.where(kept[:, None], blend[order, None] * COMPONENT_SHARES, 0.0)
    return ordered, score.astype(np.float32), component.astype(np.float32)


def _blend(customer_id: int, product_id: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    mixed = (product_id.astype(np.uint64) * _MIX) ^ (np.array([customer_id], np.int64).astype(np.uint64) * _SALT)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
    return (mixed >> np.uint64(40)).astype(np.float64) / 2**24


def _ordered(
    product_id: npt.NDArray[np.int64], boost: npt.NDArray[np.float32], blend: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Product ids in their order, and the order."""
    kept = (product_id != contract.PADDING) & (boost != contract.EXCLUDED)
    order = np.lexsort((product_id, -np.where(kept, blend + boost, -np.inf)))
    ordered: npt.NDArray[np.int64] = np.where(kept, product_id, contract.PADDING)[order]
    return ordered, order


class FakeEnsemble:
    """Implements ``api.ensemble_client.Ensemble``. Attributes say what it shall do and what it was asked."""

    def __init__(self, release: int = 1) -> None:
        self.release = contract.ensemble_name(release)
        self.failure: EnsembleError | None = None
        """Raised by every call while set."""
        self.poison: Collection[int] = ()
        """Customers whose rows make the whole batch be rejected."""
        self.history_until: float | None = None
        """The day up to which the release has learnt."""
        self.gate = asyncio.Event()
        """Calls wait until this is set. Clear it to let calls hang."""
        self.gate.set()
        self.calls: list[Batch] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.closed = False

    async def rank(self, batch: Batch) -> Ranked:
        await self._asked(batch)
        return self._rank(batch)

    async def explain(self, batch: Batch) -> Explained:
        await self._asked(batch)
        return self._explain(batch)

    async def _asked(self, batch: Batch) -> None:
        self.calls.append(batch)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)  # a real call always lets others run
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.in_flight -= 1

    async def history_until_day(self) -> float | None:
        return self.history_until

    async def close(self) -> None:
        self.closed = True

    def _rank(self, batch: Batch) -> Ranked:
        return Ranked(np.stack([fake_order(*row) for row in self._rows(batch)]), self.release)

    def _explain(self, batch: Batch) -> Explained:
        product_id, score, component = zip(*[fake_explanation(*row) for row in self._rows(batch)], strict=True)
        return Explained(np.stack(product_id), self.release, np.stack(score), np.stack(component))

    def _rows(self, batch: Batch) -> list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        tensors = batch.tensors()
        customers = tensors[contract.CUSTOMER_ID.name][:, 0].tolist()
        if any(customer in self.poison for customer in customers):
            raise EnsembleRejected("the fake doesn't like a row")
        products = tensors[contract.PRODUCT_ID.name].astype(np.int64)
        boosts = tensors[contract.BOOST.name].astype(np.float32)
        return list(zip(customers, products, boosts, strict=True))
