"""One look at all connections every now and then, instead of a timer for each request.

A timer that is set and cancelled with every request costs more than the rest of the protocol's bookkeeping. Here a
request costs two stores: when it begins, the moment from which it is late; when it is complete, "never". The sweep
finds who is late, at a few hundred nanoseconds a connection.

Moments are read from :attr:`Watch.now`, the time of the last sweep. It is behind by a sweep's interval at most, always
to the client's disadvantage, so that ``receive_s`` holds as an upper bound: a twentieth of it passes between sweeps,
a request is refused when three quarters to 85 % of it have passed, and its connection is gone a tenth later.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final, Protocol

from api.transport.counts import Cause, Counts
from api.transport.limits import Limits

_SWEEPS: Final = 20
"""In ``receive_s``."""
_PATIENCE: Final = 0.8
"""Of ``receive_s``, by the watch's clock, until a request is late."""
_LINGER: Final = 0.1
"""Of ``receive_s``, in which a refused client may read the answer."""


class Connection(Protocol):
    """What the watch looks at."""

    transport: asyncio.Transport
    expires: float
    """When the watch shall call :meth:`expire`; never while a request is answered."""
    unread_since: float
    """Since when bytes wait that the client doesn't take."""

    def expire(self) -> None:
        """Its time is over."""
        ...

    def drain(self) -> None:
        """Say with the next answer that it is the last."""
        ...

    def cut(self) -> None:
        """Close at once."""
        ...


class Watch:
    """All connections of a server, and their common clock.

    The clock counts the time in which the loop turned: after a pause of the whole process, bytes that came meanwhile
    are read before anybody is called late.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.counts = Counts()
        self.open: set[Connection] = set()
        """Served connections."""
        self.refused: set[Connection] = set()
        """Connections beyond the limit that may still read why."""
        self.now = 0.0
        self.patience = limits.receive_s * _PATIENCE
        self.linger = limits.receive_s * _LINGER
        self.draining = False
        """While set, every answer is the last of its connection."""
        self._interval = limits.receive_s / _SWEEPS
        self._swept = 0.0
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Sweep from now on; called in the loop."""
        loop = asyncio.get_running_loop()
        self._swept = loop.time()
        self._next = loop.call_later(self._interval, self._sweep, loop)

    def stop(self) -> None:
        """Sweep no more."""
        if self._next is not None:
            self._next.cancel()

    def drain(self) -> None:
        """From now on clients are told to move away."""
        self.draining = True
        for connection in self.open:
            connection.drain()

    def cut(self) -> None:
        """Close all connections at once."""
        for connection in [*self.open, *self.refused]:
            connection.cut()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        time = loop.time()
        self.advance(min(time - self._swept, 2 * self._interval))
        self._swept = time
        self._next = loop.call_later(self._interval, self._sweep, loop)

    def advance(self, seconds: float) -> None:
        """Let time pass, and end what is late."""
        self.now = now = self.now + seconds
        late: list[Connection] = []
        stuck: list[Connection] = []
        # A buffer may have been filled right after the last sweep, and the next one would come too late.
        unread_before = now - self.limits.receive_s + self._interval
        for connections in (self.open, self.refused):
            for connection in connections:
                if connection.expires <= now:
                    late.append(connection)
                elif not connection.transport.get_write_buffer_size():
                    connection.unread_since = inf
                elif connection.unread_since == inf:
                    connection.unread_since = now - seconds
                elif connection.unread_since <= unread_before:
                    stuck.append(connection)
        for connection in late:
            connection.expire()
        for connection in stuck:
            self.counts.closed[Cause.SLOW_READER] += 1
            connection.cut()
