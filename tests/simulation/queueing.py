"""The adapter and Triton under load in virtual time, as far as a limiter is concerned."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from api.resilience.limiter import LimiterPolicy, Outcome, Priority

POLICY: Final = LimiterPolicy()
WINDOW_S: Final = POLICY.window_s
_NEVER: Final = math.inf
_RERANK, _DEEP_SCROLL, _FIRST_PAGE = Priority  # members are slow to look up in Python 3.11


class Place(Protocol):
    """What a limiter gives a request that it lets in."""

    def release(self, outcome: Outcome) -> None: ...


class Admission(Protocol):
    """What all limiters have in common."""

    @property
    def limit(self) -> int: ...

    def acquire(self, priority: Priority) -> Place | None: ...


class Clock:
    """Virtual seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Server:
    """Triton behind the batcher: calls share the cores, so that two at a time take twice as long each."""

    fixed_s: float = 0.0025
    row_s: float = 0.00006
    overhead: float = 1.1
    """Factor on both for what the adapter itself takes of the cores."""
    jitter: float = 0.1
    """Standard deviation of the logarithm of a call's time."""
    calls: int = 2
    batch: int = 64

    def work(self, rows: int) -> float:
        """Mean seconds of a call that has the cores to itself."""
        return self.overhead * (self.fixed_s + self.row_s * rows)

    @property
    def capacity(self) -> float:
        """Requests/s with full batches."""
        return self.batch / self.work(self.batch)


def constantly(value: float) -> Callable[[float], float]:
    return lambda _: value


NORMAL: Final = constantly(1.0)


def stepping(at: float, before: float, after: float) -> Callable[[float], float]:
    return lambda now: before if now < at else after


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to the server, as functions of the time in seconds."""

    load: Callable[[float], float]
    """Requests/s that arrive, as a Poisson process."""
    slowdown: Callable[[float], float] = NORMAL
    """Factor on the time of the calls that start."""
    delay_s: float = 0.0
    """Seconds that every answer is on its way without taking any of the server's time."""
    weights: tuple[float, float, float] = (0.2, 0.2, 0.6)
    """Shares of the priorities in the arrivals, the lowest first."""


@dataclass(slots=True)
class Trace:
    """What a run shows from outside, by windows of ``WINDOW_S``."""

    limits: list[int] = field(default_factory=list)
    """At each window's end."""
    latencies: list[list[float]] = field(default_factory=list)
    """Of the requests answered in time, seconds."""
    late: list[int] = field(default_factory=list)
    refused: list[dict[Priority, int]] = field(default_factory=list)
    arrived: list[dict[Priority, int]] = field(default_factory=list)

    def goodput(self, first: int = 0, last: int | None = None) -> float:
        """Requests/s answered in time in some of the windows."""
        windows = self.latencies[first:last]
        return sum(map(len, windows)) / (len(windows) * WINDOW_S)

    def quantile(self, share: float, first: int = 0, last: int | None = None) -> float:
        """Latency of the accepted in seconds, where the late count as infinite."""
        found = sorted(latency for window in self.latencies[first:last] for latency in window)
        rank = math.ceil(share * (len(found) + sum(self.late[first:last]))) - 1
        return found[rank] if 0 <= rank < len(found) else _NEVER


@dataclass(slots=True)
class _Request:
    place: Place
    since: float
    done: bool = False


@dataclass(slots=True)
class _Call:
    remaining: float
    rows: list[_Request]


