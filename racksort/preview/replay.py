"""Ranks requests without and with rules, by the pipeline that serves them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from api.app import open_catalog
from api.ensemble_client import TritonEnsemble
from api.errors import AdapterError
from api.metrics import Metrics
from api.rules.document import Document
from api.rules.effects import Touch, effects
from api.rules.live import Rules
from api.services import Services, running
from api.settings import Settings
from api.tls_follower import TlsFollower
from api.types import Page, Query, Source
from ensemble.errors import RacksortError

_AT_ONCE: Final = 32
_PATIENCE_MS: Final = 60_000
"""Nobody waits for a page: a call may take as long as a busy Triton needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One request's page without and with the rules."""

    query: Query
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    touches: dict[int, tuple[Touch, ...]]
    """By product of either page. What wasn't on the page of before has a place behind it."""

    def moved(self) -> int:
        """Products that came, went or have another place."""
        before, after = self.before.tolist(), self.after.tolist()
        places = {product: place for place, product in enumerate(before)}
        moved = sum(places.get(product) != place for place, product in enumerate(after))
        return moved + len(set(before) - set(after))


@dataclass(frozen=True, slots=True)
class Result:
    """A whole preview."""

    pages: list[Compared]
    held: Counter[str] = field(default_factory=Counter)
    """Requests that each rule held for."""

    def changed(self) -> list[Compared]:
        """The pages that differ, the most changed first."""
        return sorted((page for page in self.pages if page.moved()), key=lambda page: -page.moved())

    def touched(self) -> Counter[str]:
        """Places of pages, before or after, that each rule touched."""
        return Counter(touch.rule_id for page in self.pages for each in page.touches.values() for touch in each)

    def summary(self) -> dict[str, Any]:
        """For machines."""
        touched, changed = self.touched(), self.changed()
        rules = {name: {"requests": count, "products": touched[name]} for name, count in self.held.items()}
        moved = sum(page.moved() for page in changed)
        return {"requests": len(self.pages), "changed": len(changed), "moved": moved, "rules": rules}

    def said(self) -> str:
        """For people."""
        found = self.summary()
        share = found["changed"] / max(1, found["requests"])
        lines = [
            f"{found['changed']} of {found['requests']} pages change ({share:.0%}), {found['moved']:,} products move"
        ]
        lines += [
            f"  {name}: held for {each['requests']} requests, touched {each['products']} products of their pages"
            for name, each in found["rules"].items()
        ]
        return "\n".join(lines)


async def replay(
    settings: Settings, before: Document, after: Document, queries: Sequence[Query], *, now: float
) -> Result:
    """Ask everything twice.

    Args:
        settings: which catalog, Triton and release.
        before: the rules of the first time.
        after: and of the second.
        queries: what to ask.
        now: Unix time, for the rules' time windows.

    Raises:
        RacksortError: a request can't be answered in full.
    """
    patient = {"deadline_ms": _PATIENCE_MS, "max_deadline_ms": _PATIENCE_MS, "call_timeout_ms": 2 * _PATIENCE_MS}
    settings = settings.model_copy(update=patient)
    metrics = Metrics()
    tls = TlsFollower.of(settings.triton_tls)
    catalog = await open_catalog(settings, metrics, for_rules=True)
    ensemble = TritonEnsemble(settings.triton, settings.release, timeout_s=2 * _PATIENCE_MS / 1e3, tls=tls)
    rules = Rules(now=lambda: now)
    async with running(settings, catalog, ensemble, metrics, rules=rules) as services:
        rules.use(before)
        first = await _pages(services, queries)
        rules.use(after)
        second = await _pages(services, queries)
        pages = [await _compared(services, rules, *pair) for pair in zip(queries, first, second, strict=True)]
        held: Counter[str] = Counter({rule.id: 0 for rule in after.rules})
        for query in queries:
            if (view := rules.of(query)) is not None:
                held.update(rule.id for rule in (*view.rules, *view.elsewhere))
    return Result(pages, held)


async def _pages(services: Services, queries: Sequence[Query]) -> list[Page]:
    pages: list[Page] = []
    for begin in range(0, len(queries), _AT_ONCE):
        asked = (_page(services, query) for query in queries[begin : begin + _AT_ONCE])
        pages += await asyncio.gather(*asked)
    return pages


async def _page(services: Services, query: Query) -> Page:
    try:
        page = await services.pipeline.recommend(query)
    except AdapterError as error:
        raise RacksortError(f"{_name(query)}: {error}") from error
    if page.degraded and page.ranking.source is not Source.ENSEMBLE:
        raise RacksortError(f"{_name(query)}: the ensemble didn't rank it ({', '.join(page.degraded)}): look at Triton")
    return page


async def _compared(services: Services, rules: Rules, query: Query, before: Page, after: Page) -> Compared:
    first, second = before.ranking.product_id, after.ranking.product_id
    view = rules.of(query)
    if view is None:
        return Compared(query, first, second, {})
    pool = await services.catalog.pool(query.container_id, query.category)
    shown = {*first.tolist(), *second.tolist()}
    # Behind the page of before stands what came onto it from there, so that its rules are found too.
    found = effects(view, query, pool, np.concatenate([first, second[~np.isin(second, first)]]), second)
    return Compared(query, first, second, {product: each for product, each in found.items() if product in shown})


def _name(query: Query) -> str:
    return f"container {query.container_id!r}, customer {query.customer_id}"
