from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from tests.waiting import until, until_async


def counting() -> Callable[[], int]:
    numbers = count()
    return lambda: next(numbers)


def test_what_is_found_at_last_is_returned() -> None:
    assert until(counting(), every_s=0) == 1
    assert until(counting(), lambda number: number == 3, every_s=0) == 3


def test_a_wait_that_fails_says_for_what_and_how_long_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"^a seven: not within 0 s; last seen: 0: the log$"):
        until(counting(), lambda number: number == 7, what="a seven", within_s=0, explain=lambda: "the log")


def test_errors_that_mean_not_yet_are_waited_out_and_others_end_the_wait() -> None:
    numbers = counting()

    def dividing() -> float:
        return 1 / numbers()

    assert until(dividing, every_s=0, not_yet=ZeroDivisionError) == 1
    numbers = counting()
    with pytest.raises(AssertionError, match="what is waited for: not within 0 s; last seen: ZeroDivisionError"):
        until(dividing, within_s=0, not_yet=(ValueError, ZeroDivisionError))
    numbers = counting()
    with pytest.raises(ZeroDivisionError):
        until(dividing, not_yet=ValueError)


async def test_in_an_event_loop_others_get_their_turn() -> None:
    done = asyncio.get_running_loop().create_task(asyncio.sleep(0, "done"))
    await until_async(done.done, every_s=0)
    assert done.result() == "done"


async def test_in_an_event_loop_a_look_may_wait_and_is_broken_off_in_time() -> None:
    numbers = counting()

    async def number() -> int:
        if (seen := numbers()) == 7:
            await asyncio.Event().wait()
        return seen

    assert await until_async(number, lambda seen: seen == 5, every_s=0) == 5
    with pytest.raises(AssertionError, match=r"^an eight: not within 0.05 s; last seen: 6$"):
        await until_async(number, lambda seen: seen == 8, what="an eight", within_s=0.05, every_s=0)


async def test_a_time_limit_of_what_is_looked_at_isnt_taken_for_the_waits_own() -> None:
    def late() -> bool:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await until_async(late)
