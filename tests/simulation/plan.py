"""What a seed decides before the first request: settings, faults, versions, traffic."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Self

from api.catalog.elastic.catalog import Options
from api.settings import Settings
from tests.simulation import faults, stock, traffic
from tests.simulation.traffic import Asked, Burst
from tests.simulation.triton import Capacity

TRITON_BACK_S: Final = 2.0
"""After the last fault, until rankings are full again."""
ALL_BACK_S: Final = 5.0
"""The same until nothing is degraded."""
_WATCHED_S: Final = 0.7
"""How long it is looked at then."""
NEVER_S: Final = 86_400.0
_SETTINGS: Final = Settings.load(cursor_keys="the same for every run")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All that the seed decides before the first request."""

    seed: int
    settings: Settings
    options: Options
    capacity: Capacity
    faults: faults.Faults
    switches: list[float]
    bursts: list[Burst]
    asked: list[Asked]
    store: bool
    warmed_for_s: float
    """How long the start waits for pools; where some are missing then, requests meet what never was."""
    ranked_from: float
    """Seconds since the beginning from which the ensemble must rank again."""
    full_from: float

    @classmethod
    def of(cls, seed: int) -> Self:
        """Draw it."""
        draw = random.Random(f"adapter {seed}")
        capacity = Capacity(draw.uniform(0.002, 0.006), draw.uniform(0.0003, 0.0009), draw.uniform(0.02, 0.25))
        first = 0.03 if draw.random() < 0.15 else 0.4
        last = first + draw.uniform(0.8, 3.5)
        bursts = [_burst(draw, capacity, first, last) for _ in range(draw.choice((0, 0, 1, 1, 2)))]
        wrong = faults.drawn(draw, first, last, [burst.start for burst in bursts])
        switches = sorted(draw.uniform(first, last) for _ in range(draw.choice((0, 0, 1, stock.VERSIONS - 1))))
        calm = max(
            wrong.triton.ends_at,
            *(burst.start + burst.seconds for burst in bursts),
            *(at + seconds for at, seconds in wrong.stalls),
            first,
        )
        ranked_from = calm + TRITON_BACK_S
        full_from = max(ranked_from, ALL_BACK_S + max([wrong.elasticsearch.ends_at, *switches, first]))
        until = full_from + _WATCHED_S
        quiet = max(calm, wrong.elasticsearch.ends_at)
        rates = [(0.0, draw.uniform(30.0, 90.0)), (quiet, 25.0), (full_from, 120.0)]
        times = traffic.arrivals(draw, rates, bursts, until)
        return cls(
            seed,
            _settings(draw),
            _options(draw),
            capacity,
            wrong,
            switches,
            bursts,
            traffic.drawn(draw, times, plain=quiet),
            draw.random() < 0.5,
            draw.choice((0.2, 0.2, 0.008)),
            ranked_from,
            full_from,
        )


def _burst(draw: random.Random, capacity: Capacity, first: float, last: float) -> Burst:
    rate = draw.uniform(0.8, 3.0) * capacity.rows_a_second
    most = 800 if draw.random() < 0.05 else 130
    return Burst(draw.uniform(first, last), min(draw.uniform(0.05, 0.3), most / rate), rate)


def _settings(draw: random.Random) -> Settings:
    chosen = {
        "deadline_ms": draw.choice((50, 50, 50, 80)),
        "max_deadline_ms": draw.choice((400, 1_000)),
        "cold_pool_ms": draw.choice((200, 500)),
        "call_timeout_ms": draw.choice((1_000, 2_000)),
        "max_calls_in_flight": draw.choice((1, 2, 2, 2, 3)),
        "max_waiting": draw.choice((64, 1_024)),
        "max_ranking": draw.choice((64, 1_024)),
        "probe_interval_ms": draw.choice((200, 1_000)),
        "shadow_share": draw.choice((0.005, 0.5)),
    }
    return _SETTINGS.model_copy(update=chosen)  # making one anew reads the system's certificates, for 40 ms


def _options(draw: random.Random) -> Options:
    refresh_s = draw.uniform(0.5, 2.0)
    stale_s = refresh_s * draw.uniform(1.5, 3.0)
    return Options(
        timeout_s=draw.choice((0.2, 1.0)),
        refresh_s=refresh_s,
        stale_s=stale_s,
        expire_s=stale_s if draw.random() < 0.25 else NEVER_S,
        max_products=draw.choice((10_000, 10_000, 60)),
        page=draw.choice((1_000, 1_000, 25)),
    )
