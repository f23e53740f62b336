"""Gathers what is asked at the same time into few calls: what comes while calls are under way shares the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from api.errors import EventsUnavailable

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)

_CALLS: Final = 2
"""Calls under way at a time."""
_MOST: Final = 256
"""Questions in one call."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Question, Answer]):
    question: Question
    answer: asyncio.Future[Answer | None]
    late: asyncio.TimerHandle | None


class SharedCalls(Generic[Question, Answer]):
    """Asks many questions by one call. Lives in one event loop."""

    def __init__(
        self,
        call: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]],
        *,
        name: str,
        clock: Callable[[], float],
    ) -> None:
        """Ask by ``call``.

        Args:
            call: answers questions in their order, or raises ``EventsUnavailable``.
            name: of its tasks, for people.
            clock: seconds; goes with the loop's timers.
        """
        self._call = call
        self._name = name
        self._clock = clock
        self._waiting: list[_Waiting[Question, Answer]] = []
        self._due = False
        self._under_way: set[asyncio.Task[None]] = set()

    def ask(self, question: Question, until: float | None = None) -> asyncio.Future[Answer | None]:
        """The answer; None where it can't be had, or not before ``until``."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer | None] = loop.create_future()
        late = None if until is None else loop.call_later(max(until - self._clock(), 0.0), _give_up, answer)
        self._waiting.append(_Waiting(question, answer, late))
        self._send_soon()
        return answer

    async def close(self) -> None:
        """End the calls under way; who waits gets nothing."""
        waiting, self._waiting = self._waiting, []  # lest the next call begins
        _tell(waiting, None)
        for call in self._under_way:
            call.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _send_soon(self) -> None:
        if not self._due and len(self._under_way) < _CALLS:
            self._due = True
            asyncio.get_running_loop().call_soon(self._send)  # once all that come in this turn of the loop are there

    def _send(self) -> None:
        self._due = False
        waiting = [each for each in self._waiting if not each.answer.done()]
        batch, self._waiting = waiting[:_MOST], waiting[_MOST:]
        if batch:
            call = asyncio.get_running_loop().create_task(self._ask(batch), name=self._name)
            self._under_way.add(call)
            call.add_done_callback(partial(self._ended, batch))

    async def _ask(self, batch: Sequence[_Waiting[Question, Answer]]) -> None:
        with suppress(EventsUnavailable):  # the breaker has counted it, and who waits hears of it
            _tell(batch, await self._call([each.question for each in batch]))

    def _ended(self, batch: Sequence[_Waiting[Question, Answer]], call: asyncio.Task[None]) -> None:
        _tell(batch, None)  # unless they know; a call that was cancelled before it began tells nobody anything itself
        self._under_way.discard(call)
        if not call.cancelled() and (mistake := call.exception()) is not None:
            _log.error("%s: it failed by a mistake of ours", self._name, exc_info=mistake)
        if self._waiting:
            self._send_soon()


def _tell(batch: Sequence[_Waiting[Question, Answer]], answers: Sequence[Answer] | None) -> None:
    for number, each in enumerate(batch):
        if each.late is not None:
            each.late.cancel()
        if not each.answer.done():
            each.answer.set_result(None if answers is None else answers[number])


def _give_up(answer: asyncio.Future[Answer | None]) -> None:
    if not answer.done():
        answer.set_result(None)
