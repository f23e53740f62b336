"""What a request gets while a stage is slow, hangs, fails or has too much to do, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from math import inf
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from api.ensemble_client import Ranked
from api.errors import CatalogUnavailable, EnsembleError, EnsembleUnavailable, TooManyRequests
from api.metrics import Metrics
from api.services import Services, running
from api.settings import Settings
from api.tensors import Batch
from api.types import Page, Pool, Query, Source
from ensemble import contract
from tests.fakes.catalog import FakeCatalog
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import make_shelf
from tests.unit.api.virtual_time import VirtualLoop

STEP_S = 0.001
DEADLINE_S = 0.05


class SlowEnsemble(FakeEnsemble):
    """Takes its time."""

    call_s = 0.004

    async def rank(self, batch: Batch) -> Ranked:
        await asyncio.sleep(self.call_s)
        return await super().rank(batch)


class SlowCatalog:
    """Has a container's pool only after a while; in vain for who won't wait so long."""

    def __init__(self, shelf: FakeCatalog) -> None:
        self._shelf = shelf
        self.takes_s = 0.0
        self.now_day = shelf.now_day
        self.containers, self.lookup, self.close = shelf.containers, shelf.lookup, shelf.close

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:
        loop = asyncio.get_running_loop()
        ready = loop.time() + self.takes_s
        if self.takes_s:
            await asyncio.sleep(min(ready, deadline) - loop.time())
        if ready > deadline:
            raise CatalogUnavailable("it takes longer")
        return await self._shelf.pool(container_id, category)


class World:
    """The adapter's parts on fakes."""

    def __init__(self, failure: EnsembleError | None = None, **settings: Any) -> None:
        self.loop = VirtualLoop()
        self.ensemble = SlowEnsemble()
        self.ensemble.failure = failure
        self.shelf = make_shelf()
        self.catalog = SlowCatalog(self.shelf)
        self.metrics = Metrics()
        self._context = running(
            Settings(**settings),
            self.catalog,
            self.ensemble,
            self.metrics,
            clock=self.loop.time,
            rng=Random(1),
        )
        self.services: Services = self.loop.run_until_complete(self._context.__aenter__())
        self.advance(0.5)

    def close(self) -> None:
        self.ensemble.gate.set()
        closing = self.loop.create_task(self._context.__aexit__(None, None, None))
        while not closing.done():
            self.loop.advance(0.01)
        closing.result()
        self.loop.close()

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.loop.advance(STEP_S)

    def ask(self, query: Query | None = None) -> asyncio.Task[tuple[Page, float]]:
        """A request; its page comes with the time it took."""

        async def asked() -> tuple[Page, float]:
            started = self.loop.time()
            page = await self.services.pipeline.recommend(query or Query("deals", 7))
            return page, self.loop.time() - started

        return self.loop.create_task(asked())

    def ask_every(self, seconds: float, count: int) -> list[tuple[Page, float]]:
        """Requests at even distances; all have ended."""
        tasks = []
        for _ in range(count):
            tasks.append(self.ask())
            self.advance(seconds)
        self.advance(1.0)
        return [task.result() for task in tasks]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(failure: EnsembleError | None = None, **settings: Any) -> World:
        worlds.append(World(failure, **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


def test_a_server_that_fails_is_hardly_asked_any_more(world: World) -> None:
    world.ensemble.failure = EnsembleUnavailable("down")
    asked = len(world.ensemble.calls)
    answers = world.ask_every(0.005, 400)
    assert {page.ranking.source for page, _ in answers} == {Source.POPULARITY}
    assert {page.degraded for page, _ in answers} == {("ensemble_unavailable",)}
    assert len(world.ensemble.calls) - asked <= 20  # 5 until it opens, then a trial now and then
    assert world.metric("racksort_breaker_state", dependency="ensemble", state="closed") == 0.0


def test_a_server_that_is_back_is_used_again_within_a_second(world: World) -> None:
    world.ensemble.failure = EnsembleUnavailable("down")
    world.ask_every(0.005, 400)
    world.ensemble.failure = None
    answers = world.ask_every(0.005, 400)
    full = [page.ranking.source is Source.ENSEMBLE for page, _ in answers]
    assert all(full[220:])
    assert world.metric("racksort_breaker_state", dependency="ensemble", state="closed") == 1.0


def test_a_server_that_hangs_costs_nobody_more_than_their_deadline_and_soon_nobody_at_all(world: World) -> None:
    world.ensemble.gate.clear()
    answers = world.ask_every(0.005, 200)
    assert all(page.ranking.source is Source.POPULARITY for page, _ in answers)
    assert max(took for _, took in answers) <= DEADLINE_S + STEP_S
    assert world.metric("racksort_breaker_opened_total", dependency="ensemble") >= 1
    at_once = [took < 2 * STEP_S for _, took in answers]
    assert all(at_once[60:])  # 300 ms after the stop


def test_the_answer_is_there_before_the_deadline_rather_than_at_it(world: World) -> None:
    world.ensemble.gate.clear()
    asked = world.ask()
    world.advance(0.1)
    page, took = asked.result()
    assert page.degraded == ("ensemble_timeout",)
    assert took < DEADLINE_S
    assert page.timing.budget == pytest.approx(DEADLINE_S)


@pytest.mark.parametrize(("asked_s", "given_s"), [(0.02, 0.02), (0.4, 0.4), (30.0, 1.0)])
def test_callers_say_how_long_they_wait_up_to_a_limit(world: World, asked_s: float, given_s: float) -> None:
    world.ensemble.gate.clear()
    asked = world.ask(Query("deals", 7, timeout_s=asked_s))
    world.advance(1.2)
    page, took = asked.result()
    assert page.degraded == ("ensemble_timeout",)
    assert 0.75 * given_s <= took <= given_s
    assert page.timing.budget == pytest.approx(given_s)


def test_what_cannot_be_ranked_in_time_is_not_begun(world: World) -> None:
    world.ensemble.call_s = 0.03
    world.ask_every(0.05, 40)  # until that is known
    begun = len(world.ensemble.calls)
    asked = [world.ask(Query("deals", each, timeout_s=0.02)) for each in range(1, 100)]
    world.advance(0.1)
    assert {task.result()[0].degraded for task in asked} <= {("ensemble_timeout",), ("overloaded",)}
    assert max(task.result()[1] for task in asked) <= 0.02
    calls = world.ensemble.calls[begun:]
    assert (
        sum(len(batch.rows) for batch in calls) <= 2 * contract.MAX_BATCH_SIZE
    )  # the two calls that could begin at once


def test_of_too_many_requests_the_surplus_gets_the_next_rung_in_time(make: Callable[..., World]) -> None:
    world = make(max_ranking=16)
    world.ensemble.call_s = 0.03
    world.ask_every(0.05, 30)  # until that is known
    asked = [world.ask(Query("deals", each)) for each in range(1, 41)]
    world.advance(0.1)
    answers = [task.result() for task in asked]
    assert max(took for _, took in answers) <= DEADLINE_S
    full = [page for page, _ in answers if page.ranking.source is Source.ENSEMBLE]
    assert len(full) == 16
    assert {page.degraded for page, _ in answers} == {(), ("overloaded",)}
    assert world.metric("racksort_refused_total", priority="first_page") == 24


def test_a_burst_above_the_limit_waits_for_places_as_long_as_there_is_time(make: Callable[..., World]) -> None:
    world = make(max_ranking=16)
    world.ensemble.call_s = 0.004
    world.ask_every(0.05, 30)
    asked = [world.ask(Query("deals", each)) for each in range(1, 81)]
    world.advance(0.1)
    assert all(task.result()[0].ranking.source is Source.ENSEMBLE for task in asked)
    assert max(task.result()[1] for task in asked) <= DEADLINE_S


def test_with_no_time_even_for_that_the_surplus_is_refused(make: Callable[..., World]) -> None:
    world = make(max_ranking=16)
    world.ensemble.call_s = 0.02
    first = [world.ask(Query("deals", each)) for each in range(1, 17)]
    world.loop.advance(STEP_S)
    world.loop._now += 0.04  # the loop had something else to do
    late = world.ask(Query("deals", 99))
    world.loop.run_until_complete(asyncio.wait([late]))
    assert isinstance(late.exception(), TooManyRequests)
    world.advance(0.1)
    assert all(task.done() for task in first)


def test_re_ranking_gives_way_to_first_pages(make: Callable[..., World]) -> None:
    world = make(max_ranking=20)
    world.ensemble.call_s = 0.02
    products = np.arange(1, 50)

    async def rerank(customer: int) -> Page:
        return await world.services.pipeline.rerank(Query(customer_id=customer), products)

    batch = [world.loop.create_task(rerank(each)) for each in range(1, 40)]
    shop = [world.ask(Query("deals", each)) for each in range(1, 7)]
    world.advance(0.2)
    assert all(task.result()[0].ranking.source is Source.ENSEMBLE for task in shop)
    assert max(task.result()[1] for task in shop) <= 0.03  # at once, although 39 came before
    assert sum(task.result().ranking.source is Source.ENSEMBLE for task in batch) <= 28


def test_a_first_pool_is_worth_a_late_page_unless_the_caller_says_otherwise(world: World) -> None:
    world.catalog.takes_s = 0.2
    patient, hurried = world.ask(), world.ask(Query("deals", 7, timeout_s=0.05))
    world.advance(0.3)
    page, took = patient.result()
    assert took == pytest.approx(0.2, abs=2 * STEP_S)
    assert page.ranking.product_id.tolist() == list(range(1, 25))
    assert page.degraded == ("ensemble_timeout",)  # too late to be ranked as well
    assert isinstance(hurried.exception(), CatalogUnavailable)


def test_a_pool_that_takes_too_long_is_not_waited_for(world: World) -> None:
    world.catalog.takes_s = 5.0
    asked = world.ask()
    world.advance(0.6)
    assert isinstance(asked.exception(), CatalogUnavailable)


LIES: dict[str, Callable[[npt.NDArray[np.int64]], npt.NDArray[np.generic]]] = {
    "a product twice": lambda ids: np.concatenate((ids[:, :1], ids[:, :-1]), axis=1),
    "a product of somebody else": lambda ids: np.where(ids == 3, 4_711, ids),
    "padding first": lambda ids: ids[:, ::-1],
    "everything padding": np.zeros_like,
    "a row less": lambda ids: ids[:-1],
    "a column less": lambda ids: ids[:, :-1],
    "another type": lambda ids: ids.astype(np.float64),
    "negative": lambda ids: -ids,
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_cannot_be_right_is_never_shown(world: World, lie: str) -> None:
    def lying(batch: Batch) -> Ranked:
        return Ranked(LIES[lie](FakeEnsemble._rank(world.ensemble, batch).product_id), "personalize_v1")  # type: ignore[arg-type]

    world.ensemble._rank = lying  # type: ignore[method-assign]
    for page, _ in world.ask_every(0.005, 20):
        assert page.ranking.source is Source.POPULARITY
        assert page.ranking.product_id.tolist() == list(range(1, 25))
        assert page.degraded == ("ensemble_unavailable",)


def test_failures_before_the_first_success_do_not_put_it_off(make: Callable[..., World]) -> None:
    world = make(EnsembleUnavailable("still loading"))
    world.advance(5.0)
    assert not world.services.readiness.ready.is_set()
    world.ensemble.failure = None
    world.advance(0.2)
    assert world.services.readiness.ready.is_set()
