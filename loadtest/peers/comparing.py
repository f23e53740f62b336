"""Measures racksort and its peers in one run: same models, pools, requests and load generator, on the same cores.

A peer is measured only when its answers are racksort's. One that can't be installed, doesn't start or answers otherwise
is told, and the others go on.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ensemble.errors import RacksortError
from loadtest import bench
from loadtest.peers import asking, environments, pools
from loadtest.peers.dialects import ADAPTER, Dialect
from loadtest.peers.known import Peer, Settings
from loadtest.peers.measured import OURS, Comparison, Point, Pools, Tried, best_settings
from loadtest.peers.shop import Ask, parse
from loadtest.peers.starting import started
from loadtest.servers import Server
from loadtest.traffic import product_paths

_ASKS: Final = 20_000
_COMPARED: Final = {"lists": 200, "grids": 50}
_TUNING_CONNECTIONS: Final = (16, 64)
_OPEN_SHARES: Final = (0.5, 0.75, 0.9)
"""Rates of the open loop, as shares of the closed loop's best."""
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    peers: tuple[Peer, ...]
    catalog: Path
    repository: Path
    seconds: int = 10
    list_connections: tuple[int, ...] = (16, 64, 256)
    grid_connections: tuple[int, ...] = (16, 64)
    open_loop: bool = True
    """Whether to measure the open loop over lists as well."""
    tuning_seconds: int = 0
    """Length of the runs that each entry of a peer's grid is tried in; 0 takes the settings that are known as best."""
    cores: int = 2
    folder: Path = environments.FOLDER


@dataclass(frozen=True, slots=True)
class _Traffic:
    asks: dict[Pools, list[Ask]]
    expected: dict[Pools, list[list[int]]]
    """racksort's answers to the first of ``asks``."""

    def compared(self, of: Pools) -> list[Ask]:
        return self.asks[of][: _COMPARED[of]]


def run(plan: Plan, report: Report, tell: Callable[[str], None], keep: Callable[[Comparison], None]) -> Comparison:
    """Measure racksort, then each peer.

    Args:
        plan: of the run.
        report: hears of the progress.
        tell: hears why a peer isn't measured, in a line.
        keep: gets what there is so far after each server, so that a run that is broken off isn't lost.

    Raises:
        RacksortError: racksort doesn't start, or an answer of it is an error.
    """
    came = Comparison(machine=_machine(plan), bounds=[peer.title for peer in plan.peers if peer.bound])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan.cores])  # servers and generators inherit it
    path = plan.folder / "pools.npz"
    pools.write_folder(plan.catalog, path)
    with bench.start_racksort(bench.Plan(plan.catalog, plan.repository)) as server:
        traffic = _traffic(server.url)
        for point in _points(OURS, server, ADAPTER, traffic, plan, report):
            if point.loop == "closed" and point.errors:
                raise RacksortError(f"racksort gave {point.errors:,} errors under load: this run doesn't count")
            came.points.append(point)
    keep(came)
    for peer in plan.peers:
        try:
            if peer.environment:
                environments.make(peer.environment, environments.ROOT / peer.packages, report, plan.folder)
            settings = _tuned(peer, plan, path, traffic, came, report)
            with started(peer, settings, path, plan.repository, plan.folder) as server:
                _check(peer, server.url, traffic)
                came.points.extend(_points(peer.title, server, peer.dialect, traffic, plan, report))
            came.settings[peer.title] = dict(settings)
        except RacksortError as error:
            came.failed[peer.title] = str(error)
            tell(f"{peer.title} isn't measured: {error}")
        keep(came)
    return came


def _traffic(url: str) -> _Traffic:
    lists, grids = bench.container_ids(url)
    asks: dict[Pools, list[Ask]] = {
        "lists": _asks(product_paths(lists, bench.CUSTOMERS, _ASKS)),
        "grids": _asks(product_paths(grids, bench.CUSTOMERS, _ASKS, seed=1)),
    }
    expected = {of: asking.answers(url, ADAPTER, asks[of][: _COMPARED[of]]) for of in asks}
    return _Traffic(asks, expected)


def _asks(paths: Sequence[str]) -> list[Ask]:
    return [parse(*path.split("?")) for path in paths]


def _check(peer: Peer, url: str, traffic: _Traffic) -> None:
    for of, expected in traffic.expected.items():
        asked = traffic.compared(of)
        asking.compare(peer.title, asked, expected, asking.answers(url, peer.dialect, asked))


def _points(
    name: str, server: Server, dialect: Dialect, traffic: _Traffic, plan: Plan, report: Report
) -> Iterator[Point]:
    """Both closed loops, then the open one at shares of the best of them over lists."""
    best = 0.0
    loads: dict[Pools, tuple[int, ...]] = {"lists": plan.list_connections, "grids": plan.grid_connections}
    for of, counts in loads.items():
        for connections in counts:
            label = f"{name}: {of}, {connections} connections"
            report(label, 0.0)
            point = asking.closed(name, of, server, dialect, traffic.asks[of], connections, plan.seconds)
            report(label, 1.0)
            if of == "lists" and point.counts:
                best = max(best, point.rate)
            yield point
    for share in _OPEN_SHARES if best and plan.open_loop else ():
        label = f"{name}: lists, open loop at {share * best:,.0f}/s"
        report(label, 0.0)
        yield asking.open_at(name, "lists", server, dialect, traffic.asks["lists"], share * best, plan.seconds)
        report(label, 1.0)


def _tuned(peer: Peer, plan: Plan, path: Path, traffic: _Traffic, came: Comparison, report: Report) -> Settings:
    """The peer's known settings, or the best of its grid where it is to be tuned."""
    if not plan.tuning_seconds or len(peer.grid) == 1:
        return peer.settings
    tried = came.tried.setdefault(peer.title, [])
    for number, settings in enumerate(peer.grid):
        report(f"{peer.title}: tuning", number / len(peer.grid))
        with started(peer, settings, path, plan.repository, plan.folder) as server:
            points = [
                asking.closed(
                    peer.title, "lists", server, peer.dialect, traffic.asks["lists"], count, plan.tuning_seconds
                )
                for count in _TUNING_CONNECTIONS
            ]
        tried.append(Tried(dict(settings), tuple(points)))
    report(f"{peer.title}: tuning", 1.0)
    return best_settings(tried)


def _machine(plan: Plan) -> dict[str, Any]:
    """What figures depend on."""
    return {
        "cores": min(plan.cores, len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "seconds": plan.seconds,
    }
