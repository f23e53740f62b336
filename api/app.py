"""The composition root: which implementation stands behind each protocol, and the app around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from fastapi import FastAPI

from api import lookups, problems
from api.catalog.elastic.catalog import ElasticsearchCatalog, Options
from api.catalog.embedded import EmbeddedCatalog
from api.catalog.protocol import Catalog
from api.console.routes import console_router
from api.edge import ProductsEndpoint, ShortCut
from api.ensemble_client import Ensemble, TritonEnsemble
from api.event_edge import EventsEndpoint
from api.event_routes import router as event_router
from api.events.opening import open_events
from api.fallback.rung import PrecomputedRung
from api.metrics import Metrics
from api.release_routes import router as release_router
from api.releases import store
from api.releases.document import Traffic
from api.releases.server import Followed, Keeper, ReleaseServer, TritonReleases
from api.routes import router
from api.rules.live import Rules
from api.services import running
from api.settings import Settings
from api.telemetry.telemetry import telemetry
from api.tls_follower import TlsFollower

_DESCRIPTION = """
Products of a shop page's containers, sorted for one customer in real time.

A **list** is a carousel of at most 100 products, a **grid** scrolls over all of them. Every answer says which release
made it, and whether and why it was made with less than the full way (`degraded`). Errors are problem documents
(`application/problem+json`).
"""


def create_app(
    settings: Settings | None = None,
    *,
    catalog: Catalog | None = None,
    ensemble: Ensemble | None = None,
    server: ReleaseServer | None = None,
    keeper: Keeper | None = None,
    document: Traffic | None = None,
) -> FastAPI:
    """The adapter as an ASGI app; it opens what it needs when the server starts it.

    Args:
        settings: from the environment where not given.
        catalog: instead of the embedded one of the settings; closed with the app.
        ensemble: instead of Triton's of the settings, for a release that serves alone; closed with the app.
        server: has the releases instead of the settings' Triton; closed with the app.
        keeper: runs the settings' Triton, where that is this process.
        document: the releases to begin with, as whoever started the server has read them; from the settings' file
            where not given. What has changed there since is followed.

    Raises:
        SettingsInvalid: a setting in the environment is wrong. When started: CatalogInvalid, PrecomputedMissing,
            ReleasesInvalid, RulesInvalid, EventsUnusable.
    """
    settings = settings or Settings.load()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics = Metrics()
        # Ends last: events are written before a collector is waited for, and late calls still have spans.
        async with telemetry(settings, metrics) as telling:
            folder = settings.precomputed_dir
            precomputed = None if folder is None else PrecomputedRung.open(folder)
            rules = None if settings.rules_dir is None else Rules.open(settings.rules_dir)
            used_catalog = catalog or await open_catalog(settings, metrics)
            traffic = (
                None if settings.releases is None else _followed(settings, settings.releases, document, server, keeper)
            )
            timeout_s = settings.call_timeout_ms / 1e3
            if traffic is not None:
                used_ensemble = traffic.server.ensemble(traffic.document.live)
            else:
                used_ensemble = ensemble or TritonEnsemble(
                    settings.triton, settings.release, timeout_s=timeout_s, tls=TlsFollower.of(settings.triton_tls)
                )
            events = open_events(settings, metrics)
            async with running(
                settings, used_catalog, used_ensemble, metrics, precomputed, rules, events, traffic=traffic
            ) as services:
                app.state.services = services
                shortcut.telemetry = telling
                shortcut.products = ProductsEndpoint(services.pipeline, services.explained, metrics, telling)
                if events is not None:
                    shortcut.events = EventsEndpoint(events, metrics, services.max_body_bytes, telling)
                yield
                shortcut.products = shortcut.events = shortcut.telemetry = None

    shortcut = ShortCut(title="racksort", description=_DESCRIPTION, version="1", lifespan=lifespan)
    shortcut.include_router(router)
    shortcut.include_router(lookups.router)
    shortcut.include_router(release_router)
    if settings.events != "off":
        shortcut.include_router(event_router)
    if settings.console:
        shortcut.include_router(console_router())
    problems.install(shortcut)
    return shortcut


def _followed(
    settings: Settings, path: Path, document: Traffic | None, server: ReleaseServer | None, keeper: Keeper | None
) -> Followed:
    begun = document or store.read(path, live=settings.release)
    timeout_s = settings.call_timeout_ms / 1e3
    used_server = server or TritonReleases(
        settings.triton, timeout_s=timeout_s, keeper=keeper, tls=TlsFollower.of(settings.triton_tls)
    )
    return Followed(path, begun, used_server)


async def open_catalog(
    settings: Settings, metrics: Metrics, *, for_rules: bool | None = None, warm: bool = True
) -> Catalog:
    """Where the settings say that candidates come from.

    Args:
        settings: all of them.
        metrics: learn of searches and pools.
        for_rules: whether pools carry what only the shop's rules need; where the settings name rules, if not given.
        warm: whether pools are fetched at the start.

    Raises:
        CatalogInvalid: it can't be used.
    """
    if settings.catalog == "embedded":
        return EmbeddedCatalog.open(settings.catalog_dir)
    options = Options(
        timeout_s=settings.elasticsearch_timeout_ms / 1e3,
        refresh_s=settings.pool_refresh_ms / 1e3,
        stale_s=settings.pool_stale_ms / 1e3,
        expire_s=settings.pool_expire_ms / 1e3,
        max_products=settings.pool_products,
        max_bytes=settings.pool_cache_bytes,
        attributes=settings.rules_dir is not None if for_rules is None else for_rules,
    )
    patience = settings.start_timeout_ms / 1e3 or inf
    return await ElasticsearchCatalog.open(settings.connection, options, metrics, patience_s=patience, warm=warm)
