"""The whole adapter between steady requests and a real Elasticsearch behind something that fails."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from fastapi import FastAPI

from api.app import create_app
from api.errors import EnsembleTimeout
from api.resilience.loop_lag import LoopLag
from api.settings import Settings
from tests.fakes.ensemble import FakeEnsemble

DEADLINE_MS = 300
REFRESH_MS = 500
STALE_MS = 2_000
TIMEOUT_MS = 800
PAUSE_S = 0.02
"""Between an answer and the client's next question: faults shall be felt, not a machine that has too much to do."""
PRODUCTS = 3_000
LISTS = 12
DEPARTMENTS = 3


def write_shop(folder: Path) -> None:
    """A shop of 3,000 products with lists, and grids of a thousand, and one grid that takes three pages to fetch."""
    ids = range(1, PRODUCTS + 1)
    frame = pl.DataFrame(
        {
            "product_id": pl.Series(ids, dtype=pl.Int64),
            "category_id": pl.Series([each % 7 + 1 for each in ids], dtype=pl.Int32),
            "category": [("TEA", "COFFEE", "JAM", "RICE")[each % 4] for each in ids],
            "department": [f"D{each % DEPARTMENTS}" for each in ids],
            "price_ratio": pl.Series([0.5 + each % 50 / 100 for each in ids], dtype=pl.Float32),
            "popularity": pl.Series([float(each * 7919 % PRODUCTS) for each in ids], dtype=pl.Float32),
            "available": True,
        }
    )
    frame.write_parquet(folder / "products.parquet")
    (folder / "containers.json").write_text(json.dumps(definitions()))
    header = {"schema_version": 1, "now_day": 17_483.25, "categories": {"tea": ["TEA"], "jam": ["JAM"]}}
    (folder / "catalog.json").write_text(json.dumps(header))


def definitions() -> list[dict[str, Any]]:
    lists = [
        _container(f"list-{number}", "list", {"price_ratio": {"gte": 0.5 + number / 100}}, 64)
        for number in range(LISTS)
    ]
    grids = [_container(f"grid-{number}", "grid", {"department": f"D{number}"}) for number in range(DEPARTMENTS)]
    return [*lists, *grids, _container("all", "grid", {})]


def shown_by(container_id: str) -> Callable[[int], bool]:
    """Whether a container may show a product, told without racksort."""
    kind, _, number = container_id.partition("-")
    if kind == "list":
        return lambda product: 50 + product % 50 >= 50 + int(number) and 1 <= product <= PRODUCTS
    if kind == "grid":
        return lambda product: product % DEPARTMENTS == int(number) and 1 <= product <= PRODUCTS
    return lambda product: 1 <= product <= PRODUCTS


def _container(container_id: str, kind: str, condition: dict[str, Any], size: int | None = None) -> dict[str, Any]:
    return {
        "container_id": container_id,
        "title": container_id,
        "kind": kind,
        "filter": condition,
        "sort": [{"field": "popularity", "order": "desc"}],
        "size": size,
    }


@dataclass
class Seen:
    """What the clients got."""

    answers: int = 0
    reasons: set[str] = field(default_factory=set)
    slowest_ms: float = 0.0
    stalled_ms: float = 0.0
    """The longest that the event loop, which clients and adapter share, was held up: by another process, for one."""
    wrong: list[str] = field(default_factory=list)
    """Answers that weren't valid, in words."""
    unranked: list[str] = field(default_factory=list)
    """Valid answers that the ensemble hasn't ranked."""


class Adapter:
    """A running adapter, and its clients."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self._client = client
        self.services = app.state.services
        self.containers = [entry["container_id"] for entry in definitions()]

    async def page(self, container_id: str, **parameters: object) -> httpx.Response:
        query = "&".join(f"{name}={value}" for name, value in {"limit": 24, **parameters}.items())
        return await self._client.get(f"/v1/containers/{container_id}/products?{query}")

    async def watch(self, until: Callable[[Seen], bool], *, clients: int = 8, at_most_s: float = 60.0) -> Seen:
        """Ask for pages until ``until``, which looks at what was seen so far.

        Raises:
            TimeoutError: it took longer than ``at_most_s``.
        """
        seen = Seen()
        questions = zip(itertools.cycle(self.containers), itertools.count(1))

        def held_up(seconds: float) -> None:
            seen.stalled_ms = max(seen.stalled_ms, seconds * 1e3)

        with LoopLag(heard=held_up).watching():
            async with asyncio.timeout(at_most_s):
                await asyncio.gather(*[self._ask(questions, seen, until) for _ in range(clients)])
        if seen.stalled_ms < DEADLINE_MS / 3:  # else the ensemble's answers may well have come too late
            seen.wrong += seen.unranked
        else:
            seen.reasons.discard(EnsembleTimeout.reason)
        return seen

    async def _ask(self, questions: Any, seen: Seen, until: Callable[[Seen], bool]) -> None:
        while not until(seen):
            container_id, customer = next(questions)
            started = time.monotonic()
            answer = await self.page(container_id, customer_id=customer % 100)
            seen.slowest_ms = max(seen.slowest_ms, (time.monotonic() - started) * 1e3)
            seen.answers += 1
            await asyncio.sleep(PAUSE_S)
            fault = _fault(container_id, answer)
            if fault:
                seen.wrong.append(fault)
                continue
            body = answer.json()
            seen.reasons |= set(body["degraded_reasons"])
            if body["source"] != "ensemble":
                seen.unranked.append(f"{container_id}: {body}")

    async def fresh(self, since: float, *, at_most_s: float = 30.0) -> None:
        """Until every container's pool is whole and was fetched after ``since``, on the monotonic clock."""
        catalog = self.services.catalog
        async with asyncio.timeout(at_most_s):
            for container_id in self.containers:
                while True:
                    pool = await catalog.pool(container_id)
                    if not pool.partial and pool.stale_after - STALE_MS / 1e3 >= since:
                        break
                    await self.page(container_id)  # a turn of the real thing rather than a pause

    def metric(self, name: str, **labels: str) -> float:
        return float(self.services.metrics.registry.get_sample_value(name, labels) or 0.0)


def _fault(container_id: str, answer: httpx.Response) -> str:
    if answer.status_code != 200:
        return f"{container_id}: {answer.status_code} {answer.text}"
    body = answer.json()
    ids = body["product_ids"]
    allowed = shown_by(container_id)
    if len(ids) != 24 or len(set(ids)) != len(ids) or not all(map(allowed, ids)):
        return f"{container_id}: {body}"
    if body["degraded"] != bool(body["degraded_reasons"]):
        return f"{container_id}: {body}"
    return ""


@asynccontextmanager
async def running_adapter(url: str, **overrides: Any) -> AsyncIterator[Adapter]:
    """The adapter on a real Elasticsearch at ``url`` and a fake ensemble, which can't be what fails here."""
    settings = Settings(
        catalog="elasticsearch",
        elasticsearch_url=url,
        **{
            "deadline_ms": DEADLINE_MS,
            "cold_pool_ms": DEADLINE_MS,
            "elasticsearch_timeout_ms": TIMEOUT_MS,
            "pool_refresh_ms": REFRESH_MS,
            "pool_stale_ms": STALE_MS,
            **overrides,
        },
    )
    gc.collect()
    gc.freeze()  # what a thousand tests before have left behind takes a collection longer than a request may
    app = create_app(settings, ensemble=FakeEnsemble())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://adapter") as client,
    ):
        await app.state.services.readiness.ready.wait()
        yield Adapter(app, client)


def resident_bytes() -> int:
    """Memory of this process, after a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
