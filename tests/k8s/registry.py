"""The adapter's whole registry: a running app, and what only other installations have beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from api.catalog.fetching import Counts as FetchCounts
from api.errors import EnsembleUnavailable
from api.events.metrics import counted_calls
from api.fallback.shadow import Outcome
from api.releases.comparison import Comparison
from api.releases.figures import ReleasesFigures
from api.releases.follow import Releases
from api.releases.guard import Guard
from api.releases.guard_figures import ComparisonFigures, GuardFigures
from api.releases.guards import Guards
from api.releases.shadow import ShadowRankings
from api.releases.states import State
from api.settings import Settings
from api.telemetry.choice import Decisions
from api.telemetry.export import Exporter
from api.telemetry.figures import LogFigures, TraceFigures
from api.telemetry.log_queue import Lines
from api.transport.counts import Counts
from tests.unit.api.conftest import UNHURRIED, running_adapter

Series = Mapping[str, Mapping[str, set[str]]]
"""Names of samples, with their labels and the labels' values."""


@dataclass
class _Shadow:
    outcomes: Mapping[Any, int]
    dropped: int = 0
    readiness: float = 1.0


@asynccontextmanager
async def whole_registry(folder: Path) -> AsyncIterator[CollectorRegistry]:
    """With rules, events, lists, a catalog in Elasticsearch, and an embedded Triton's supervision."""
    settings = Settings(**UNHURRIED.model_dump(exclude_unset=True), rules_dir=folder)
    async with running_adapter(settings) as adapter:
        for path in ("/v1/containers/deals/products?customer_id=1", "/v1/containers/nowhere/products"):
            await adapter.client.get(path)
        adapter.ensemble.failure = EnsembleUnavailable("no server")
        await adapter.client.get("/v1/containers/deals/products?customer_id=2")
        metrics = adapter.services.metrics
        counted_calls(metrics.registry)
        metrics.follow_catalog(_Pools(), lambda: 0, lambda: True)
        metrics.follow_precomputed(lambda: 0.0, lambda: 0.0, lambda: 0.0)
        metrics.follow_shadow(cast("Any", _Shadow(dict.fromkeys(Outcome, 0))))
        status = SimpleNamespace(healthy=True, failed_canaries=0, troubles=0, reloads=0, restarts=0)
        metrics.follow_supervision(lambda: status)
        known = {1: SimpleNamespace(state=State.SERVING)}
        document = SimpleNamespace(traffic=SimpleNamespace(version=1), broken="", states=known)
        metrics.registry.register(ReleasesFigures(cast("Releases", document)))
        guards = SimpleNamespace(broken=dict.fromkeys(Guard, 0), unwritten="", verdicts=[])
        metrics.registry.register(GuardFigures(cast("Guards", guards)))
        lane = cast("Any", SimpleNamespace(release="personalize_v2"))
        shadow = SimpleNamespace(comparison=lambda _role: Comparison(lane, lane), dropped={})
        metrics.registry.register(ComparisonFigures(cast("ShadowRankings", shadow)))
        Counts().expose(metrics.registry, lambda: 0)
        spans = SimpleNamespace(exported=0, failed=0, dropped=0, waiting=0)
        metrics.registry.register(TraceFigures(Decisions(), cast("Exporter", spans)))
        metrics.registry.register(LogFigures(cast("Lines", SimpleNamespace(written=0, dropped=0))))
        yield metrics.registry


class _Pools:
    """An empty pool cache."""

    nbytes = 0

    def __init__(self) -> None:
        self.counts = FetchCounts()

    def __len__(self) -> int:
        return 0

    def oldest_s(self) -> float:
        return 0.0


def series_of(registry: CollectorRegistry) -> Series:
    found: dict[str, dict[str, set[str]]] = {}
    for family in registry.collect():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found
