"""How much hardware so many requests take, from what a request costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from racksort.dev.capacity.costs import ADAPTER, MODELS, Costs
from racksort.dev.capacity.machine import Machine
from racksort.dev.scaling.service import BATCH

P99_MS: Final = 50.0
NODE_CORES: Final = 16
_STEPS: Final = 9
"""Halvings of a rate's interval: to half a percent."""
SEARCH_S: Final = 0.0028
"""CPU of a search in Elasticsearch: 0.2 cores at 71 searches/s (docs/elasticsearch.md)."""
SEARCHES: Final = 350
"""That fetch all 300 pools of the reference catalog once."""


def most(costs: Costs, cores: float, seconds: float = 3.0) -> float:
    """Requests/s that a machine answers at a p99 within 50 ms, where the load comes from another one."""
    low, high = 0.0, cores * 1e6 / sum(costs.request_us(BATCH).values())
    for _ in range(_STEPS):
        rate = (low + high) / 2
        seen = Machine(costs, cores).open(rate, seconds)
        # One that can't keep up has more and more under way, however short the run.
        good = seen.p99_ms <= P99_MS and seen.waiting <= rate * P99_MS / 1e3
        low, high = (rate, high) if good else (low, rate)
    return low


@dataclass(frozen=True, slots=True)
class Assumed:
    """What isn't measured here, or is the user's to say."""

    used: float = 0.6
    """Share of what the hardware can do at a p99 within 50 ms that is planned with: the rest carries peaks and a lost
    node."""
    grids: float = 0.5
    """Share of the requests that are for grids."""
    core_hour: float = 0.05
    """Price of a core for an hour, in any currency."""
    refresh_s: float = 30.0
    """After which adapters fetch a pool again."""
    events: float = 0.25
    """Events for each request."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a rate takes."""

    rate: float
    adapter_cores: float
    triton_cores: float
    model_cores: float
    """Of Triton's, the three models': what a GPU can take over at most."""
    searches: float
    """A second, that reach Elasticsearch."""
    elasticsearch_cores: float
    events: float
    """A second, to be written; each request reads one key."""
    nodes: int
    per_million: float
    """Price of a million answers on CPUs: adapters, Tritons and Elasticsearch."""

    @property
    def cores(self) -> float:
        """Of adapters and Tritons."""
        return self.adapter_cores + self.triton_cores


def need(costs: Mapping[str, Costs], alone: Mapping[str, float], cores: float, rate: float, assumed: Assumed) -> Need:
    """What ``rate`` requests/s take.

    Args:
        costs: of "lists" and "grids".
        alone: the most that a machine of ``cores`` does of either: see ``most``.
        cores: of that machine.
        rate: requests/s.
        assumed: what isn't measured.
    """
    shares = {"lists": 1 - assumed.grids, "grids": assumed.grids}
    taken = dict.fromkeys(costs["lists"].work, 0.0)
    for pools, share in shares.items():
        spent = costs[pools].request_us(BATCH / 2)
        scale = share * rate * cores / (alone[pools] * assumed.used) / sum(spent.values())
        for name, each in spent.items():
            taken[name] += scale * each
    adapter = taken[ADAPTER]
    triton = sum(taken.values()) - adapter
    searches = math.ceil(adapter) * SEARCHES / assumed.refresh_s
    elasticsearch = searches * SEARCH_S / assumed.used
    return Need(
        rate=rate,
        adapter_cores=adapter,
        triton_cores=triton,
        model_cores=sum(taken[name] for name in MODELS),
        searches=searches,
        elasticsearch_cores=elasticsearch,
        events=rate * assumed.events,
        nodes=math.ceil((adapter + triton) / NODE_CORES),
        per_million=(adapter + triton + elasticsearch) * assumed.core_hour / 3_600 / rate * 1e6,
    )
