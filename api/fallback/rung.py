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
from api.types import Pool, Query, Ranking, Source
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

    @property
    def generation(self) -> str:
        """Name of the lists' generation."""
        return self._lists.generation

    def knows_container(self, container_id: str) -> bool:
        """Whether there is a list of the container, be it only the one for everybody."""
        return container_id in self._lists

    def expects(self, query: Query) -> bool:
        """Whether :meth:`look_up` has a list for the query, provided that the customer is known."""
        return bool(query.customer_id) and query.category is None and self._lists.has_own(query.container_id)

    def find(self, query: Query, pool: Pool) -> npt.NDArray[np.int64] | None:
        """The first ``query.limit`` products of the customer's list that are in ``pool`` and not excluded.

        Where those are fewer, the pool's own order goes on behind them. None where there is no list for the query: for
        visitors, customers without lists, grids, categories, and products that the caller brought.
        """
        try:
            found = self.look_up(query, pool)
        except FallbackInvalid as error:
            self._damage(error)
            return None
        if found is not None:
            self.served += 1
        return found

    def look_up(self, query: Query, pool: Pool) -> npt.NDArray[np.int64] | None:
        """What :meth:`find` would show, without counting it.

        Raises:
            FallbackInvalid: the list is damaged.
        """
        if query.category is not None:
            return None
        listed = self._lists.own(query.container_id, query.customer_id, _MOST)
        if listed is None:
            return None
        allowed: npt.NDArray[np.int64] = pool.product_id[pool.boost != contract.EXCLUDED]
        found = listed[np.isin(listed, allowed)][: query.limit]
        if found.size < query.limit:
            found = np.concatenate([found, allowed[~np.isin(allowed, found)]])[: query.limit]
        return found

    def without_pool(self, query: Query) -> npt.NDArray[np.int64] | None:
        """The page for when there is no pool at all: the product ids of :meth:`ranking_without_pool`."""
        ranking = self.ranking_without_pool(query)
        return None if ranking is None else ranking.product_id

    def ranking_without_pool(self, query: Query) -> Ranking | None:
        """The page for when there is no pool at all: the customer's own list, else the container's for everybody.

        Nothing says what is in stock now, so it shows what could be shown when the lists were made: products that have
        sold out or were excluded since are among them. Whoever serves it marks it as degraded.

        Returns:
            The first ``query.limit`` products, perhaps fewer; None where the lists don't know the container, for
            categories, and for products that the caller brought.
        """
        if query.category is not None:
            return None
        try:
            own = self._lists.own(query.container_id, query.customer_id, query.limit)
        except FallbackInvalid as error:
            self._damage(error)
            own = None
        if own is not None:
            return Ranking(own, Source.PRECOMPUTED, self.release)
        popular = self._lists.popular(query.container_id, query.limit)
        return None if popular is None else Ranking(popular, Source.POPULARITY)

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
            except Exception:  # noqa: BLE001 - following must outlive its own mistakes; they are logged
                _log.exception("newer precomputed lists couldn't be looked for by a mistake of ours")

    def close(self) -> None:
        """Let the files go."""
        self._lists.close()

    def _damage(self, error: FallbackInvalid) -> None:
        self.damaged += 1
        if str(error) != self._flaw:
            self._flaw = str(error)
            _log.error("%s", error)
