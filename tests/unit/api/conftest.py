from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.services import Services
from api.settings import Settings
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import Shelf


@dataclass
class Adapter:
    """A running app on fakes, and a client that speaks to it."""

    app: FastAPI
    client: httpx.AsyncClient
    shelf: Shelf
    ensemble: FakeEnsemble

    @property
    def services(self) -> Services:
        services = self.app.state.services
        assert isinstance(services, Services)
        return services


@pytest.fixture
async def adapter() -> AsyncIterator[Adapter]:
    shelf, ensemble = Shelf(), FakeEnsemble()
    app = create_app(Settings(), catalog=shelf, ensemble=ensemble)
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
