"""A store that doesn't answer costs a page its events and nothing else, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from api.errors import EventsUnavailable
from api.events.event import Event, Owner
from api.events.intake import Events
from api.events.metrics import EventMetrics
from api.events.shared_calls import SharedCalls
from api.events.store import Added, Timeline
from api.metrics import Metrics
from api.services import Services, running
from api.settings import Settings
from api.types import Page, Query, Source
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import make_shelf
from tests.unit.api.virtual_time import VirtualLoop

DEADLINE_S = 0.05
STEP_S = 0.001


class Hung:
    """Implements ``EventStore``, far away: takes its time, and so long that nobody waits."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.takes_s = 1_000.0
        self.asked = 0
        self._calls = SharedCalls(self._fetch, name="read", clock=loop.time)

    async def _fetch(self, owners: Sequence[Owner]) -> Sequence[bytes]:
        self.asked += len(owners)
        await asyncio.sleep(self.takes_s)
        return [b""] * len(owners)

    def read(self, owner: Owner, until: float) -> Timeline:
        return self._calls.ask(owner, until)

    async def add(self, events: Sequence[tuple[Owner, Event]]) -> Added:
        return Added(len(events), 0, reached=False)

    async def merge(self, visitor: str, customer: int) -> Added:  # noqa: ARG002 - it is hung
        return Added(0, 0, reached=False)

    async def delete(self, owner: Owner) -> int:  # noqa: ARG002 - it is hung
        raise EventsUnavailable("hung")

    async def close(self) -> None:
        await self._calls.close()


class World:
    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.store = Hung(self.loop)
        metrics = Metrics()
        events = Events(self.store, EventMetrics(metrics.registry), ttl_s=100.0)
        self._context = running(
            Settings(), make_shelf(), FakeEnsemble(), metrics, events=events, clock=self.loop.time, rng=Random(1)
        )
        self.services: Services = self.loop.run_until_complete(self._context.__aenter__())
        self.advance(0.5)

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.loop.advance(STEP_S)

    def page(self, query: Query) -> tuple[Page, float]:
        """A page, and the seconds that it took."""
        started = self.loop.time()
        task = self.loop.create_task(self.services.pipeline.recommend(query))
        while not task.done():
            self.loop.advance(STEP_S)
        return task.result(), self.loop.time() - started

    def close(self) -> None:
        closing = self.loop.create_task(self._context.__aexit__(None, None, None))
        while not closing.done():
            self.loop.advance(0.01)
        closing.result()
        self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_a_known_customers_page_is_ranked_in_time_and_says_what_it_lacks(world: World) -> None:
    page, took_s = world.page(Query("deals", 7))
    assert page.ranking.source is Source.ENSEMBLE
    assert page.degraded == ("events_unavailable",)
    assert took_s <= DEADLINE_S


def test_who_waits_less_is_answered_sooner(world: World) -> None:
    page, took_s = world.page(Query("deals", 7, timeout_s=0.02))
    assert page.degraded == ("events_unavailable",)
    assert took_s <= 0.02 + STEP_S


def test_a_slow_answer_within_the_budget_is_waited_for(world: World) -> None:
    world.store.takes_s = 0.01
    page, took_s = world.page(Query("deals", 7))
    assert page.degraded == ()
    assert 0.01 <= took_s <= DEADLINE_S


@pytest.mark.parametrize("query", [Query("deals"), Query("deals", 0)])
def test_a_visitor_who_isnt_known_doesnt_ask_the_store(world: World, query: Query) -> None:
    page, _ = world.page(query)
    assert page.degraded == ()
    assert world.store.asked == 0
