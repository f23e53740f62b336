"""The open loop at one rate after the other, over replayed first pages, each answer checked.

Only first pages: the next ones need the answers' cursors, and would make requests wait for answers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from loadtest import open_loop
from loadtest.checks import Scroll, check
from loadtest.latencies import Latencies
from loadtest.loopback import require_loopback
from loadtest.open_loop import BROKEN, UNANSWERED, WRONG, Record
from loadtest.replay import Replay, visits
from loadtest.results import Phase, Result

_PATHS: Final = 20_000
_NAMES: Final = {BROKEN: "broken connection", UNANSWERED: "no answer before the end"}
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where."""

    url: str
    rates: Sequence[float]
    """Requests a second, one after the other."""
    seconds: float = 20.0
    """Of each rate."""
    warm_up: float = 2.0
    """Seconds at the first rate that don't count."""
    connections: int = 512
    start: int = 0
    """Session of the traffic to begin with."""
    allow_remote: bool = False


def run(plan: Plan, replay: Replay, report: Report) -> Result:
    """Send each rate in turn; a phase for each.

    Raises:
        RacksortError: the server isn't on this machine.
    """
    require_loopback(plan.url, allow_remote=plan.allow_remote)
    asked = list(islice(visits(replay, plan.start), min(_PATHS, replay.customer.size)))
    paths, scrolls = [visit.path for visit in asked], [visit.scroll for visit in asked]
    phases = []
    stages = [(plan.rates[0], plan.warm_up, False)] if plan.warm_up else []
    stages += [(rate, plan.seconds, True) for rate in plan.rates]
    for rate, seconds, counted in stages:
        label = f"open loop: {rate:,.0f}/s" if counted else "open loop: warm-up"
        report(label, 0.0)
        phases.append(_phase(plan, rate, seconds, counted, paths, scrolls))
        report(label, 1.0)
    return Result(generator="open loop", url=plan.url, shape="sweep" if len(plan.rates) > 1 else "hold", phases=phases)


def _phase(
    plan: Plan, rate: float, seconds: float, counted: bool, paths: Sequence[str], scrolls: Sequence[Scroll]
) -> Phase:
    flaws: Counter[str] = Counter()
    degraded = 0

    def look(number: int, body: bytes) -> str:
        nonlocal degraded
        of = scrolls[number]
        flaw, page = check(200, body, Scroll(of.container_id, of.customer_id, of.limit, of.members, of.grid))
        if flaw:
            flaws[flaw] += 1
        elif page is not None:
            degraded += page.degraded
        return flaw

    cpu = time.process_time()
    record = open_loop.run(plan.url, paths, rate, seconds, connections=plan.connections, check=look)
    cpu = time.process_time() - cpu
    for status in sorted({*record.status.tolist()} - {200, WRONG}):
        flaws[_NAMES.get(status, f"status {status}")] = record.count(status)
    latencies = Latencies()
    latencies.record_all(record.latency_ms[record.status == 200])
    first, last = _span(record, rate)
    return Phase(
        name=f"{rate:,.0f}/s" if counted else "warm-up",
        asked=rate,
        counted=counted,
        right=record.count(200),
        degraded=degraded,
        errors=dict(flaws),
        cpu_s=cpu,
        first=first,
        last=last,
        latencies=latencies.encode(),
    )


def _span(record: Record, rate: float) -> tuple[float, float]:
    """Unix times of the first moment and of the last answer, or of the end of the moments where that is later."""
    begun = time.time() - (time.monotonic() - record.started)
    span = record.moment_s.size / rate
    ends = record.moment_s + record.latency_ms / 1e3
    return begun, begun + max(span, float(np.nanmax(ends, initial=0.0)))
