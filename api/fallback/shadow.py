"""Looks the precomputed answer up for a few healthy requests too, so that an outage isn't the first time.

A request only counts down to the next one that is taken; the look-up, the checks and the comparison follow in a task of
their own. Nothing here changes an answer or fails.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from api.fallback.errors import FallbackInvalid
from api.fallback.rung import PrecomputedRung
from api.releases.overlap import overlap
from api.sampling import Sampler
from api.types import Pool, Query, Ranking, Source
from ensemble import contract

_log = logging.getLogger(__name__)

OverlapSeen = Callable[[Source, float], None]
"""Takes which list it was, the customer's own (precomputed) or everybody's (popularity), and the overlap, 0..1."""


class Outcome(Enum):
    """What a shadow look-up has found."""

    VALID = "valid"
    MISSING = "missing"
    """No list: the customer has none of their own where others have, or the container isn't there, or was empty."""
    INVALID = "invalid"
    """A list that must not be shown, or a mistake of the look-up itself."""
    DAMAGED = "damaged"
    """A list that its checksum refuses."""


class _Sample(NamedTuple):
    query: Query
    pool: Pool
    served: npt.NDArray[np.int64]


class Shadow:
    """Exercises a rung beside the requests that don't need it.

    Requests that would get the customer's own list are compared with it, as the rung would show it over their pool.
    Where nobody has a list of their own (visitors, grids), the list for everybody is looked up, as if there were no
    pool. Requests for which nothing is ever precomputed (categories, products that the caller brought) count as
    ``unasked``, not as look-ups.
    """

    def __init__(
        self,
        rung: PrecomputedRung,
        *,
        share: float = 0.005,
        rng: random.Random | None = None,
        waiting: int = 64,
        latest: int = 200,
        on_overlap: OverlapSeen = lambda _source, _overlap: None,
    ) -> None:
        """Watch ``rung``.

        Args:
            rung: what is exercised.
            share: of the healthy requests that are taken, 0..1; each with the same chance, whatever came before.
            rng: draws the gaps between them.
            waiting: samples that may wait for the task; more are dropped and counted. Each holds its pool.
            latest: look-ups that :attr:`readiness` tells of.
            on_overlap: told after each comparison.
        """
        self._rung = rung
        self._sampler = Sampler(share, rng or random.Random())  # noqa: S311 - which request is taken is no secret
        self._on_overlap = on_overlap
        self._queue: asyncio.Queue[_Sample] = asyncio.Queue(waiting)
        self._latest: deque[bool] = deque(maxlen=latest)
        self._told: set[str] = set()
        self._generation = rung.generation
        self.outcomes: Final = dict.fromkeys(Outcome, 0)
        """Look-ups by what they have found."""
        self.unasked = 0
        """Samples for which nothing is ever precomputed."""
        self.dropped = 0
        """Samples that found the queue full."""
        self.overlaps = 0
        """Comparisons."""
        self.overlap_sum = 0.0

    @property
    def looked_up(self) -> int:
        """Look-ups, whatever they have found."""
        return sum(self.outcomes.values())

    @property
    def readiness(self) -> float:
        """Share of the latest look-ups that found a list which could have been shown.

        1.0: all of them. 0.0: none, or nothing has been looked up yet; what was never tried doesn't count as ready.
        A customer who is new since the lists were made lowers it, although the pool's own order is theirs.
        """
        return sum(self._latest) / len(self._latest) if self._latest else 0.0

    def served(self, query: Query, pool: Pool, ranking: Ranking) -> None:
        """Note one healthy answer; called with every one, so it does next to nothing for most of them."""
        if not self._sampler.takes():
            return
        try:
            self._queue.put_nowait(_Sample(query, pool, ranking.product_id))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Look up what was taken, for ever."""
        while True:
            sample = await self._queue.get()
            self._try(sample)
            del sample  # a pool mustn't stay for the sake of the wait
            await asyncio.sleep(0)  # requests first, even where several wait

    def _try(self, sample: _Sample) -> None:
        query = sample.query
        if query.category is not None or not query.container_id:
            self.unasked += 1
            return
        flaw = ""
        try:
            outcome, flaw = self._look_up(sample)
        except FallbackInvalid as error:
            outcome, flaw = Outcome.DAMAGED, str(error)
        except Exception as error:  # noqa: BLE001 - the exercise must go on whatever is wrong with one look-up
            outcome, flaw = Outcome.INVALID, f"the look-up failed: {error!r}"
        self.outcomes[outcome] += 1
        self._latest.append(outcome is Outcome.VALID)
        if flaw:
            self._tell(outcome, flaw, query)

    def _look_up(self, sample: _Sample) -> tuple[Outcome, str]:
        query, pool, served = sample
        allowed = pool.product_id[pool.boost != contract.EXCLUDED]
        if self._rung.expects(query):
            found, source = self._rung.look_up(query, pool), Source.PRECOMPUTED
            flaw = "" if found is None else page_flaw(found, pool.product_id, allowed, query.limit)
        else:
            found, source = self._rung.without_pool(query), Source.POPULARITY
            flaw = "" if found is None else list_flaw(found, query.limit)
        if found is None or (allowed.size and not found.size):
            return Outcome.MISSING, ""
        if flaw:
            return Outcome.INVALID, flaw
        if served.size:
            value = overlap(found, served, served.size)
            self.overlaps += 1
            self.overlap_sum += value
            self._on_overlap(source, value)
        return Outcome.VALID, ""

    def _tell(self, outcome: Outcome, flaw: str, query: Query) -> None:
        """Log once a kind and generation: what is wrong with one list is most likely wrong with thousands."""
        if self._rung.generation != self._generation:
            self._generation = self._rung.generation
            self._told.clear()
        kind = outcome.value if outcome is Outcome.DAMAGED else flaw.partition(":")[0]
        if kind not in self._told:
            self._told.add(kind)
            _log.error(
                "precomputed lists %s: container %r, customer %s: %s (told once)",
                self._generation,
                query.container_id,
                query.customer_id,
                flaw,
            )


def page_flaw(
    page: npt.NDArray[np.int64], pool: npt.NDArray[np.int64], allowed: npt.NDArray[np.int64], limit: int
) -> str:
    """What is wrong with a page of at most ``limit`` products that a pool should fill; empty where nothing is.

    Args:
        page: product ids.
        pool: the pool's products, each once.
        allowed: those of them that aren't excluded.
        limit: products of the page, at most.
    """
    if flaw := list_flaw(page, limit):
        return flaw
    if not np.isin(page, pool).all():
        return "it has products that the pool hasn't"
    if not np.isin(page, allowed).all():
        return "it has excluded products"
    if page.size < min(limit, allowed.size):
        return "it is shorter than the pool allows"
    return ""


def list_flaw(page: npt.NDArray[np.int64], limit: int) -> str:
    """What is wrong with a page whatever can be shown now; empty where nothing is."""
    if page.size > limit:
        return "it is longer than the page"
    if np.unique(page).size < page.size:
        return "it has a product twice"
    return ""
