"""Whether an answer is one that the client may get: judged by the simulated truth and by the pool that was at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from api.types import PARTIAL_POOL, STALE_POOL, Pool
from ensemble import contract
from tests.simulation import precomputed, stock
from tests.simulation.traffic import Asked, Client
from tests.simulation.triton import order

EPSILON_S: Final = 1e-6
"""Nothing takes time by itself here, so that an answer is in time exactly or not at all."""
_RELEASE: Final = contract.ensemble_name(1)
_CALLER_GONE: Final = 499
"""What the framework's routes put on record for a client that nobody can answer any more."""
_CATALOG_GONE: Final = "catalog_unavailable"
_NOT_RANKED: Final = frozenset(
    ("row_invalid", "queue_full", "overloaded", "ensemble_unavailable", "ensemble_rejected", "ensemble_timeout")
)
_OF_THE_POOL: Final = frozenset((STALE_POOL, PARTIAL_POOL))


@dataclass(slots=True)
class Served:
    """One request, with what the adapter had for it."""

    client: Client
    at: float
    """Arrival, on the loop's clock."""
    pool: Pool | None = None
    pooled_at: float = 0.0
    cold: bool = False
    """Whether its pool wasn't at hand."""
    known_at: float = 0.0
    """Seconds since the beginning when the catalog was asked for the pool, and again when it came."""
    done: bool = False
    body: dict[str, Any] | None = None

    @property
    def asked(self) -> Asked:
        """What was asked."""
        return self.client.asked

    @property
    def status(self) -> int | None:
        """Of the answer, None where there is none."""
        return self.client.sent[0]["status"] if self.client.sent else None

    @property
    def full(self) -> bool:
        """Whether the ensemble answered, and nothing is degraded."""
        return self.body is not None and self.body["source"] == "ensemble" and not self.body["degraded"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a judge knows of the seed."""

    began: float
    versions: Callable[[float, float], Iterable[int]]
    """Those that were live at some time between two, in seconds since the beginning."""
    version_lag_s: float
    """How long the adapter may take to notice a new version."""
    malformed: Callable[[], bool]
    """Whether hits were spoilt, so that pools may lack a few products unsaid."""
    deadline_s: float
    max_deadline_s: float
    cold_pool_s: float
    store: bool
    """Whether there are precomputed lists."""
    stalled: Callable[[float, float], float]
    """For how many seconds the event loop was held between two times."""
    max_products: int


class Judge:
    """Judges the answers of one seed."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._pools: dict[int, tuple[Pool, str]] = {}
        """By identity: what was found wrong with a pool. Holds them, so that no two have one identity."""

    def flaws(self, served: Served) -> Iterator[str]:
        """What is wrong with an answer; reads its body."""
        client = served.client
        if not served.done:
            yield "never answered"
            return
        if not client.sent:
            if not client.disconnected:
                yield "no answer"
            return
        kinds = [message["type"] for message in client.sent]
        if kinds != ["http.response.start", "http.response.body"]:
            yield f"not one answer but {kinds}"
            return
        start, body = client.sent
        yield from self._late(served)
        yield from self._content(served, start, body)

    def _content(self, served: Served, start: dict[str, Any], body: dict[str, Any]) -> Iterator[str]:
        client, asked = served.client, served.asked
        headers = dict(start["headers"])
        if start["status"] == _CALLER_GONE and client.disconnected:
            return
        if int(headers[b"content-length"]) != len(body["body"]):
            yield "the content's length isn't what the header says"
        if start["status"] == 200 and asked.refusal is None:
            if headers[b"content-type"] != b"application/json":
                yield f"a page as {headers[b'content-type']!r}"
            served.body = orjson.loads(body["body"])
            yield from self._page(served, served.body)
            return
        if headers[b"content-type"] != b"application/problem+json":
            yield f"a problem as {headers[b'content-type']!r}"
        if orjson.loads(body["body"])["status"] != start["status"]:
            yield "the problem names another status"
        yield from self._refusal(served, start["status"], headers)

    def _late(self, served: Served) -> Iterator[str]:
        asked, facts = served.asked, self._facts
        allowed = facts.deadline_s
        if asked.timeout_ms is not None:
            allowed = min(asked.timeout_ms / 1e3, facts.max_deadline_s)
        elif served.cold and not asked.products:
            allowed = max(allowed, facts.cold_pool_s)
        took = served.client.sent_at[-1] - served.at
        if took > allowed + EPSILON_S + facts.stalled(served.at, served.client.sent_at[-1]):
            yield f"answered after {took * 1e3:.3f} ms of {allowed * 1e3:.0f}"

    def _refusal(self, served: Served, status: int, headers: dict[bytes, bytes]) -> Iterator[str]:
        asked, facts = served.asked, self._facts
        if status == 429:  # before the request is even read, so that it may be wrong in itself
            if b"retry-after" not in headers:
                yield "429 without Retry-After"
            if not facts.stalled(served.at - 0.1, served.client.sent_at[-1]):
                yield "429 although the event loop is on time"
        elif asked.refusal is not None:
            if status != asked.refusal:
                yield f"status {status}, not {asked.refusal}"
        elif status == 404:  # the containers' definitions may be read some time before or after their products
            around = facts.versions(asked.at - facts.version_lag_s, asked.at)
            if all(asked.container in stock.containers(version) for version in around):
                yield f"container {asked.container!r} isn't known"
        elif status == 503:
            yield from self._nothing(served)
        else:
            yield f"status {status}"

    def _nothing(self, served: Served) -> Iterator[str]:
        """Whether there was nothing at all to show."""
        asked = served.asked
        if served.pool is not None or not served.cold:
            yield "503 although there was a pool"
        if self._facts.store and precomputed.knows(asked.container) and asked.category is None:
            yield "503 although something is precomputed"

    def _page(self, served: Served, page: dict[str, Any]) -> Iterator[str]:
        asked, reasons = served.asked, page["degraded_reasons"]
        ids = np.array(page["product_ids"], np.int64)
        if page["container_id"] != (asked.container or None) or page["customer_id"] != asked.customer:
            yield "the page of another request"
        if page["degraded"] != bool(reasons) or len(set(reasons)) != len(reasons):
            yield f"degraded is {page['degraded']} for {reasons}"
        if np.unique(ids).size != ids.size:
            yield "a product twice"
        if ids.size > asked.limit:
            yield "more products than asked for"
        if served.pool is None:
            yield from self._page_without_pool(asked, page, ids)
            return
        yield from self._page_of_pool(served, served.pool, page, ids)
        if asked.products:
            yield from self._brought(served, served.pool)
        elif flaw := self._pool_flaw(served, served.pool):
            yield flaw

    def _page_without_pool(self, asked: Asked, page: dict[str, Any], ids: npt.NDArray[np.int64]) -> Iterator[str]:
        if page["degraded_reasons"] != [_CATALOG_GONE]:
            yield f"no pool, but {page['degraded_reasons']}"
        if not self._facts.store or asked.category is not None:
            yield "a page made of nothing"
            return
        source, expected = precomputed.without_pool(asked.container, asked.customer)
        if page["source"] != source or ids.tolist() != expected[: asked.limit]:
            yield f"not the {source} list that was computed"

    def _page_of_pool(
        self, served: Served, pool: Pool, page: dict[str, Any], ids: npt.NDArray[np.int64]
    ) -> Iterator[str]:
        asked, reasons, source = served.asked, set(page["degraded_reasons"]), page["source"]
        allowed = pool.product_id[pool.boost != contract.EXCLUDED]
        if (PARTIAL_POOL in reasons) != pool.partial:
            yield f"the pool is partial: {pool.partial}; said {reasons}"
        if (STALE_POOL in reasons) != (served.pooled_at >= pool.stale_after):
            yield f"the pool is stale: {served.pooled_at >= pool.stale_after}; said {reasons}"
        others = reasons - _OF_THE_POOL
        if not others <= _NOT_RANKED or len(others) != (source != "ensemble" and pool.product_id.size > 0):
            yield f"{source} because of {others}"
        if (page["release"] is None) != (source == "popularity"):
            yield f"{source} of {page['release']}"
        if source == "ensemble":
            first = slice(contract.MAX_CANDIDATES)
            customer = asked.customer or contract.ANONYMOUS
            ranked = np.frombuffer(
                order(customer, pool.product_id[first].tobytes(), pool.boost[first].tobytes()), np.int64
            )
            expected = ranked[ranked != contract.PADDING]
            if page["release"] != _RELEASE:
                yield f"of {page['release']}"
        elif source == "precomputed":
            if not self._facts.store or asked.category is not None:
                yield "precomputed, but nothing is"
                return
            own = np.array(precomputed.own(asked.container, asked.customer), np.int64)
            own = own[np.isin(own, allowed)]
            expected = np.concatenate([own, allowed[~np.isin(allowed, own)]])
        else:
            expected = allowed
        if ids.tolist() != expected[: asked.limit].tolist():
            yield f"not the order of {source}, or not all of it: {ids.size} of {expected[: asked.limit].size}"

    def _brought(self, served: Served, pool: Pool) -> Iterator[str]:
        """For products that the caller brought: the pool is them, and what was excluded all the time isn't shown."""
        asked = served.asked
        if pool.product_id.tolist() != list(asked.products):
            yield "other products than were brought"
        if pool.partial:
            return
        versions = list(self._facts.versions(0.0, served.known_at))
        for product, boost in zip(asked.products, pool.boost.tolist(), strict=True):
            if all(boost != np.float32(stock.boost(stock.by_id(version).get(product))) for version in versions):
                yield f"product {product} has boost {boost}, which it never had, in a pool that isn't partial"
                return

    def _pool_flaw(self, served: Served, pool: Pool) -> str:
        seen = self._pools.get(id(pool))
        if seen is None:
            asked = served.asked
            versions = self._facts.versions(0.0, served.known_at)
            flaws = [self._flaw_of(pool, stock.shown(version, asked.container, asked.category)) for version in versions]
            flaw = "" if not all(flaws) else f"a pool of {pool.product_id.size} products that never was: {flaws[-1]}"
            seen = self._pools[id(pool)] = (pool, flaw)
        return seen[1]

    def _flaw_of(self, pool: Pool, truth: stock.Shown) -> str:
        """In what a pool differs from a version's."""
        there = np.isin(truth.product_id, pool.product_id)
        if truth.product_id[there].tolist() != pool.product_id.tolist():
            return "other products, or another order"
        if truth.boost[there].tolist() != pool.boost.tolist():
            return "other boosts"
        missing = min(truth.product_id.size, self._facts.max_products) - pool.product_id.size
        tolerated = max(1, truth.product_id.size // 10) if self._facts.malformed() else 0
        return f"{missing} are missing" if missing > tolerated and not pool.partial else ""
