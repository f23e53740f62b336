from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.services import Services
from api.settings import Settings
from tests import pace
from tests.fakes.catalog import FakeCatalog
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import make_shelf

UNHURRIED = Settings.model_validate({name.lower(): value for name, value in pace.UNHURRIED.items()})
"""For tests of what is answered, not when: a machine that is busy with something else changes nothing."""


@dataclass
class Adapter:
    """A running app on fakes, and a client that speaks to it."""

    app: FastAPI
    client: httpx.AsyncClient
    shelf: FakeCatalog
    ensemble: FakeEnsemble

    @property
    def services(self) -> Services:
        services = self.app.state.services
        assert isinstance(services, Services)
        return services

    def metric(self, name: str, **labels: str) -> float | None:
        return self.services.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
async def adapter() -> AsyncIterator[Adapter]:
    async with running_adapter(UNHURRIED) as adapter:
        yield adapter


@pytest.fixture
async def patient_adapter() -> AsyncIterator[Adapter]:
    """One for tests that hold requests for as long as they like: nothing ends by itself."""
    never = 60_000
    settings = Settings(
        deadline_ms=never,
        max_deadline_ms=never,
        call_timeout_ms=never,
        slow_call_ms=never,
        probe_interval_ms=never,
    )
    async with running_adapter(settings) as adapter:
        yield adapter


@asynccontextmanager
async def running_adapter(settings: Settings) -> AsyncIterator[Adapter]:
    shelf, ensemble = make_shelf(), FakeEnsemble()
    app = create_app(settings, catalog=shelf, ensemble=ensemble)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://adapter") as client,
    ):
        await app.state.services.readiness.ready.wait()
        yield Adapter(app, client, shelf, ensemble)
        ensemble.gate.set()
    assert shelf.closed
    assert ensemble.closed
