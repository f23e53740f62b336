"""A server of releases in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from api.ensemble_client import Ensemble
from api.errors import EnsembleUnavailable, ReleaseRefused
from tests.fakes.ensemble import FakeEnsemble


class FakeReleases:
    """Implements ``api.releases.server.ReleaseServer``. Attributes say what it shall do and what it was told."""

    def __init__(self, *loaded: int) -> None:
        self.loaded = set(loaded)
        self.refused: dict[int, str] = {}
        """Releases that can't be loaded, and why."""
        self.gone = False
        """Whether it can't be reached."""
        self.gate = asyncio.Event()
        """Loading waits until this is set."""
        self.gate.set()
        self.unloading = asyncio.Event()
        """Unloading waits until this is set."""
        self.unloading.set()
        self.history_until: dict[int, float] = {}
        self.ensembles: dict[int, list[FakeEnsemble]] = {}
        self.used: list[tuple[int, ...]] = []
        self.loads: list[int] = []
        self.lost: Callable[[int, str], None] = lambda _release, _why: None
        self.closed = False

    def ensemble(self, release: int) -> Ensemble:
        made = FakeEnsemble(release)
        made.history_until = self.history_until.get(release)
        self.ensembles.setdefault(release, []).append(made)
        return made

    async def ready(self, release: int) -> bool:
        await asyncio.sleep(0)
        if self.gone:
            raise EnsembleUnavailable("nobody answers")
        return release in self.loaded

    async def load(self, release: int) -> None:
        self.loads.append(release)
        await self.gate.wait()
        if release in self.refused:
            raise ReleaseRefused(self.refused[release])
        self.loaded.add(release)

    async def unload(self, release: int, live: int) -> None:
        assert live in self.loaded
        await self.unloading.wait()
        self.loaded.discard(release)

    def use(self, releases: tuple[int, ...]) -> None:
        self.used.append(releases)

    def hear(self, lost: Callable[[int, str], None]) -> None:
        self.lost = lost

    def crash(self, release: int, why: str) -> None:
        """A process of a release has ended, so that it is unloaded."""
        self.loaded.discard(release)
        self.lost(release, why)

    async def close(self) -> None:
        self.closed = True
