"""The Valkey or Redis server behind the shared store: few kinds of calls, each with a time limit and a breaker."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from math import inf
from typing import Final, NamedTuple, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from api.errors import EventsUnavailable
from api.events.event import Owner, key_of
from api.events.timeline import KEPT
from api.resilience.breaker import Breaker, State
from api.resilience.breaker_policy import BreakerPolicy

_log = logging.getLogger(__name__)
T = TypeVar("T")

_PREFIX: Final = "racksort:events:"
_CONNECTIONS: Final = 16
_GRACE_S: Final = 0.005
"""A loop that was held up learns of the time limit before it reads the answer that came long ago."""
_SCRIPT: Final = resources.files("api.events").joinpath("unite.lua").read_text("utf-8")
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""How the server names a script."""


class Unite(NamedTuple):
    """Lines that go into an owner's timeline, and another owner whose timeline goes into it as well."""

    owner: Owner
    lines: Sequence[bytes]
    drained: Owner | None = None


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
        self, url: str, *, timeout_s: float, clock: Callable[[], float], rng: random.Random | None = None
    ) -> None:
        """Connect with the first call.

        Args:
            url: ``redis://`` or ``rediss://``.
            timeout_s: seconds that one call may take, connecting included.
            clock: seconds, for the breaker.
            rng: for jitter.
        """
        self._timeout_s = timeout_s
        self._latest = ""
        """The latest failure, for people."""
        self.breaker: Final = Breaker(breaker_policy(timeout_s), clock=clock, rng=rng, on_change=self._say)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # there is no time to try again; what is held is written later
            client_name="racksort",
        )
        self._client = Redis.from_pool(pool)

    async def timelines(self, owners: Sequence[Owner]) -> list[bytes]:
        """The owners' timelines, in their order.

        Raises:
            EventsUnavailable: the server doesn't answer in time, or with an error.
        """
        keys = [_PREFIX + key_of(owner) for owner in owners]
        found = await self._call(lambda: cast("Awaitable[list[bytes | None]]", self._client.mget(keys)))
        return [each or b"" for each in found]

    async def unite(self, unions: Sequence[Unite], since_ms: int, ttl_ms: int) -> list[tuple[int, int]]:
        """Put lines into timelines, each owner's at once.

        Returns:
            For each, how many events are new, and how many came.

        Raises:
            EventsUnavailable: the server doesn't answer in time, or with an error; some may be done.
        """
        arguments = []
        for owner, lines, drained in unions:
            keys = [_PREFIX + key_of(each) for each in (owner, drained) if each is not None]
            arguments.append((len(keys), *keys, since_ms, ttl_ms, *KEPT.values(), *lines))

        async def send(command: str, script: str) -> list[list[int]]:
            pipeline = self._client.pipeline(transaction=False)
            for each in arguments:
                pipeline.execute_command(command, script, *each)
            return cast("list[list[int]]", await pipeline.execute())

        async def united() -> list[list[int]]:
            try:
                return await send("EVALSHA", _SHA)
            except NoScriptError:  # a server that has just started; done twice is as good as once
                return await send("EVAL", _SCRIPT)

        return [(new, came) for new, came in await self._call(united)]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose(close_connection_pool=True)

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        permit = self.breaker.allow()
        if permit is None:
            raise EventsUnavailable(f"not asked: {self.breaker.why}")
        try:
            answer = await self._in_time(ask())
            permit.succeeded()
        except (RedisError, OSError, TimeoutError) as error:
            self._latest = str(error)
            permit.failed()
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

    def _say(self, old: State, new: State, _why: str) -> None:
        if new is State.OPEN and old is State.CLOSED:
            _log.warning("the store of events isn't asked for a while: %s", self._latest)
        elif new is State.CLOSED:
            _log.warning("the store of events answers again")


def _seen(call: asyncio.Future[T]) -> None:
    """Look at how a call ended that nobody waits for any more."""
    if not call.cancelled():
        call.exception()
