"""One seed's world: the real adapter in it, and what came of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

from fastapi import FastAPI

from api import problems
from api.catalog.elastic import shop as shops
from api.catalog.elastic.catalog import ElasticsearchCatalog
from api.catalog.elastic.searches import Searches
from api.edge import ProductsEndpoint, ShortCut
from api.errors import CatalogInvalid, CatalogUnavailable
from api.fallback.rung import PrecomputedRung
from api.fallback.store import PrecomputedLists
from api.metrics import Metrics
from api.routes import router
from api.services import running
from api.telemetry.telemetry import untraced
from tests.simulation import precomputed, stock
from tests.simulation.checks import Facts, Judge, Served
from tests.simulation.elastic import Elasticsearch
from tests.simulation.plan import ALL_BACK_S, NEVER_S, Plan
from tests.simulation.spies import CURRENT, Bounds, SpiedCatalog
from tests.simulation.traffic import Client
from tests.simulation.triton import SimulatedEnsemble, Triton
from tests.simulation.virtual_loop import VirtualTimeLoop

_PATIENCE_S: Final = 3.0
"""Beyond any deadline: what isn't answered by then never will be."""
_FAIR_MS: Final = 50
"""Who waits less isn't counted: Triton may be too slow for them at its best."""
_LIKELY: Final = 0.99
_LOOK_S: Final = 0.05
"""Between two looks at what is slow to look at."""
_BEGAN: Final = 5_000.0
"""On the loop's clock: any number but 0."""
TraceLine = tuple[float, int, int | None, str, tuple[str, ...], int]
"""When, which request, status, source, reasons, a sum of the product ids."""


@dataclass(slots=True)
class Run:
    """What came of a seed."""

    plan: Plan
    trace: list[TraceLine] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)

    def blame(self, what: str) -> None:
        """Note a violation, once."""
        if what not in self.violations:
            self.violations.append(what)


class World:
    """The adapter in virtual time."""

    def __init__(self, plan: Plan, loop: VirtualTimeLoop) -> None:
        self.run = Run(plan)
        self._plan = plan
        self._loop = loop
        self._began = loop.time()
        rng = random.Random(f"world {plan.seed}")
        self._rng = random.Random(f"adapter's {plan.seed}")
        self._elasticsearch = Elasticsearch(loop, plan.faults.elasticsearch, plan.switches, rng)
        self._elasticsearch.empties = plan.options.expire_s == NEVER_S
        self._triton = Triton(loop, plan.faults.triton, plan.capacity, rng)
        self._stalled: list[tuple[float, float]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._look_at = 0.0
        self._judge = Judge(
            Facts(
                began=self._began,
                versions=self._versions,
                version_lag_s=plan.options.refresh_s + ALL_BACK_S + plan.faults.elasticsearch.ends_at,
                malformed=lambda: self._elasticsearch.malformed,
                deadline_s=plan.settings.deadline_ms / 1e3,
                max_deadline_s=plan.settings.max_deadline_ms / 1e3,
                cold_pool_s=plan.settings.cold_pool_ms / 1e3,
                store=plan.store,
                stalled=self._stalled_within,
                max_products=plan.options.max_products,
            )
        )

    async def live(self) -> None:
        """Start the adapter, send it the requests, judge its answers, stop it."""
        plan, loop, run = self._plan, self._loop, self.run
        loop.set_exception_handler(lambda _, context: run.blame(f"nobody heard of {context['message']}: {context}"))
        metrics = Metrics()
        catalog = await self._catalog(metrics)
        spied = SpiedCatalog(catalog, loop.time, self._began)
        ensemble = SimulatedEnsemble(self._triton, timeout_s=plan.settings.call_timeout_ms / 1e3)
        rung = PrecomputedRung(PrecomputedLists.open(precomputed.folder()), now=loop.time) if plan.store else None
        for at, seconds in plan.faults.stalls:
            loop.call_at(self._began + at, self._stall, seconds)
        async with running(
            plan.settings, spied, ensemble, metrics, rung, clock=loop.time, now=loop.time, rng=self._rng
        ) as services:
            bounds = Bounds(services, plan.settings, catalog, self._triton, self._elasticsearch)
            loop.on_jump = lambda now: self._look(bounds, now)
            _APP.state.services = services
            telling = untraced(clock=loop.time)
            _APP.products = ProductsEndpoint(services.pipeline, services.explained, services.metrics, telling)
            await self._send_all()
            for flaw in bounds.left_over():
                run.blame(flaw)
            closing_at = loop.time()
        loop.on_jump = lambda _: None
        if loop.time() - closing_at > plan.settings.call_timeout_ms / 1e3 + plan.options.timeout_s:
            run.blame(f"closing took {loop.time() - closing_at:.3f} s")
        if not ensemble.closed or not self._elasticsearch.closed:
            run.blame("something wasn't closed")
        self._judge_all()

    def judge_the_end(self, tasks: set[asyncio.Task[Any]], timers: list[asyncio.TimerHandle]) -> None:
        """Nothing may be left of a world that has ended."""
        for task in tasks:
            self.run.blame(f"a task was left over: {task.get_name()} {task.get_coro()}")
        for timer in timers:
            self.run.blame(f"a timer was left over: {timer}")

    async def _catalog(self, metrics: Metrics) -> ElasticsearchCatalog:
        plan, clock = self._plan, self._loop.time
        searches = Searches(
            self._elasticsearch,  # type: ignore[arg-type]  # all that is used of a connection
            timeout_s=plan.options.timeout_s,
            observe=metrics.searched,
            clock=clock,
        )
        while True:
            try:
                shop = await shops.read(searches)
                break
            except (CatalogInvalid, CatalogUnavailable):
                await asyncio.sleep(0.1)
        catalog = ElasticsearchCatalog(searches, shop, plan.options, metrics, clock=clock, rng=self._rng)
        while True:
            try:
                await catalog.warm(plan.warmed_for_s)
            except CatalogInvalid:
                continue
            return catalog

    async def _send_all(self) -> None:
        for asked in self._plan.asked:
            due = self._began + asked.at
            if due < self._loop.time() - 0.1:
                continue  # the adapter has started late
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            served = Served(Client(asked), self._loop.time())
            served.known_at = asked.at
            self.run.served.append(served)
            self._tasks.append(self._loop.create_task(self._serve(served)))
            if asked.leaves_after is not None:
                self._loop.call_later(asked.leaves_after, setattr, served.client, "disconnected", True)
        _, pending = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)

    async def _serve(self, served: Served) -> None:
        CURRENT.set(served)
        client = served.client

        async def send(message: Any) -> None:
            client.sent.append(message)
            client.sent_at.append(self._loop.time())

        try:
            await _APP(client.scope(), client.receive, send)
        except Exception as error:  # noqa: BLE001 - whatever comes out of the adapter is a violation
            self.run.blame(f"request {served.asked.number}: {error!r}")
        served.done = True

    def _look(self, bounds: Bounds, now: float) -> None:
        for flaw in bounds.flaws():
            self.run.blame(flaw)
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            for flaw in bounds.slow_flaws() if self._plan.options.expire_s == NEVER_S else ():
                self.run.blame(flaw)

    def _stall(self, seconds: float) -> None:
        since = self._loop.time()
        self._loop.stall(seconds)
        self._stalled.append((since, self._loop.time()))

    def _stalled_within(self, start: float, end: float) -> float:
        return sum(max(0.0, min(end, until) - max(start, since)) for since, until in self._stalled)

    def _versions(self, start: float, end: float) -> range:
        """Those that were live at some time between two."""
        return range(self._elasticsearch.live(start), self._elasticsearch.live(end) + 1)

    def _judge_all(self) -> None:
        run = self.run
        for served in run.served:
            for flaw in self._judge.flaws(served):
                run.blame(f"request {served.asked.number}: {flaw}")
            run.trace.append(_line(served, self._began))
        run.trace.sort()
        self._judge_recovery()

    def _judge_recovery(self) -> None:
        plan, run = self._plan, self.run
        pages = [each for each in run.served if each.asked.container and each.asked.category is None]
        ranked = [each for each in pages if each.asked.at >= plan.ranked_from and _can_be_ranked(each)]
        full = [each for each in ranked if each.asked.at >= plan.full_from]
        for what, among, good in (
            ("ranked", ranked, [each for each in ranked if each.body and each.body["source"] == "ensemble"]),
            ("full", full, [each for each in full if each.full]),
        ):
            if len(good) < _LIKELY * len(among) - 1:
                run.blame(f"after the faults only {len(good)} of {len(among)} answers are {what}")
        last = self._elasticsearch.live(plan.full_from)
        for each in pages:
            if each.asked.at >= plan.full_from and each.body is not None and each.asked.container in stock.ALWAYS:
                truth = stock.shown(last, each.asked.container, None)
                if not set(each.body["product_ids"]) <= set(truth.allowed.tolist()):
                    run.blame(f"request {each.asked.number}: products of an old version")


