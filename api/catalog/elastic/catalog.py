"""The catalog that lives in Elasticsearch: pools come from memory, and Elasticsearch keeps them fresh."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from api.catalog.details import ProductDetails
from api.catalog.elastic import shop as shops
from api.catalog.elastic.brands import Brands
from api.catalog.elastic.connection import Connection
from api.catalog.elastic.descriptions import Descriptions
from api.catalog.elastic.extras import Extras
from api.catalog.elastic.fetcher import PAGE, Fetcher
from api.catalog.elastic.lookup import Lookup
from api.catalog.elastic.query import BRAND
from api.catalog.elastic.searches import Searches
from api.catalog.elastic.shelf import Shelf
from api.catalog.elastic.shop import Shop
from api.catalog.fetching import Age, Fetched, Limits
from api.catalog.guard import Guard, breaker_policy
from api.catalog.pool_cache import PoolCache
from api.catalog.protocol import Container
from api.errors import (
    CatalogInvalid,
    CatalogRefused,
    CatalogUnavailable,
    UnknownCategory,
    UnknownContainer,
)
from api.metrics import Metrics
from api.types import Pool

_log = logging.getLogger(__name__)

Key = tuple[str, str | None]
"""Container and category."""

_HURRY_S: Final = 1.0
"""How often the live version is looked at while something about it is wrong."""
_DOUBTS: Final = 2
"""How often a pool that has become empty is asked for again before it is believed."""
_PATIENCE_S: Final = 15.0
"""How long the start waits for an Elasticsearch that doesn't answer."""


@dataclass(frozen=True, slots=True)
class Options:
    """How pools are fetched and kept; the settings' names and meanings."""

    timeout_s: float = 1.0
    refresh_s: float = 30.0
    stale_s: float = 120.0
    expire_s: float = 86_400.0
    max_products: int = 20_000
    max_bytes: int = 256 * 1024 * 1024
    page: int = PAGE
    attributes: bool = False
    """Whether pools carry what only the shop's rules need."""


