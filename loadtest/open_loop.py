"""Open-loop load: requests come when they come, however long the answers take, as customers do.

A closed loop slows down with the server and so never overloads it, and forgets the requests that would have come while
it waited ("coordinated omission"). Here each request has its moment, and its latency counts from then. Bounded all the
same: by the number of connections, by the time that an answer is waited for, and by the length of the run.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import uvloop

_TICK_S: Final = 0.001
_SHOWN: Final = 10
"""Flaws that are kept as text."""
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
FULL: Final = b'"degraded":false'

BROKEN: Final = 0
"""Instead of a status: the connection ended without an answer."""
UNANSWERED: Final = 1
"""Instead of a status: the run was over first."""
WRONG: Final = 2
"""Instead of status 200: the check found something wrong with the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What became of each request, in the order of their moments; all arrays have one entry for each."""

    moment_s: npt.NDArray[np.float64]
    """When it was due, in seconds since the start of the run."""
    latency_ms: npt.NDArray[np.float64]
    """From its moment to the end of its answer; NaN where there was none."""
    status: npt.NDArray[np.int16]
    """HTTP status, ``BROKEN``, ``UNANSWERED`` or ``WRONG``."""
    full: npt.NDArray[np.bool_]
    """Whether it was answered 200 and not degraded."""
    wrong: list[str]
    """What the check of the answers found; the first few."""
    started: float
    """Moment 0 on the monotonic clock."""

    def between(self, begin_s: float, end_s: float) -> Record:
        """Only the requests that were due in [begin, end) seconds."""
        chosen = (self.moment_s >= begin_s) & (self.moment_s < end_s)
        return Record(
            self.moment_s[chosen],
            self.latency_ms[chosen],
            self.status[chosen],
            self.full[chosen],
            self.wrong,
            self.started,
        )

    def count(self, *statuses: int) -> int:
        """Requests with one of ``statuses``."""
        return int(np.isin(self.status, statuses).sum())

    def percentile(self, share: float, *, full: bool = False) -> float:
        """Percentile of the latencies of the answers with status 200, in ms; only of the full ones if ``full``."""
        chosen = self.latency_ms[self.full if full else self.status == 200]
        return float(np.percentile(chosen, share)) if chosen.size else float("nan")

    def goodput(self, within_ms: float) -> float:
        """Full answers in time, per second of the moments' span."""
        span = float(np.ptp(self.moment_s)) or 1.0
        return float((self.full & (self.latency_ms <= within_ms)).sum()) / span


Check = Callable[[int, bytes], str]
"""Takes the number of a path and an answer's body; says what is wrong with it, or nothing."""


