"""Pods as queues: what a second of load does to adapters and Tritons, by the capacity that was measured.

A queue of requests that have 50 ms settles within 50 ms, and the load moves over minutes, so each moment is a settled
one. Tritons are closed queues: each adapter has two calls under way at most, and what doesn't fit waits in the adapter
and makes the next call fuller. (Denning and Buzen, The operational analysis of queueing network models, 1978: Little's
law and the asymptotic bounds of a closed queue.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

BATCH: Final = 64
CALLS: Final = 2
DEADLINE_S: Final = 0.05
TARGET_S: Final = 0.65 * DEADLINE_S
"""What the limiter lets requests take (docs/limiter.md)."""
USED: Final = 0.75
"""Share of a Triton's cores that does work. By the CPU time alone two cores rank 3,689 grids/s. In docs/capacity.json
adapter, Triton and load generator used 74 % of two cores with 64 connections over lists and 81 % over grids, up to 92 %
with more. A Triton with cores of its own wasn't measured, so three quarters are counted on: 2,767."""
_CROWD: Final = 1.1
"""The limiter's own, for requests that come in after a call has ended."""
_FULL_LOOP: Final = 0.95
"""Share of its core that an adapter can work: beyond, its loop lags and it refuses."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds, for an even mix of lists and grids, from docs/capacity.json: a test holds them to its fit.

    The means of both. A call of lists costs Triton's five processes 2.3 ms and 63 us a row, one of grids 2.1 ms and
    509 us a row; a request of lists the adapter 105 us in calls that are half full, one of grids 228.
    """

    adapter_s: float = 166e-6
    """A request, in the adapter, which is one process."""
    call_s: float = 2.2e-3
    row_s: float = 286e-6
    cores: float = 2.0
    """That a Triton's pod asks for."""
    used: float = USED
    """Share of the cores' time that is spent on calls when there are more than enough of them."""
    hop_s: float = 1.5e-3
    """A call's way to Triton and back, without its work: a row alone takes 2 ms."""

    def call(self, rows: float) -> float:
        """Seconds of a call that has the pod's cores to itself."""
        return (self.call_s + self.row_s * rows) / self.at_work

    @property
    def at_work(self) -> float:
        """Cores that work on calls."""
        return self.cores * self.used

    @property
    def capacity(self) -> float:
        """Requests/s of a Triton, in full calls."""
        return BATCH / self.call(BATCH)

    def beside(self, lists: float) -> Costs:
        """What is left where ``lists`` rows/s are ranked besides, in calls that are full."""
        return replace(self, cores=max(0.1, self.cores - lists * LISTED_S / self.used))


LISTED_S: Final = 98.5e-6
"""CPU of a row of lists in calls of 64: the precompute job's."""
GRIDS: Final = Costs(adapter_s=228e-6, call_s=2.12e-3, row_s=509e-6)
"""Where all requests are for grids."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A Triton and its share of the adapters, settled."""

    served: float
    """Requests/s that get a full answer."""
    latency_s: float
    """Mean, from the request's arrival in the adapter's batcher."""
    queue_s: float
    """Mean that a call waits in Triton."""
    pending: float
    """Calls that wait there."""
    rows: float
    """Requests of a call."""


def settle(costs: Costs, load: float, sources: float) -> Settled:
    """A Triton that gets ``load`` requests/s by ``sources`` calls at the same time at most.

    What counts as served is what is in time by the limiter's target: it refuses the rest.
    """
    filled = _fill(costs, load, sources)
    rows = min(filled, _in_time(costs, sources))
    service = costs.call(rows)
    busy = min(1 / service, sources / (service + costs.hop_s))
    saturated = (rows >= BATCH or rows < filled) and rows * busy < load
    served = rows * busy if saturated else load
    if rows <= 1:  # hardly ever two at a time
        utilisation = load * service
        queue = min(service * utilisation / 2, max(0.0, sources - 1) * service)
        return Settled(served, service + queue + costs.hop_s, queue, load * queue, rows)
    queue = max(0.0, sources / busy - costs.hop_s - service)
    # A row waits half the time between two calls of its adapter, which takes turns with its two.
    latency = sources / busy / CALLS / 2 + queue + service + costs.hop_s
    if saturated:
        latency = max(latency, TARGET_S)  # the limiter lets the queue grow to what is still in time
    return Settled(served, latency, queue, busy * queue, rows)


def _fill(costs: Costs, load: float, sources: float) -> float:
    """Rows of a call: as many as come while one is under way, in [1, 64].

    Solves rows / service(rows) = load, or where the calls under way are too few, sources * rows / (service(rows) + hop)
    = load; the larger one holds.
    """
    fixed, row = costs.call(0), costs.row_s / costs.at_work
    rows = 1.0
    for free, start in ((1 - load * row, fixed), (sources - load * row, fixed + costs.hop_s)):
        rows = max(rows, load * start / free if free > 0 else BATCH)
    return min(rows, float(BATCH))


def _in_time(costs: Costs, sources: float) -> float:
    """Rows of a call from which on requests take longer than the limiter's target, in [1, 64].

    Where calls are always under way, a request takes the time between two calls of the same place, and as much again
    by 2 ``CALLS`` until its own begins: see ``settle``.
    """
    between = TARGET_S / (1 + 1 / (2 * CALLS))
    service = min(between / sources, between - costs.hop_s)
    return min(max((service * costs.at_work - costs.call_s) / costs.row_s, 1.0), float(BATCH))


def loop_delay(costs: Costs, load: float) -> float:
    """Seconds that a request waits for an adapter's event loop: M/D/1, in portions of a quarter of a call's rows."""
    utilisation = min(costs.adapter_s * load, _FULL_LOOP)
    return BATCH / 4 * costs.adapter_s * utilisation / (2 * (1 - utilisation))


def admitted(costs: Costs, load: float) -> float:
    """Requests/s of ``load`` that an adapter has the CPU for."""
    return min(load, _FULL_LOOP / costs.adapter_s)


def next_limit(limit: float, in_flight: float, latency_s: float) -> float:
    """The limiter's step where it settles (docs/limiter.md): by Little's law, from half of the limit on."""
    if in_flight < limit / 2:
        return limit
    return min(max(in_flight * _CROWD * TARGET_S / latency_s, 16.0), 1_024.0)
