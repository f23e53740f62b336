"""The Valkey or Redis server behind the shared store: reads and writes, each with a time limit and a breaker."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import resources
from math import inf
from typing import Final, NamedTuple, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from api.errors import EventsUnavailable
from api.events.event import Owner, key_of
from api.events.timeline import KEPT
from api.resilience.breaker import Breaker, State
from api.resilience.breaker_policy import BreakerPolicy

_log = logging.getLogger(__name__)
T = TypeVar("T")

_PREFIX: Final = "racksort:events:"
_FENCE: Final = f"{_PREFIX}f:"
_FENCE_MS: Final = 3_600_000
"""A server that hangs for so long has lost its connections, and what was on its way to it."""
_CONNECTIONS: Final = 16
_GRACE_S: Final = 0.005
"""A loop that was held up learns of the time limit before it reads the answer that came long ago."""
_OF_KEY: Final = "WRONGTYPE"
"""In an error for which a key is to blame: somebody else has put something there."""
_SCRIPT: Final = resources.files("api.events").joinpath("unite.lua").read_text("utf-8")
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""How the server names a script."""


class Unite(NamedTuple):
    """Lines that go into an owner's timeline, and another owner whose timeline goes into it as well."""

    owner: Owner
    lines: Sequence[bytes]
    drained: Owner | None = None


class United(NamedTuple):
    """What became of a :class:`Unite`."""

    new: int
    """Events that weren't there before."""
    came: int
    """Events in all."""
    refused: bool = False
    """The server won't do this one, and has done others or could; nothing is written."""


_REFUSED: Final = United(0, 0, refused=True)

READS, WRITES = "reads", "writes"
"""What is asked of the server."""
OK, FAILED, NOT_ASKED = "ok", "failed", "not_asked"
"""How a call ends."""
OnCall = Callable[[str, str, float], None]
"""Told of each call: what was asked, how it ended, and how many seconds it took."""


def nobody(_asked: str, _outcome: str, _seconds: float) -> None:
    """Is told of calls where nobody counts them."""


def breaker_policy(timeout_s: float) -> BreakerPolicy:
    """When the server isn't asked, whose calls are given up after ``timeout_s``.

    Two failures in a row are enough, since a page without the latest events is better than a late one, and the first
    good answer closes it, since one trial at a time costs next to nothing. Slowness is the time limit's business.
    """
    return BreakerPolicy(
        bucket_s=1.0,
        buckets=10,
        min_calls=20,
        slow_s=inf,
        consecutive=2,
        open_s=0.1,
        max_open_s=0.5,
        trials=1,
        successes_to_close=1,
        trial_timeout_s=2 * timeout_s,
    )


