"""What a comparison with peers measured: points of load, each server's best, and how they compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

P99_BOUND_MS: Final = 50.0
OURS: Final = "racksort"
Pools = Literal["lists", "grids"]
POOLS: Final[tuple[Pools, ...]] = ("lists", "grids")


@dataclass(frozen=True, slots=True)
class Point:
    """One server under one load."""

    server: str
    pools: Pools
    loop: Literal["closed", "open"]
    load: float
    """Connections of a closed loop; requests/s asked for by an open one."""
    rate: float
    """Answers with status 2xx a second."""
    mean_ms: float
    p50_ms: float
    p99_ms: float
    errors: int
    """Other answers, broken connections and requests without an answer."""
    cpu_us: float
    """Microseconds of CPU that all of the server's processes took for each request: a measure of what it costs that
    other work on the machine disturbs less than it does rates."""

    @property
    def counts(self) -> bool:
        """Whether it is fast enough and without an error, in the closed loop."""
        return self.loop == "closed" and self.errors == 0 and self.p99_ms < P99_BOUND_MS


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings of a peer that were tried, and what they gave: lists, closed loop."""

    settings: dict[str, Any]
    points: tuple[Point, ...]

    @property
    def worth(self) -> tuple[float, float]:
        """Best rate that counts, then best rate of all: the greater, the better the settings."""
        return max((point.rate for point in self.points if point.counts), default=0.0), max(
            (point.rate for point in self.points), default=0.0
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A whole run."""

    points: list[Point] = field(default_factory=list)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each peer was measured with, by its title."""
    tried: dict[str, list[Tried]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Peers that couldn't be measured, and why."""
    bounds: list[str] = field(default_factory=list)
    """Servers that aren't peers but bounds."""
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def servers(self) -> list[str]:
        """In the order of measuring."""
        return list(dict.fromkeys(point.server for point in self.points))

    def best(self, server: str, pools: Pools) -> float:
        """Highest rate of a closed loop with p99 under ``P99_BOUND_MS`` and no error; NaN where there is none."""
        rates = [p.rate for p in self.points if p.server == server and p.pools == pools and p.counts]
        return max(rates, default=math.nan)

    def ratio(self, server: str, pools: Pools) -> float:
        """Racksort's best over the server's; NaN where one has none."""
        return self.best(OURS, pools) / self.best(server, pools)

    def best_peer(self, pools: Pools) -> str | None:
        """The peer with the highest best rate, bounds left out; None where none has one."""
        peers = [name for name in self.servers if name != OURS and name not in self.bounds]
        having = [name for name in peers if not math.isnan(self.best(name, pools))]
        return max(having, key=lambda name: self.best(name, pools), default=None)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON; NaN becomes None."""
        best = [
            {
                "server": server,
                "pools": pools,
                "requests_per_s": _number(self.best(server, pools)),
                "racksort_over_it": _number(self.ratio(server, pools)),
            }
            for pools in POOLS
            for server in self.servers
        ]
        shown = {name: value for name, value in asdict(self).items() if name != "points"}
        points = [{name: _number(value) for name, value in asdict(point).items()} for point in self.points]
        return {**shown, "p99_bound_ms": P99_BOUND_MS, "best": best, "points": points}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def best_settings(tried: Sequence[Tried]) -> dict[str, Any]:
    """Those with the highest rate that counts, else with the highest rate."""
    return max(tried, key=lambda each: each.worth).settings
