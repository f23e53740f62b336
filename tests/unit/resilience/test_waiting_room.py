from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from api.resilience.limiter import Limiter, LimiterPolicy, Outcome, Permit, Priority
from api.resilience.waiting_room import WaitingRoom
from tests.unit.api.virtual_time import VirtualLoop

FIRST, DEEP, RERANK = Priority.FIRST_PAGE, Priority.DEEP_SCROLL, Priority.RERANK


class World:
    def __init__(self, *, limit: int = 4, most: int = 3) -> None:
        self.loop = VirtualLoop()
        policy = LimiterPolicy(min_limit=limit, initial_limit=limit, max_limit=limit)
        self.limiter = Limiter(policy, self.loop.time)
        self.room = self.loop.run_until_complete(self._made(most))
        self.tasks: list[asyncio.Task[Permit | None]] = []

    async def _made(self, most: int) -> WaitingRoom:
        return WaitingRoom(self.limiter, most=most, clock=self.loop.time)

    def enter(self, priority: Priority = FIRST, seconds: float = 1.0) -> asyncio.Task[Permit | None]:
        task = self.loop.create_task(self.room.enter(priority, self.loop.time() + seconds))
        self.tasks.append(task)
        self.loop.advance()
        return task

    def leave(self, task: asyncio.Task[Permit | None]) -> None:
        permit = task.result()
        assert permit is not None
        self.room.leave(permit, Outcome.IGNORED)
        self.loop.advance()

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.loop.advance()
        self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_who_finds_a_place_does_not_wait(world: World) -> None:
    assert [world.enter().done() for _ in range(5)] == [True] * 4 + [False]


def test_the_newest_gets_the_place_that_becomes_free(world: World) -> None:
    inside = [world.enter() for _ in range(4)]
    older, newer = world.enter(), world.enter()
    world.leave(inside[0])
    assert newer.done()
    assert newer.result() is not None
    assert not older.done()
    world.leave(inside[1])
    assert older.result() is not None


def test_waiting_ends_without_a_place_and_counts_as_refused(world: World) -> None:
    for _ in range(4):
        world.enter()
    late = world.enter(seconds=0.5)
    assert world.limiter.counts.refused[FIRST] == 0
    world.loop.advance(0.6)
    assert late.result() is None
    assert world.limiter.counts.refused[FIRST] == 1
    assert len(world.room) == 0
    assert world.enter(seconds=0.0).result() is None


def test_a_full_room_turns_out_the_oldest_of_the_lowest_priority(world: World) -> None:
    for _ in range(4):
        world.enter()
    low, high, middle, newest = world.enter(RERANK), world.enter(FIRST), world.enter(DEEP), world.enter(FIRST)
    assert low.result() is None
    assert not high.done()
    assert not middle.done()
    assert not newest.done()


def test_a_higher_priority_does_not_wait_behind_a_lower_one(world: World) -> None:
    for _ in range(2):
        world.enter(RERANK)  # 70 % of 4
    world.enter(RERANK)
    assert len(world.room) == 1
    assert world.enter(FIRST).done()


@pytest.mark.parametrize("given", [False, True])
def test_who_gives_up_takes_no_place_along(world: World, given: bool) -> None:
    inside = [world.enter() for _ in range(4)]
    task = world.enter()
    if given:  # in the same turn
        permit = inside[0].result()
        assert permit is not None
        world.room.leave(permit, Outcome.IGNORED)
    task.cancel()
    world.loop.advance()
    assert task.cancelled()
    assert len(world.room) == 0
    assert world.limiter.in_flight == (3 if given else 4)


class WaitingRoomMachine(RuleBasedStateMachine):
    """Whatever happens, places are neither lost nor given twice, and nobody waits beside a free one."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(limit=4, most=3)
        self.inside: list[Permit] = []
        self.waiting: list[tuple[asyncio.Task[Permit | None], float]] = []

    def _settle(self) -> None:
        self.world.loop.advance()
        for task, until in tuple(self.waiting):
            if task.done():
                self.waiting.remove((task, until))
                if not task.cancelled() and (permit := task.result()) is not None:
                    self.inside.append(permit)

    @rule(priority=st.sampled_from(Priority), seconds=st.sampled_from([0.0, 0.2, 5.0]))
    def enter(self, priority: Priority, seconds: float) -> None:
        until = self.world.loop.time() + seconds
        self.waiting.append((self.world.enter(priority, seconds), until))
        self._settle()

    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        if self.inside:
            self.world.room.leave(self.inside.pop(which % len(self.inside)), Outcome.ANSWERED)
        self._settle()

    @rule(which=st.integers(0, 99))
    def give_up(self, which: int) -> None:
        if self.waiting:
            self.waiting[which % len(self.waiting)][0].cancel()
        self._settle()

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.world.loop.advance(seconds)
        self._settle()

    @invariant()
    def places_are_counted_right(self) -> None:
        assert self.world.limiter.in_flight == len(self.inside) <= 4
        assert len(self.world.room) == len(self.waiting) <= 3

    @invariant()
    def nobody_waits_beside_a_place_or_beyond_the_time(self) -> None:
        now = self.world.loop.time()
        assert all(until > now for _, until in self.waiting)
        if not self.inside:
            assert not self.waiting

    def teardown(self) -> None:
        self.world.close()


TestWaitingRoomMachine = WaitingRoomMachine.TestCase
TestWaitingRoomMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
