"""The precomputed rung of the degradation ladder: a customer's list of a container, cut to what can be shown now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from api.errors import PrecomputedMissing
from api.fallback.errors import FallbackInvalid
from api.fallback.store import PrecomputedLists
from api.types import Pool, Query
from ensemble import contract

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
"""How often a newer generation is looked for: one stat."""
_MOST: Final = 128
"""Products that a list container can have, so that none of a list is lost where some can't be shown any more."""


class PrecomputedRung:
    """Looks up pages. A list that can't be used is the next rung's turn, never an error."""

    def __init__(self, lists: PrecomputedLists, *, now: Callable[[], float] = time.time) -> None:
        """Use ``lists``; ``now`` is Unix time."""
        self._lists = lists
        self._now = now
        self._flaw = ""
        self.served = 0
        self.damaged = 0
        """Look-ups that met damage."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the lists that ``racksort precompute`` has written at ``folder``.

        Raises:
            PrecomputedMissing: there are none that can be used.
        """
        try:
            return cls(PrecomputedLists.open(folder))
        except FallbackInvalid as error:
            raise PrecomputedMissing(f"RACKSORT_PRECOMPUTED_DIR: {error}") from None

    @property
    def release(self) -> str:
        """Name of the ensemble that ranked the lists."""
        return self._lists.release

    @property
    def customers(self) -> int:
        """Customers with lists of their own."""
        return self._lists.customers

    def age_s(self) -> float:
        """Seconds since the lists were made."""
        return self._lists.age_s(self._now())

    def find(self, query: Query, pool: Pool) -> npt.NDArray[np.int64] | None:
        """The first ``query.limit`` products of the customer's list that are in ``pool`` and not excluded.

        Where those are fewer, the pool's own order goes on behind them. None where there is no list for the query: for
        visitors, customers without lists, grids, categories, and products that the caller brought.
        """
        if not query.customer_id or query.category is not None or not query.container_id:
            return None
        if not self._lists.knows(query.customer_id):
            return None
        try:
            listed = self._lists.find(query.container_id, query.customer_id, _MOST)
        except FallbackInvalid as error:
            self.damaged += 1
            if str(error) != self._flaw:
                self._flaw = str(error)
                _log.error("%s", error)
            return None
        if listed is None:
            return None
        allowed: npt.NDArray[np.int64] = pool.product_id[pool.boost != contract.EXCLUDED]
        found = listed[np.isin(listed, allowed)][: query.limit]
        if found.size < query.limit:
            found = np.concatenate([found, allowed[~np.isin(allowed, found)]])[: query.limit]
        self.served += 1
        return found

    async def follow(self) -> None:
        """Go over to newer lists as soon as they are there."""
        flaw = ""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if self._lists.reload_if_changed():
                    _log.info("precomputed lists of %s, %d customers", self.release, self.customers)
                flaw = ""
            except FallbackInvalid as error:
                if str(error) != flaw:
                    flaw = str(error)
                    _log.error("newer precomputed lists can't be used, the ones at hand stay: %s", error)

    def close(self) -> None:
        """Let the files go."""
        self._lists.close()
