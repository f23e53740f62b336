"""One machine, request by request: processes that each do one thing at a time, on cores that they share evenly.

A discrete-event simulation. A request is the load generator's to send, the adapter's to take up, waits for one of the
two calls that may be under way, goes through tritonserver, the three models beside each other and the ranking and back.
Nothing in it is fitted to rates or latencies: it knows CPU times and the batcher's two rules.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from racksort.dev.capacity.costs import ADAPTER, MODELS, RANKING, TRITON, Costs
from racksort.dev.scaling.service import BATCH, CALLS

_GENERATOR: Final = "generator"
_TAKES_UP: Final = 0.5
"""Share of the adapter's work for a request that comes before the call; the rest is its answer."""
_WARM: Final = 0.2
"""Share of the time that doesn't count."""

Then = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run shows."""

    rate: float
    """Answers/s."""
    mean_ms: float
    p99_ms: float
    rows: float
    """Of a call."""
    waiting: int
    """Requests under way at the end."""


@dataclass(slots=True)
class _Process:
    jobs: deque[tuple[float, Then]] = field(default_factory=deque)
    left: float = 0.0

    def do(self, seconds: float, then: Then) -> None:
        if not self.jobs:
            self.left = seconds
        self.jobs.append((seconds, then))

    def finish(self) -> Then:
        _, then = self.jobs.popleft()
        if self.jobs:
            self.left = self.jobs[0][0]
        return then


class Machine:
    """The processes, and the requests in them."""

    def __init__(self, costs: Costs, cores: float = 2.0) -> None:
        """A machine at rest whose processes cost ``costs``."""
        self._costs, self._cores = costs, cores
        names = (_GENERATOR, ADAPTER, TRITON, *MODELS, RANKING)
        self._processes = {name: _Process() for name in names}
        self._now = 0.0
        self._timers: list[tuple[float, int, Then]] = []
        self._order = itertools.count()
        self._waiting: deque[float] = deque()
        self._calls = 0
        self._sent = 0
        self._done: list[tuple[float, float]] = []
        self._rows: list[tuple[float, int]] = []
        self._again: Then | None = None

    def closed(self, connections: int, seconds: float = 4.0) -> Seen:
        """Each connection sends its next request when the answer is there; the generator is on the same cores."""
        self._again = self._send
        for _ in range(connections):
            self._send()
        self._run(seconds)
        return self._seen(seconds)

    def open(self, rate: float, seconds: float = 4.0, seed: int = 1) -> Seen:
        """Requests at moments of their own (Poisson), from another machine."""
        moments = random.Random(seed)  # noqa: S311 - a load, no secret

        def arrive() -> None:
            self._sent += 1
            self._arrived(self._now)
            self._at(self._now + moments.expovariate(rate), arrive)

        self._at(0.0, arrive)
        self._run(seconds)
        return self._seen(seconds)

    def _send(self) -> None:
        self._sent += 1
        moment = self._now  # an answer that waits for the generator has taken that long as well
        self._processes[_GENERATOR].do(self._costs.generator_s, lambda: self._arrived(moment))

    def _arrived(self, moment: float) -> None:
        work = self._costs.work[ADAPTER]
        self._processes[ADAPTER].do(work.row_s * _TAKES_UP, lambda: self._wait(moment))

    def _wait(self, moment: float) -> None:
        self._waiting.append(moment)
        self._call()

    def _call(self) -> None:
        """Send what waits, if a call may begin: 64 rows at most."""
        if self._calls == CALLS or not self._waiting:
            return
        self._calls += 1
        rows = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._rows.append((self._now, len(rows)))
        self._step(TRITON, rows, lambda: self._models(rows))

    def _models(self, rows: list[float]) -> None:
        missing = list(MODELS)

        def answered() -> None:
            missing.pop()
            if not missing:
                self._step(RANKING, rows, lambda: self._back(rows))

        for name in MODELS:
            self._step(name, rows, answered)

    def _back(self, rows: list[float]) -> None:
        work = self._costs.work[ADAPTER]
        self._processes[ADAPTER].do(work.call_s + work.row_s * (1 - _TAKES_UP) * len(rows), lambda: self._answer(rows))

    def _answer(self, rows: list[float]) -> None:
        self._calls -= 1
        for moment in rows:
            self._done.append((self._now, self._now - moment))
            if self._again is not None:
                self._again()
        self._call()

    def _step(self, name: str, rows: list[float], then: Then) -> None:
        self._processes[name].do(self._costs.work[name].of(len(rows)), then)

    def _at(self, moment: float, then: Then) -> None:
        heapq.heappush(self._timers, (moment, next(self._order), then))

    def _run(self, seconds: float) -> None:
        """From one end of a job, or moment, to the next; each busy process has an even share of the cores."""
        processes = list(self._processes.values())
        while self._now < seconds:
            busy = [process for process in processes if process.jobs]
            speed = min(1.0, self._cores / len(busy)) if busy else 1.0
            work = min((process.left / speed for process in busy), default=seconds)
            timer = self._timers[0][0] - self._now if self._timers else seconds
            step = min(work, timer)
            self._now += step
            for process in busy:
                process.left -= step * speed
            if timer <= work and self._timers:
                heapq.heappop(self._timers)[2]()
            for process in busy:
                if process.left <= 1e-12:
                    process.finish()()

    def _seen(self, seconds: float) -> Seen:
        since = seconds * _WARM
        took = np.array([took for at, took in self._done if at >= since]) * 1e3
        rows = [rows for at, rows in self._rows if at >= since]
        return Seen(
            rate=took.size / (seconds - since),
            mean_ms=float(took.mean()) if took.size else float("nan"),
            p99_ms=float(np.percentile(took, 99)) if took.size else float("nan"),
            rows=float(np.mean(rows)) if rows else float("nan"),
            waiting=self._sent - len(self._done),
        )
