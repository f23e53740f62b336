"""What ``racksort dev capacity`` finds: the simulation beside the measured, and nodes for larger rates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ensemble.errors import RacksortError
from racksort.dev.capacity.costs import Costs, Point, fit, read
from racksort.dev.capacity.machine import Machine, Seen
from racksort.dev.capacity.nodes import NODE_CORES, P99_MS, Assumed, Need, most, need
from racksort.dev.markdown import table
from racksort.progress import Report

POOLS: Final = ("lists", "grids")
CORES: Final = 2
"""Of the machine that was measured."""


@dataclass(frozen=True, slots=True)
class Found:
    """Everything."""

    costs: dict[str, Costs]
    compared: list[tuple[Point, Seen]]
    alone: dict[str, float]
    """Requests/s of the machine at a p99 within 50 ms where the load comes from another, by pools."""
    needs: list[Need]
    assumed: Assumed

    def text(self) -> str:
        """For people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from table(_COMPARED, [_compared(point, seen) for point, seen in self.compared])
        yield ""
        for pools, rate in self.alone.items():
            yield f"{pools}: {rate:,.0f} requests/s on {CORES} cores, load from elsewhere, p99 within {P99_MS:.0f} ms"
        yield ""
        yield f"planned to be {self.assumed.used:.0%} full, {self.assumed.grids:.0%} grids:"
        yield ""
        yield from table(_NEEDED, [_needed(each) for each in self.needs])
        yield ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "compared": [{"measured": asdict(point), "simulated": asdict(seen)} for point, seen in self.compared],
            "alone": self.alone,
            "needs": [asdict(each) for each in self.needs],
            "assumed": asdict(self.assumed),
        }


def fitted(path: Path, points: Sequence[Point]) -> dict[str, Costs]:
    """Costs by pools: of the runs with the fewest and the most connections; the others are there to be compared with.

    Raises:
        RacksortError: runs of lists or grids are missing.
    """
    costs = {}
    for pools in POOLS:
        of = sorted((point for point in points if point.pools == pools), key=lambda point: point.connections)
        if len(of) < 2:
            raise RacksortError(f"{path}: has {len(of)} runs over {pools}: measure two numbers of connections at least")
        costs[pools] = fit([of[0], of[-1]])
    return costs


def run(path: Path, rates: Sequence[float], assumed: Assumed, tell: Report) -> Found:
    """Fit, simulate and reckon.

    Raises:
        RacksortError: the file lacks runs of lists or grids.
    """
    points = read(path)
    costs = fitted(path, points)
    compared = []
    for number, point in enumerate(points, 1):
        compared.append((point, Machine(costs[point.pools], CORES).closed(point.connections)))
        tell("simulating the machine", number / len(points))
    alone = {}
    for number, pools in enumerate(POOLS, 1):
        alone[pools] = most(costs[pools], CORES)
        tell("looking for the most", number / len(POOLS))
    return Found(costs, compared, alone, [need(costs, alone, CORES, rate, assumed) for rate in rates], assumed)


_COMPARED: Final = (
    *("pools", "connections", "measured/s", "simulated/s", "off"),
    *("measured ms", "simulated ms", "measured rows", "simulated rows"),
)
_NEEDED: Final = (
    *("requests/s", "adapters", "Triton, cores", "of these the models", f"nodes of {NODE_CORES}"),
    *("searches/s", "Elasticsearch, cores", "events/s", "a million answers"),
)


def _compared(point: Point, seen: Seen) -> Sequence[str]:
    return (
        *(point.pools, f"{point.connections}", f"{point.rate:,.0f}", f"{seen.rate:,.0f}"),
        f"{seen.rate / point.rate - 1:+.0%}",
        *(f"{point.mean_ms:.1f}", f"{seen.mean_ms:.1f}", f"{point.rows:.0f}", f"{seen.rows:.0f}"),
    )


def _needed(each: Need) -> Sequence[str]:
    return (
        *(f"{each.rate:,.0f}", f"{math.ceil(each.adapter_cores):,}", f"{each.triton_cores:,.1f}"),
        *(f"{each.model_cores:,.1f}", f"{each.nodes:,}", f"{each.searches:,.0f}"),
        *(f"{each.elasticsearch_cores:,.1f}", f"{each.events:,.0f}", f"{each.per_million:.4f}"),
    )