class World:
    """Arrivals, limiter, batcher and server; the same seed gives the same trace."""

    def __init__(
        self,
        limiter: Callable[[Clock, random.Random], Admission],
        conditions: Conditions,
        *,
        server: Server | None = None,
        seed: int = 0,
    ) -> None:
        self.clock = Clock()
        self.limiter = limiter(self.clock, random.Random(seed ^ 0x5EED))
        self._random = random.Random(seed)
        self._conditions = conditions
        self._server = server or Server()
        self._queue: deque[_Request] = deque()
        self._calls: list[_Call] = []
        self._due: deque[_Request] = deque()
        """Everything let in, the earliest deadline first."""
        self._returning: deque[tuple[float, _Request]] = deque()
        self._worked = 0.0
        """When the calls' remaining work was last brought up to date."""
        self._lowest = conditions.weights[0]
        self._lower = self._lowest + conditions.weights[1]
        self._trace = Trace()

    def run(self, windows: int) -> Trace:
        """Let ``windows`` times ``WINDOW_S`` pass."""
        clock, trace = self.clock, self._trace
        arrival = self._next_arrival()
        for window in range(1, windows + 1):
            self._open_window()
            end = window * WINDOW_S
            while True:
                call_end = self._worked + self._soonest() if self._calls else _NEVER
                while self._due and self._due[0].done:
                    self._due.popleft()
                deadline = self._due[0].since + POLICY.deadline_s if self._due else _NEVER
                back = self._returning[0][0] if self._returning else _NEVER
                upcoming = min(call_end, deadline, back, end)
                running, waited = len(self._calls), bool(self._due)
                # Arrivals that start no call and set no earlier deadline leave the next event as it is.
                while arrival < upcoming and len(self._calls) == running and bool(self._due) == waited:
                    clock.now = arrival
                    self._arrive()
                    arrival = self._next_arrival()
                if len(self._calls) != running or bool(self._due) != waited:
                    continue
                clock.now = upcoming
                if upcoming == end:
                    break
                if upcoming == call_end:
                    self._finish_call()
                elif upcoming == deadline:
                    self._give_up(self._due.popleft())
                else:
                    self._answer(self._returning.popleft()[1])
            trace.limits.append(self.limiter.limit)
        return trace

    def _open_window(self) -> None:
        self._trace.latencies.append([])
        self._trace.late.append(0)
        self._trace.refused.append(dict.fromkeys(Priority, 0))
        self._trace.arrived.append(dict.fromkeys(Priority, 0))

    def _next_arrival(self) -> float:
        now = self.clock.now
        return now - math.log(1.0 - self._random.random()) / self._conditions.load(now)

    def _arrive(self) -> None:
        drawn = self._random.random()
        priority = _RERANK if drawn < self._lowest else _DEEP_SCROLL if drawn < self._lower else _FIRST_PAGE
        self._trace.arrived[-1][priority] += 1
        place = self.limiter.acquire(priority)
        if place is None:
            self._trace.refused[-1][priority] += 1
            return
        request = _Request(place, self.clock.now)
        self._due.append(request)
        self._queue.append(request)
        self._fill_slots()

    def _fill_slots(self) -> None:
        while self._queue and len(self._calls) < self._server.calls:
            rows: list[_Request] = []
            while self._queue and len(rows) < self._server.batch:
                request = self._queue.popleft()
                if not request.done:
                    rows.append(request)
            if rows:
                # The mean of exp(N(-s²/2, s)) is 1.
                noise = math.exp(self._random.gauss(-(self._server.jitter**2) / 2, self._server.jitter))
                work = self._server.work(len(rows)) * self._conditions.slowdown(self.clock.now) * noise
                self._work()
                self._calls.append(_Call(work, rows))

    def _soonest(self) -> float:
        return min([call.remaining for call in self._calls]) * len(self._calls)

    def _work(self) -> None:
        """Share the cores' time since the last look among the calls."""
        for call in self._calls:
            call.remaining -= (self.clock.now - self._worked) / len(self._calls)
        self._worked = self.clock.now

    def _finish_call(self) -> None:
        self._work()
        call = min(self._calls, key=lambda call: call.remaining)
        self._calls.remove(call)
        for request in call.rows:
            if self._conditions.delay_s:
                self._returning.append((self.clock.now + self._conditions.delay_s, request))
            else:
                self._answer(request)
        self._fill_slots()

    def _answer(self, request: _Request) -> None:
        if not request.done:
            request.done = True
            self._trace.latencies[-1].append(self.clock.now - request.since)
            request.place.release(Outcome.ANSWERED)

    def _give_up(self, request: _Request) -> None:
        request.done = True
        self._trace.late[-1] += 1
        request.place.release(Outcome.DROPPED)