class ElasticsearchCatalog:
    """Implements ``api.catalog.protocol.Catalog``. Make one with :meth:`open`."""

    def __init__(
        self,
        searches: Searches,
        shop: Shop,
        options: Options,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Put it together, with nothing at hand yet.

        Args:
            searches: the way to Elasticsearch; closed with the catalog.
            shop: the live version.
            options: how pools are fetched and kept.
            metrics: learn of pools.
            clock: seconds; must advance with the event loop's timers.
            rng: for jitter.
        """
        self._searches = searches
        self._shop = shop
        self._options = options
        self._clock = clock
        guard = Guard(breaker_policy(options.timeout_s), clock=clock, rng=rng)
        self._flaw = ""
        """Why the live version can't be read, where it can't."""
        self._fetcher = Fetcher(searches, max_products=options.max_products, stale_s=options.stale_s, page=options.page)
        limits = Limits(options.refresh_s, options.expire_s, options.max_bytes)
        self._pools: PoolCache[Key, Shelf] = PoolCache(self._fetch, limits, guard, clock=clock, rng=rng)
        self._lookup = Lookup(searches, guard, keep_s=options.refresh_s, clock=clock, extras=self._extras)
        self._brands = Brands(searches, guard)
        self._descriptions = Descriptions(searches, guard, keep_s=options.refresh_s, clock=clock)
        self._sizes: dict[str, int] = {}
        self._following: asyncio.Task[None] | None = None
        metrics.follow_catalog(self._pools, lambda: self._fetcher.rejected, lambda: guard.up)
        metrics.follow_breaker(guard.breaker, "elasticsearch")

    @classmethod
    async def open(
        cls, connection: Connection, options: Options, metrics: Metrics, *, patience_s: float = inf, warm: bool = True
    ) -> Self:
        """Read the live version and fetch every container's pool.

        Args:
            connection: where Elasticsearch is.
            options: how pools are fetched and kept.
            metrics: learn of searches and pools.
            patience_s: how long to wait for all pools, and at most as long, or 15 s, for an Elasticsearch that doesn't
                answer.
            warm: whether pools are fetched at all; for those who ask for a few products only.

        Raises:
            CatalogInvalid: Elasticsearch can't be reached, or has no catalog that can be served.
        """
        searches = Searches(connection, timeout_s=options.timeout_s, observe=metrics.searched)
        try:
            shop = await shops.read_patiently(searches, connection, min(patience_s, _PATIENCE_S))
            catalog = cls(searches, shop, options, metrics)
        except BaseException:
            await searches.close()
            raise
        if not warm:
            return catalog
        try:
            await catalog.warm(patience_s)
        except BaseException:
            await catalog.close()
            raise
        return catalog

    @property
    def now_day(self) -> float | None:
        """The moment the live version describes, as days since 1970-01-01 UTC."""
        return self._shop.meta.now_day

    async def containers(self) -> tuple[Container, ...]:
        """All containers of the live version, in display order, each with the size of its latest pool."""
        return tuple(
            Container(name, entry.title, entry.kind, self._sizes.get(name, 0))
            for name, entry in self._shop.definitions.items()
        )

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:
        """The container's pool, or only its products of ``category``: at once where it is at hand.

        Raises:
            UnknownContainer, UnknownCategory: the live version has no such thing.
            CatalogUnavailable: it isn't at hand and can't be had by ``deadline``.
        """
        if container_id not in self._shop.definitions:
            raise UnknownContainer(container_id)
        if category is None:
            key = (container_id, None)
            shelf = self._pools.at_hand(key) or await self._pools.get(key, deadline)
            return shelf.pool
        names = self._shop.meta.categories.get(category)
        if names is None:
            raise UnknownCategory(category)
        shelf_of_all = self._pools.at_hand((container_id, None))
        if shelf_of_all is not None and shelf_of_all.whole:
            return shelf_of_all.narrowed(names)
        try:
            return (await self._pools.get((container_id, category), deadline)).pool
        except CatalogUnavailable:
            if shelf_of_all is None:
                raise
            return shelf_of_all.narrowed(names)

    async def describe(self, product_ids: Sequence[int], *, deadline: float = inf) -> tuple[ProductDetails, ...]:
        """Details of the given products that the live version has, in the given order.

        Raises:
            CatalogUnavailable: they can't be had by ``deadline``.
        """
        return await self._descriptions.find(product_ids, deadline)

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:
        """The given products as a pool, in the given order; partial where some can't be looked up by ``deadline``."""
        return await self._lookup.find(product_ids, deadline)

    async def has_product(self, product_id: int, *, deadline: float = inf) -> bool:
        """Whether the live version has the product, available or not.

        Raises:
            CatalogUnavailable: it can't be told by ``deadline``.
        """
        return await self._lookup.has(product_id, deadline)

    async def known_brands(self, names: Sequence[str], *, deadline: float = inf) -> frozenset[str]:
        """See :class:`~api.catalog.protocol.Catalog`."""
        if BRAND not in self._shop.mapping:
            return frozenset()
        return await self._brands.known(names, max(0.0, deadline - self._clock()))

    async def close(self) -> None:
        """End everything that is under way, and the connections."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._pools.close()
        await self._lookup.close()
        await self._searches.close()

    async def _fetch(self, key: Key, age: Age) -> Fetched[Shelf]:
        container_id, category = key
        definition = self._shop.definitions.get(container_id)
        names = None if category is None else self._shop.meta.categories.get(category)
        if definition is None or (category is not None and names is None):
            raise CatalogRefused(f"the live version of the catalog has no {container_id!r}, {category!r} any more")
        fetched = await self._fetcher.fetch(definition, names, age, self._extras())
        before = self._pools.peek(key)
        for _ in range(_DOUBTS):
            if before is None or not before.pool.product_id.size or fetched.value.pool.product_id.size:
                break
            # A container that has become empty is rare, and showing nothing by mistake is the worst of mistakes.
            fetched = await self._fetcher.fetch(definition, names, age, self._extras())
        if category is None and not fetched.partial:
            self._sizes[container_id] = fetched.value.pool.product_id.size
        return fetched

    def _extras(self) -> Extras | None:
        return self._shop.extras if self._options.attributes else None

    async def warm(self, patience_s: float) -> None:
        """Fetch every container's pool before the first request asks for it, and follow the live version from then on.

        Raises:
            CatalogInvalid: no pool could be had within ``patience_s``.
        """
        self._keep()
        try:
            await asyncio.wait_for(self._pools.settled(), None if patience_s == inf else patience_s)
        except TimeoutError:
            _log.warning("not every container's pool could be had in time; the others follow")
        missing = {name: self._pools.failure((name, None)) for name in self._shop.definitions}
        missing = {name: why for name, why in missing.items() if self._pools.peek((name, None)) is None}
        for name, why in missing.items():
            _log.warning("no pool for container %r: %s", name, why or "it didn't come in time")
        if missing and len(missing) == len(self._shop.definitions):
            raise CatalogInvalid(f"no container's pool can be had: {next(iter(missing.values()))}")
        self._following = asyncio.create_task(self._follow(), name="follow the live catalog")

    def _keep(self) -> None:
        definitions, categories = self._shop.definitions, self._shop.meta.categories
        self._sizes = {name: size for name, size in self._sizes.items() if name in definitions}
        self._pools.keep(
            [(name, None) for name in definitions],
            known=lambda key: key[0] in definitions and (key[1] is None or key[1] in categories),
        )

    async def _follow(self) -> None:
        """Notice when another version becomes the live one, or its containers change.

        It looks more often while something is wrong. What it asks says nothing of the searches for products, so that it
        has no part in their breaker. It is one question a second at most, whatever the requests.
        """
        looked_at = self._clock()
        while True:
            await asyncio.sleep(min(_HURRY_S, self._options.refresh_s))
            hurry = self._flaw or self._pools.refused
            if not hurry and self._clock() < looked_at + self._options.refresh_s:
                continue
            looked_at = self._clock()
            try:
                self._go_over_to(await shops.read(self._searches))
            except (CatalogUnavailable, CatalogInvalid) as error:
                if str(error) != self._flaw:
                    _log.warning("the live catalog can't be looked at, so the one before is used: %s", error)
                self._flaw = str(error)
            except Exception as error:  # noqa: BLE001 - the task must outlive its own mistakes; they are logged
                _log.exception("looking at the live catalog failed by a mistake of ours")
                self._flaw = type(error).__name__

    def _go_over_to(self, shop: Shop) -> None:
        """Use another version, or the same whose containers have changed."""
        flaw, self._flaw = self._flaw, ""
        before, self._shop = self._shop, shop
        self._keep()
        if shop.index != before.index or shop.meta.categories != before.meta.categories:
            self._pools.refresh_now(lambda _: True)
        elif flaw or not shop.same_as(before):
            changed = {name for name, entry in shop.definitions.items() if entry != before.definitions.get(name)}
            self._pools.refresh_now(lambda key: key[0] in changed)
