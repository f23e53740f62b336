"""An ensemble in memory, deterministic and obedient: the same suite runs on it and on the real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from api.ensemble_client import Ranked
from api.errors import EnsembleError, EnsembleRejected
from api.tensors import Batch
from ensemble import contract

_MIX, _SALT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def fake_order(
    customer_id: int, product_id: npt.NDArray[np.int64], boost: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """The order in which the fake puts one row: by a hash of customer and product, plus the boost, ties by id.

    Same shape as ``product_id``; padding and excluded candidates come last as ``contract.PADDING``.
    """
    mixed = (product_id.astype(np.uint64) * _MIX) ^ (np.array([customer_id], np.int64).astype(np.uint64) * _SALT)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
    score = (mixed >> np.uint64(40)).astype(np.float64) / 2**24 + boost
    kept = (product_id != contract.PADDING) & (boost != contract.EXCLUDED)
    order = np.lexsort((product_id, -np.where(kept, score, -np.inf)))
    ordered: npt.NDArray[np.int64] = np.where(kept, product_id, contract.PADDING)[order]
    return ordered


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
        self.calls.append(batch)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)  # a real call always lets others run
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            return self._rank(batch)
        finally:
            self.in_flight -= 1

    async def history_until_day(self) -> float | None:
        return self.history_until

    async def close(self) -> None:
        self.closed = True

    def _rank(self, batch: Batch) -> Ranked:
        tensors = batch.tensors()
        customers = tensors[contract.CUSTOMER_ID.name][:, 0].tolist()
        if any(customer in self.poison for customer in customers):
            raise EnsembleRejected("the fake doesn't like a row")
        products = tensors[contract.PRODUCT_ID.name].astype(np.int64)
        boosts = tensors[contract.BOOST.name].astype(np.float32)
        rows = [fake_order(*row) for row in zip(customers, products, boosts, strict=True)]
        return Ranked(np.stack(rows), self.release)