def run(
    base_url: str,
    paths: Sequence[str],
    rate: float,
    seconds: float,
    *,
    connections: int = 512,
    patience_s: float = 5.0,
    check: Check | None = None,
    actions: Sequence[tuple[float, Callable[[], object]]] = (),
) -> Record:
    """Send ``rate`` requests a second at even distances for ``seconds``, cycling through ``paths``.

    Args:
        base_url: of a server on loopback.
        paths: what to ask for.
        rate: requests a second.
        seconds: how long requests are due.
        connections: the most at a time; a request that finds none idle waits, and its latency grows.
        patience_s: how long answers are waited for after the last request.
        check: looks at each answer with status 200.
        actions: what else happens, each at its moment in seconds since the start; quick things, such as a signal.
    """
    stream = _Run(base_url, gets(base_url, paths), rate, seconds, connections, check)
    return uvloop.run(stream.record(patience_s, actions))


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind at their own rate."""

    requests: Sequence[bytes]
    """Whole HTTP requests, sent in turn."""
    rate: float
    """Requests a second."""
    connections: int = 512


def run_beside(base_url: str, streams: Sequence[Stream], seconds: float, *, patience_s: float = 5.0) -> list[Record]:
    """Send several streams at the same time, as :func:`run` sends one; a record for each."""

    async def both() -> list[Record]:
        runs = [_Run(base_url, each.requests, each.rate, seconds, each.connections, None) for each in streams]
        return await asyncio.gather(*[each.record(patience_s, ()) for each in runs])

    return uvloop.run(both())


def gets(base_url: str, paths: Sequence[str]) -> list[bytes]:
    """Whole requests for ``paths``."""
    host = urlsplit(base_url).hostname
    return [f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode() for path in paths]


def posts(base_url: str, paths: Sequence[str], bodies: Sequence[str]) -> list[bytes]:
    """Whole requests that post JSON, one of ``bodies`` to each of ``paths``."""
    head = f"HTTP/1.1\r\nhost: {urlsplit(base_url).hostname}\r\ncontent-type: application/json\r\ncontent-length:"
    return [
        f"POST {path} {head} {len(body.encode())}\r\n\r\n{body}".encode()
        for path, body in zip(paths, bodies, strict=True)
    ]


class _Run:
    def __init__(
        self,
        base_url: str,
        requests: Sequence[bytes],
        rate: float,
        seconds: float,
        connections: int,
        check: Check | None,
    ) -> None:
        target = urlsplit(base_url)
        self.host, self.port = target.hostname or "127.0.0.1", target.port or 80
        self.requests = requests
        self.count = int(rate * seconds)
        self.rate = rate
        self.connections = connections
        self.check = check
        self.latency = np.full(self.count, np.nan)
        self.status = np.full(self.count, UNANSWERED, np.int16)
        self.full = np.zeros(self.count, np.bool_)
        self.wrong: list[str] = []
        self.idle: deque[_Connection] = deque()
        self.due: deque[int] = deque()
        self.open: set[_Connection] = set()
        self.ended = 0

    async def record(self, patience_s: float, actions: Sequence[tuple[float, Callable[[], object]]]) -> Record:
        loop = asyncio.get_running_loop()
        self.started = started = time.monotonic() + 0.05
        for moment, action in actions:
            loop.call_later(started + moment - time.monotonic(), action)
        opening = next_one = 0
        tasks: set[asyncio.Task[None]] = set()
        last = started + self.count / self.rate
        while self.ended < self.count and time.monotonic() < last + patience_s:
            await asyncio.sleep(_TICK_S)
            due = min(self.count, math.floor((time.monotonic() - started) * self.rate) + 1)  # none before the start
            if due > next_one:
                self.due.extend(range(next_one, due))
                next_one = due
            while self.due and self.idle:
                self.idle.pop().send(self.due.popleft())
            missing = min(len(self.due), self.connections - len(self.open) - opening, 64)
            for _ in range(missing):
                opening += 1
                task = loop.create_task(self._connect())
                tasks.add(task)

                def opened(done: asyncio.Task[None]) -> None:
                    nonlocal opening
                    opening -= 1
                    tasks.discard(done)

                task.add_done_callback(opened)
        for task in tuple(tasks):
            task.cancel()
        for connection in tuple(self.open):
            connection.transport.abort()
        moments = np.arange(self.count) / self.rate
        return Record(moments, self.latency * 1e3, self.status, self.full, self.wrong, started)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Connection(self), self.host, self.port)
        except OSError:
            if self.due:  # nobody listens: that is one request's answer
                self.done(self.due.popleft(), BROKEN, b"", time.monotonic())

    def done(self, number: int, status: int, body: bytes, at: float) -> None:
        """One request has ended."""
        self.ended += 1
        self.status[number] = status
        if status == BROKEN:
            return
        self.latency[number] = at - self.started - number / self.rate
        if status == 200:
            flaw = self.check(number % len(self.requests), body) if self.check is not None else ""
            if not flaw:
                self.full[number] = FULL in body
                return
            self.status[number] = WRONG
            if len(self.wrong) < _SHOWN:
                self.wrong.append(flaw)


class _Connection(asyncio.Protocol):
    def __init__(self, owner: _Run) -> None:
        self.owner = owner
        self.number = -1
        self.received = b""
        self.length = -1
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class has no common base
        self.owner.open.add(self)
        self._free()

    def send(self, number: int) -> None:
        self.number = number
        self.transport.write(self.owner.requests[number % len(self.owner.requests)])

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.length < 0:
            end = self.received.find(_HEAD_END)
            if end < 0:
                return
            begin = self.received.find(_LENGTH) + len(_LENGTH)
            self.body_at = end + len(_HEAD_END)
            self.length = self.body_at + int(self.received[begin : self.received.find(b"\r", begin)])
        if len(self.received) < self.length:
            return
        status = int(self.received[9:12])
        closing = b"connection: close" in self.received[: self.body_at]
        number, body = self.number, self.received[self.body_at :]
        self.number, self.received, self.length = -1, b"", -1
        self.owner.done(number, status, body, time.monotonic())
        if closing:
            self.transport.close()
        else:
            self._free()

    def connection_lost(self, _: Exception | None) -> None:
        self.owner.open.discard(self)
        if self in self.owner.idle:
            self.owner.idle.remove(self)
        if self.number >= 0:
            self.owner.done(self.number, BROKEN, b"", time.monotonic())

    def _free(self) -> None:
        if self.owner.due:
            self.send(self.owner.due.popleft())
        else:
            self.owner.idle.append(self)