class ValkeyServer:
    """Asks the server; must be made in the event loop."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        rng: random.Random | None = None,
        on_call: OnCall = nobody,
    ) -> None:
        """Connect with the first call.

        Args:
            url: ``redis://`` or ``rediss://``.
            timeout_s: seconds that one call may take, connecting included.
            clock: seconds, for the breaker.
            rng: for jitter.
            on_call: told of each call.

        Raises:
            ValueError, TypeError, RedisError: ``url`` has options that the client doesn't know or can't use.
        """
        self._timeout_s = timeout_s
        self._clock, self._on_call = clock, on_call
        self._latest = ""
        """The latest failure, for people."""
        self._refusal = ""
        """Why the server refused a single owner's events, as it was logged."""
        policy = breaker_policy(timeout_s)
        # A server that is full or a read-only replica is still good for reading.
        self.reads: Final = Breaker(policy, clock=clock, rng=rng, on_change=partial(self._say, READS))
        self.writes: Final = Breaker(policy, clock=clock, rng=rng, on_change=partial(self._say, WRITES))
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # there is no time to try again; what is held is written later
            client_name="racksort",
        )
        if pool.connection_kwargs.get("decode_responses"):
            raise ValueError("decode_responses makes text of what are bytes")
        # Not opened; but it looks at the options, which the pool doesn't.
        pool.make_connection()  # type: ignore[no-untyped-call]  # redis says nothing of what it gives
        self._client = Redis.from_pool(pool)

    async def timelines(self, owners: Sequence[Owner]) -> list[bytes]:
        """The owners' timelines, in their order.

        Raises:
            EventsUnavailable: the server doesn't answer in time, or with an error.
        """
        keys = [_PREFIX + key_of(owner) for owner in owners]
        found = await self._call(self.reads, lambda: cast("Awaitable[list[bytes | None]]", self._client.mget(keys)))
        return [each or b"" for each in found]

    async def delete(self, owners: Sequence[Owner], sent_ms: int) -> list[bytes]:
        """Delete timelines; returns what was in them. Writes that were sent before do nothing any more.

        Raises:
            EventsUnavailable: the server doesn't answer in time, or with an error.
        """
        pipeline = self._client.pipeline(transaction=False)
        for owner in owners:
            timeline, fence = _keys(owner)
            pipeline.set(fence, f"{sent_ms} - -", px=_FENCE_MS)  # first: nothing late comes between
            pipeline.get(timeline)
            pipeline.delete(timeline)
        answers = await self._call(self.writes, lambda: cast("Awaitable[list[bytes | None]]", pipeline.execute()))
        return [each or b"" for each in answers[1::3]]

    async def unite(self, unions: Sequence[Unite], sent_ms: int, ttl_ms: int) -> list[United]:
        """Put lines into timelines, each owner's at once, without what is older than ``ttl_ms`` at ``sent_ms``.

        Raises:
            EventsUnavailable: the server doesn't answer in time, when some may be done, or refuses all of it.
        """
        arguments = []
        for owner, lines, drained in unions:
            keys = [key for each in (owner, drained) if each is not None for key in _keys(each)]
            arguments.append((len(keys), *keys, sent_ms, ttl_ms, _FENCE_MS, *KEPT.values(), *lines))

        async def send(command: str, script: str, which: Sequence[int]) -> list[list[int] | RedisError]:
            pipeline = self._client.pipeline(transaction=False)
            for number in which:
                pipeline.execute_command(command, script, *arguments[number])
            return cast("list[list[int] | RedisError]", await pipeline.execute(raise_on_error=False))

        async def united() -> list[United]:
            answers = await send("EVALSHA", _SHA, range(len(arguments)))
            unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:  # a server that has just started
                for number, answer in zip(unknown, await send("EVAL", _SCRIPT, unknown), strict=True):
                    answers[number] = answer
            self._look_at_refusals(answers)
            return [_REFUSED if isinstance(answer, RedisError) else United(answer[0], answer[1]) for answer in answers]

        return await self._call(self.writes, united)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose(close_connection_pool=True)

    def _look_at_refusals(self, answers: Sequence[list[int] | RedisError]) -> None:
        """Tell a server that refuses from keys that can't be written.

        Raises:
            RedisError: all is refused, and not because of the keys.
        """
        refusals = [answer for answer in answers if isinstance(answer, RedisError)]
        if not refusals:
            return
        of_server = next((error for error in refusals if _OF_KEY not in str(error)), None)
        if of_server is not None and len(refusals) == len(answers):
            raise of_server
        if (why := str(refusals[0])) != self._refusal:
            self._refusal = why
            _log.warning("the store of events refuses those of %d customers: %s", len(refusals), why)

    async def _call(self, breaker: Breaker, ask: Callable[[], Awaitable[T]]) -> T:
        asked = READS if breaker is self.reads else WRITES
        permit = breaker.allow()
        if permit is None:
            self._on_call(asked, NOT_ASKED, 0.0)
            raise EventsUnavailable(f"not asked: {breaker.why}")
        began = self._clock()
        try:
            answer = await self._in_time(ask())
            permit.succeeded()
            self._on_call(asked, OK, self._clock() - began)
        except (RedisError, OSError, TimeoutError) as error:
            self._on_call(asked, FAILED, self._clock() - began)
            self._latest = str(error)
            permit.failed()
            if not isinstance(error, ResponseError):  # an outage, which the other kind of call meets as well
                _count_failure(self.writes if breaker is self.reads else self.reads)
            raise EventsUnavailable(self._latest) from error
        finally:
            permit.ignored()  # cancelled; where the end is told already it does nothing
        return answer

    async def _in_time(self, asked: Awaitable[T]) -> T:
        """What ``asked`` gives.

        Raises:
            TimeoutError: it takes too long.
        """
        call = asyncio.ensure_future(asked)
        call.add_done_callback(_seen)
        try:
            for patience_s in (self._timeout_s, _GRACE_S):
                await asyncio.wait((call,), timeout=patience_s)
                if call.done():
                    return call.result()
        finally:
            call.cancel()
        raise TimeoutError(f"no answer within {self._timeout_s:g} s")

    def _say(self, which: str, old: State, new: State, _why: str) -> None:
        if new is State.OPEN and old is State.CLOSED:
            _log.warning("the store of events gets no %s for a while: %s", which, self._latest)
        elif new is State.CLOSED:
            _log.warning("the store of events answers %s again", which)


def _keys(owner: Owner) -> tuple[str, str]:
    """Of the owner's timeline and fence."""
    name = key_of(owner)
    return _PREFIX + name, _FENCE + name


def _count_failure(breaker: Breaker) -> None:
    if not breaker.refuses() and (permit := breaker.allow()) is not None:
        permit.failed()


def _seen(call: asyncio.Future[T]) -> None:
    """Look at how a call ended that nobody waits for any more."""
    if not call.cancelled():
        call.exception()
