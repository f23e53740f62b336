from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.resilience.loop_lag import TICK_S, LoopLag
from tests.unit.api.virtual_time import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


async def _made(heard: list[float], loop: VirtualLoop) -> LoopLag:
    return LoopLag(heard=heard.append, clock=loop.time)


def test_a_tick_tells_how_late_it_is(loop: VirtualLoop) -> None:
    heard: list[float] = []
    lag = loop.run_until_complete(_made(heard, loop))
    with lag.watching():
        loop.advance(TICK_S)
        loop.advance(TICK_S)
        assert heard == pytest.approx([0.0, 0.0], abs=1e-9)
        loop.advance(TICK_S + 0.07)  # something held the loop
        assert heard[-1] == pytest.approx(0.07)
        assert lag.seconds() == pytest.approx(0.25 * 0.07)
        told = [lag.seconds()]
        for _ in range(20):
            loop.advance(TICK_S)
            told.append(lag.seconds())
        assert told == sorted(told, reverse=True)
        assert told[-1] < 0.001


def test_a_tick_that_is_overdue_counts_before_it_comes(loop: VirtualLoop) -> None:
    lag = loop.run_until_complete(_made([], loop))
    with lag.watching():
        loop._now += TICK_S + 0.2  # the loop hasn't turned yet
        assert lag.seconds() == pytest.approx(0.25 * 0.2)


def test_time_in_which_the_loop_stood_still_is_not_awake(loop: VirtualLoop) -> None:
    lag = loop.run_until_complete(_made([], loop))
    with lag.watching():
        told = [lag.awake()]
        for wait in (TICK_S, TICK_S / 2, TICK_S / 2, 3.0, TICK_S, 0.5, TICK_S, TICK_S):
            loop._now += wait
            told.append(lag.awake())  # before the tick comes
            loop.advance()
            told.append(lag.awake())
        assert told == sorted(told)
        assert told[-1] - told[0] == pytest.approx(8 * TICK_S, abs=2 * TICK_S)


def test_nothing_ticks_once_it_is_left(loop: VirtualLoop) -> None:
    heard: list[float] = []
    lag = loop.run_until_complete(_made(heard, loop))
    with lag.watching():
        loop.advance(TICK_S)
    loop.advance(10.0)
    assert len(heard) == 1
    assert lag.seconds() == 0.0