def _can_be_ranked(served: Served) -> bool:
    """Whether somebody waits long enough for the ranking of a pool that was at hand."""
    asked, pool = served.asked, served.pool
    waits = not served.client.disconnected and (asked.timeout_ms is None or asked.timeout_ms >= _FAIR_MS)
    return waits and not served.cold and pool is not None and pool.product_id.size > 0


def _line(served: Served, began: float) -> TraceLine:
    body = served.body or {}
    at = served.client.sent_at[-1] - began if served.client.sent_at else -1.0
    ids = crc32(repr(body.get("product_ids")).encode())
    return at, served.asked.number, served.status, body.get("source", ""), tuple(body.get("degraded_reasons", ())), ids


def simulate(seed: int) -> Run:
    """Live through one seed."""
    loop = VirtualTimeLoop(_BEGAN)
    asyncio.set_event_loop(loop)
    try:
        world = World(Plan.of(seed), loop)
        with _heard(world.run):
            try:
                loop.run_until_complete(world.live())
            except Exception as error:  # noqa: BLE001 - a violation like any other, and the next seed must go on
                world.run.blame(f"the world ended: {error!r}")
            loop.run_until_complete(asyncio.sleep(0))  # what has ended may still have to be taken away
            world.judge_the_end(asyncio.all_tasks(loop), loop.timers)
        return world.run
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class _Mistakes(logging.Handler):
    """A mistake of ours is logged with its traceback."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._run.blame(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def _heard(run: Run) -> Iterator[None]:
    """Listen to the adapter's log instead of printing it."""
    log = logging.getLogger("api")
    handler, propagated = _Mistakes(run), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagated


def _app() -> ShortCut:
    app = ShortCut(openapi_url=None)
    app.include_router(router)
    problems.install(app)
    return app


_APP: Final[FastAPI | Any] = _app()
"""The routes, for all worlds: one at a time has its services in it."""
