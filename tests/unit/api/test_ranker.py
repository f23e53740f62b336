"""How the way of a row to the ensemble ends, as far as the limit is concerned."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.batcher import Answer
from api.errors import EnsembleHangs, EnsembleTimeout, QueueFull, Unavailable
from api.ranker import Ranker
from api.releases.lane import Lane
from api.resilience.budget import Budget
from api.resilience.limiter import Limiter, LimiterPolicy, Outcome, Priority
from api.resilience.waiting_room import WaitingRoom
from api.types import Query
from tests.unit.api.shelf import make_pool
from tests.unit.api.virtual_time import VirtualLoop

Submit = Callable[..., asyncio.Future[Answer]]
TOTAL_S = 0.05


def ended(submit: Submit, total_s: float = TOTAL_S) -> Outcome:
    """What the limiter hears of one request whose batcher does as a test wants."""
    loop = VirtualLoop()
    limiter = Limiter(LimiterPolicy(deadline_s=TOTAL_S), loop.time)
    lane = SimpleNamespace(breaker=SimpleNamespace(refuses=lambda: False), batcher=SimpleNamespace(submit=submit))

    async def asked() -> None:
        room = WaitingRoom(limiter, most=10, clock=loop.time)
        ranker = Ranker(limiter, room, busy=lambda: False, today=lambda: 1.0, clock=loop.time)
        now = loop.time()
        budget = Budget(now, now + total_s, now + 0.02, now + 0.04, now + 0.03)
        await ranker.rank(cast("Lane", lane), Query("shelf", 7), make_pool(3), Priority.FIRST_PAGE, budget, None)

    with contextlib.closing(loop):
        task = loop.create_task(asked())
        while not task.done():
            loop.advance(0.001)
    assert isinstance(task.exception(), Unavailable)
    assert limiter.in_flight == 0
    (outcome,) = [each for each in Outcome if limiter.counts.ended[Priority.FIRST_PAGE, each]]
    return outcome


def refusing(error: Exception) -> Submit:
    def submit(*_: Any, **__: Any) -> asyncio.Future[Answer]:
        raise error

    return submit


def late(*_: Any, **__: Any) -> asyncio.Future[Answer]:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.04, future.set_exception, EnsembleTimeout("no answer in time"))
    return future


def test_who_is_not_sent_because_every_call_hangs_says_nothing_more_of_the_load() -> None:
    assert ended(refusing(EnsembleHangs("every call hangs"))) is Outcome.IGNORED


@pytest.mark.parametrize("error", [EnsembleTimeout("too late to send"), QueueFull("too many wait")])
def test_who_comes_too_late_or_finds_too_many_waiting_counts_as_late(error: Exception) -> None:
    assert ended(refusing(error)) is Outcome.DROPPED


def test_who_waited_in_vain_counts_as_late() -> None:
    assert ended(late) is Outcome.DROPPED


def test_who_waited_in_vain_for_want_of_patience_does_not() -> None:
    assert ended(late, TOTAL_S / 2) is Outcome.IGNORED
