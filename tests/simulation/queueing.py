"""The adapter and Triton under load in virtual time, the limiters that weren't chosen, and a table that compares all.

``python -m tests.simulation.queueing`` prints the figures of ``docs/limiter.md``.
"""

from __future__ import annotations

import math
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from api.resilience.limiter import Limiter, LimiterPolicy, Outcome, Priority

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


# -- The rivals: their rules after the projects' descriptions, in the same bounds and with the same shares ---------


@dataclass(frozen=True, slots=True)
class Ended:
    """One request that was let in, as the rules see it."""

    latency: float
    since: float
    in_flight: int
    """When it was let in, itself included."""
    dropped: bool


class Fixed:
    """A limit that somebody chose; base of the rivals."""

    def __init__(self, clock: Callable[[], float], limit: float = POLICY.initial_limit) -> None:
        self.clock = clock
        self.estimate = float(limit)
        self.in_flight = 0

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def acquire(self, priority: Priority) -> Place | None:
        share = (POLICY.rerank_share, POLICY.deep_scroll_share, 1.0)[priority]
        if self.in_flight >= max(1, int(self.estimate * share)):
            return None
        self.in_flight += 1
        return _RivalPlace(self, self.clock(), self.in_flight)

    def sample(self, ended: Ended) -> None:
        """Learn from one request."""

    def adopt(self, estimate: float, lowest: float = POLICY.min_limit) -> None:
        self.estimate = min(float(POLICY.max_limit), max(lowest, estimate))


class _RivalPlace:
    __slots__ = ("in_flight", "limiter", "since")

    def __init__(self, limiter: Fixed, since: float, in_flight: int) -> None:
        self.limiter = limiter
        self.since = since
        self.in_flight = in_flight

    def release(self, outcome: Outcome) -> None:
        self.limiter.in_flight -= 1
        latency = self.limiter.clock() - self.since
        self.limiter.sample(Ended(latency, self.since, self.in_flight, outcome is Outcome.DROPPED))


class Aimd(Fixed):
    """Netflix AIMDLimit: one more for each answer in time, a tenth less for each late one."""

    def __init__(self, clock: Callable[[], float], timeout_s: float = POLICY.deadline_s) -> None:
        super().__init__(clock)
        self.timeout_s = timeout_s

    def sample(self, ended: Ended) -> None:
        if ended.dropped or ended.latency > self.timeout_s:
            self.adopt(min(self.limit - 1, int(self.limit * 0.9)))
        elif 2 * ended.in_flight >= self.limit:
            self.adopt(self.limit + 1)


class _Windowed(Fixed):
    """Netflix WindowedLimit: the rule sees each window's mean latency, most in flight, and whether any was dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.end = WINDOW_S
        self.latencies: list[float] = []
        self.peak = 0
        self.dropped = False

    def sample(self, ended: Ended) -> None:
        self.latencies.append(ended.latency)
        self.peak = max(self.peak, ended.in_flight)
        self.dropped = self.dropped or ended.dropped
        if self.clock() >= self.end and len(self.latencies) >= 10:
            self.update(sum(self.latencies) / len(self.latencies))
            self.latencies.clear()
            self.end = self.clock() + WINDOW_S
            self.peak = 0
            self.dropped = False

    def update(self, latency: float) -> None:
        raise NotImplementedError


class WindowedAimd(_Windowed):
    """AIMDLimit inside WindowedLimit: one step a window."""

    def update(self, latency: float) -> None:
        if self.dropped or latency > POLICY.deadline_s:
            self.adopt(min(self.limit - 1, int(self.limit * 0.9)))
        elif 2 * self.peak >= self.limit:
            self.adopt(self.limit + 1)


class Gradient2(_Windowed):
    """Netflix Gradient2Limit with its defaults: against the latency's own long-term mean, plus a queue of 4."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.long = 0.0
        self.seen = 0

    def update(self, latency: float) -> None:
        self.seen += 1
        # A plain mean of the first ten windows, then exponential over 600.
        self.long += (latency - self.long) * (1 / self.seen if self.seen <= 10 else 2 / 601)
        if self.long > 2 * latency:
            self.long *= 0.9
        if 2 * self.peak >= self.estimate:
            gradient = min(1.0, max(0.5, self.long / latency))
            self.adopt(0.8 * self.estimate + 0.2 * (self.estimate * gradient + 4))


