"""Questions that come at the same time share calls, and none waits longer than it said, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from api.errors import EventsUnavailable
from api.events.event import Owner
from api.events.shared_calls import SharedCalls
from tests.unit.api.virtual_time import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()
    asyncio.set_event_loop(None)


class Source:
    """Answers after a while with the owner's name, or fails."""

    def __init__(self, takes_s: float = 0.01) -> None:
        self.takes_s = takes_s
        self.failing = False
        self.asked: list[list[Owner]] = []
        self.under_way = self.most = 0

    async def fetch(self, owners: Sequence[Owner]) -> Sequence[bytes]:
        self.asked.append(list(owners))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.takes_s)
        self.under_way -= 1
        if self.failing:
            raise EventsUnavailable("told to")
        return [str(owner).encode() for owner in owners]


def begin(
    loop: VirtualLoop, calls: SharedCalls[Owner, bytes], owners: Sequence[Owner], until: float
) -> list[asyncio.Future[bytes | None]]:
    async def ask() -> list[asyncio.Future[bytes | None]]:
        return [calls.ask(owner, until) for owner in owners]

    found = loop.run_until_complete(ask())
    loop.advance()
    return found


def test_questions_of_one_moment_share_a_call_and_each_gets_its_own(loop: VirtualLoop) -> None:
    source = Source()
    calls = SharedCalls(source.fetch, name="read", clock=loop.time)
    found = begin(loop, calls, [1, "v", 3], 1.0)
    loop.advance(0.01)
    assert [each.result() for each in found] == [b"1", b"v", b"3"]
    assert source.asked == [[1, "v", 3]]


def test_what_comes_while_calls_are_under_way_waits_for_the_next(loop: VirtualLoop) -> None:
    source = Source()
    calls = SharedCalls(source.fetch, name="read", clock=loop.time)
    found = [begin(loop, calls, [owner], 1.0)[0] for owner in range(1, 9)]
    for _ in range(3):
        loop.advance(0.01)
    assert [each.result() for each in found] == [str(owner).encode() for owner in range(1, 9)]
    assert source.most == 2
    assert sorted(len(call) for call in source.asked) == [1, 1, 6]


def test_nobody_waits_longer_than_they_said(loop: VirtualLoop) -> None:
    source = Source(takes_s=1.0)
    calls = SharedCalls(source.fetch, name="read", clock=loop.time)
    (hurried,) = begin(loop, calls, [1], 0.02)
    (patient,) = begin(loop, calls, [2], 5.0)
    loop.advance(0.019)
    assert not hurried.done()
    loop.advance(0.001)
    assert hurried.result() is None
    loop.advance(1.0)
    assert patient.result() == b"2"


def test_who_has_given_up_isnt_asked_for(loop: VirtualLoop) -> None:
    source = Source(takes_s=1.0)
    calls = SharedCalls(source.fetch, name="read", clock=loop.time)
    begin(loop, calls, [1], 5.0)
    begin(loop, calls, [2], 5.0)
    (late,) = begin(loop, calls, [3], 0.5)
    (last,) = begin(loop, calls, [4], 5.0)
    for _ in range(4):
        loop.advance(0.5)
    assert late.result() is None
    assert last.result() == b"4"
    assert source.asked == [[1], [2], [4]]


def test_a_failed_call_is_no_answer_for_all_of_it_and_the_next_goes_on(loop: VirtualLoop) -> None:
    source = Source()
    source.failing = True
    calls = SharedCalls(source.fetch, name="read", clock=loop.time)
    found = begin(loop, calls, [1, 2], 1.0)
    loop.advance(0.01)
    assert [each.result() for each in found] == [None, None]
    source.failing = False
    found = begin(loop, calls, [1, 2], 1.0)
    loop.advance(0.01)
    assert [each.result() for each in found] == [b"1", b"2"]


def test_closing_ends_the_waiting(loop: VirtualLoop) -> None:
    source = Source(takes_s=100.0)
    calls = SharedCalls(source.fetch, name="read", clock=loop.time)
    found = [begin(loop, calls, [owner], 50.0)[0] for owner in range(1, 5)]
    loop.run_until_complete(calls.close())
    assert [each.result() for each in found] == [None] * 4