class Vegas(_Windowed):
    """Netflix VegasLimit with its defaults: between 3 and 6 times log10 of the limit in the queue."""

    def __init__(self, clock: Callable[[], float], draw: random.Random) -> None:
        super().__init__(clock)
        self.draw = draw
        self.base = _NEVER
        self.windows = 0
        self.probe = draw.uniform(0.5, 1.0)

    def update(self, latency: float) -> None:
        self.windows += 1
        if self.windows >= self.probe * 30 * self.estimate:
            self.probe = self.draw.uniform(0.5, 1.0)
            self.windows = 0
            self.base = latency
            return
        if latency < self.base:
            self.base = latency
            return
        unit = max(1, int(math.log10(self.limit)))
        queue = math.ceil(self.estimate * (1 - self.base / latency))
        if self.dropped:
            self.adopt(self.estimate - unit)
        elif 2 * self.peak < self.estimate:
            return
        elif queue <= unit:
            self.adopt(self.estimate + 6 * unit)
        elif queue < 3 * unit:
            self.adopt(self.estimate + unit)
        elif queue > 6 * unit:
            self.adopt(self.estimate - unit)


class Envoy(Fixed):
    """Envoy's gradient controller with its defaults: 25 % above the median latency measured with 3 in flight."""

    lowest = 3

    def __init__(self, clock: Callable[[], float], draw: random.Random, every_s: float = 60.0) -> None:
        super().__init__(clock)
        self.draw = draw
        self.every_s = every_s
        self.latencies: list[float] = []
        self.least = 0.0
        self.end = WINDOW_S
        self.at_lowest = 0
        self.deferred = self.estimate
        self._measure()

    def _measure(self) -> None:
        self.measuring = True
        self.epoch = self.clock()
        self.deferred = self.estimate
        self.latencies.clear()
        self.adopt(self.lowest, self.lowest)

    def sample(self, ended: Ended) -> None:
        if ended.since < self.epoch:
            return
        self.latencies.append(ended.latency)
        if self.measuring:
            if len(self.latencies) >= 50:
                self.least = self._median()
                self.adopt(self.deferred, self.lowest)
                self.measuring = False
                self.next = self.clock() + self.every_s * self.draw.uniform(1.0, 1.15)
                self.end = self.clock() + WINDOW_S
        elif self.clock() >= self.end:
            gradient = min(2.0, max(0.5, 1.25 * self.least / self._median()))
            before = self.limit
            self.adopt(self.estimate * gradient + math.sqrt(self.estimate * gradient), self.lowest)
            self.at_lowest = self.at_lowest + 1 if before == self.limit == self.lowest else 0
            self.end = self.clock() + WINDOW_S
            if self.clock() >= self.next or self.at_lowest >= 5:
                self.at_lowest = 0
                self._measure()

    def _median(self) -> float:
        median = sorted(self.latencies)[len(self.latencies) // 2]
        self.latencies.clear()
        return median


RIVALS: Final[dict[str, Callable[[Clock, random.Random], Admission]]] = {
    "target latency": lambda clock, _: Limiter(POLICY, clock),
    "AIMD, each request": lambda clock, _: Aimd(clock),
    "AIMD, each window": lambda clock, _: WindowedAimd(clock),
    "gradient2": lambda clock, _: Gradient2(clock),
    "Vegas": Vegas,
    "Envoy": Envoy,
}


# -- The figures ---------------------------------------------------------------------------------------------------


def optimum(server: Server, slowdown: float = 1.0) -> float:
    """Requests in flight by Little's law: at full batches, answered in the target latency on average."""
    return server.capacity / slowdown * POLICY.target_s


def off(limit: float, best: float) -> float:
    """Distance from the optimum as a share of it."""
    return abs(limit - best) / best


def settled(limits: Sequence[int], best: float, hold: int = 5) -> int | None:
    """Windows until the limit is within 20 % of the optimum and stays there for ``hold`` windows; None: never."""
    near = [off(limit, best) <= 0.2 for limit in limits]
    return next((first + 1 for first in range(len(near) - hold + 1) if all(near[first : first + hold])), None)


def halved(limits: Sequence[int], before: int) -> int | None:
    """Windows until the limit is at most half of what it was; None: never."""
    return next((windows for windows, limit in enumerate(limits, start=1) if 2 * limit <= before), None)


def wandering(now: float) -> float:
    """A slowdown between 1 and 2 that takes 5 s there and back."""
    return float(2.0 ** (0.5 - 0.5 * math.cos(2.0 * math.pi * now / 5.0)))


def _middle(values: Sequence[float | None]) -> float:
    """Median, where None is never, thus the largest."""
    return sorted(_NEVER if value is None else value for value in values)[len(values) // 2]


def _shown(value: float, form: str = ".0f") -> str:
    return "never" if value == _NEVER else f"{value:{form}}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ms(value: float) -> str:
    return "late" if value == _NEVER else f"{1e3 * value:.0f} ms"


_COLUMNS: Final = (
    "algorithm",
    "2x load: goodput/s",
    "p99",
    "limit",
    "off",
    "settles",
    "10x slower: halved",
    "then normal: settles",
    "0.5x to 3x, first second: goodput/s",
    "p99",
    "wandering: goodput/s",
    "off",
    "+15 ms on the way: goodput/s",
)


def compare(seeds: Sequence[int] = range(5)) -> str:
    """The table of ``docs/limiter.md``: medians over the seeds."""
    rows = [_COLUMNS, ("---", *["--:"] * (len(_COLUMNS) - 1))]
    rows += [(name, *_figures(limiter, seeds)) for name, limiter in RIVALS.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(limiter: Callable[[Clock, random.Random], Admission], seeds: Sequence[int]) -> list[str]:
    server = Server()
    capacity, best = server.capacity, optimum(server)

    def runs(windows: int, conditions: Conditions) -> list[Trace]:
        return [World(limiter, conditions, server=server, seed=seed).run(windows) for seed in seeds]

    steady = runs(60, Conditions(constantly(2 * capacity)))
    slow = runs(100, Conditions(constantly(2 * capacity), lambda now: 10.0 if 3.0 <= now < 6.0 else 1.0))
    step = runs(40, Conditions(stepping(3.0, 0.5 * capacity, 3 * capacity)))
    drift = runs(130, Conditions(constantly(3 * capacity), wandering))
    far = runs(60, Conditions(constantly(2 * capacity), delay_s=0.015))
    wanted = [optimum(server, wandering(WINDOW_S * window)) for window in range(1, 131)]
    return [
        _shown(_middle([trace.goodput(30) for trace in steady]), ",.0f"),
        _ms(_middle([trace.quantile(0.99, 30) for trace in steady])),
        _shown(_middle([limit for trace in steady for limit in trace.limits[30:]])),
        _percent(_middle([off(limit, best) for trace in steady for limit in trace.limits[30:]])),
        _shown(_middle([settled(trace.limits, best) for trace in steady])),
        _shown(_middle([halved(trace.limits[30:60], trace.limits[29]) for trace in slow])),
        _shown(_middle([settled(trace.limits[60:], best) for trace in slow])),
        _shown(_middle([trace.goodput(30, 40) for trace in step]), ",.0f"),
        _ms(_middle([trace.quantile(0.99, 30, 40) for trace in step])),
        _shown(_middle([trace.goodput(30) for trace in drift]), ",.0f"),
        _percent(
            _middle([off(*pair) for trace in drift for pair in list(zip(trace.limits, wanted, strict=True))[30:]])
        ),
        _shown(_middle([trace.goodput(30) for trace in far]), ",.0f"),
    ]


def _fixed(limit: int) -> Callable[[Clock, random.Random], Admission]:
    return lambda clock, _: Fixed(clock, limit)


def plateau(load: float = 3.0) -> str:
    """What fixed limits do, which shows where any limit should be."""
    server = Server()
    lines = ["| fixed limit | goodput/s | of the capacity | p99 |", "| --: | --: | --: | --: |"]
    for limit in (16, 32, 64, 128, 192, 224, 256, 288, 320, 384, 416, 448, 512):
        conditions = Conditions(constantly(load * server.capacity))
        trace = World(_fixed(limit), conditions, server=server).run(60)
        goodput = trace.goodput(30)
        share = _percent(goodput / server.capacity)
        lines.append(f"| {limit} | {goodput:,.0f} | {share} | {_ms(trace.quantile(0.99, 30))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{plateau()}\n\n{compare()}\n")
