"""Lanes over ensembles in memory, in virtual time."""

from __future__ import annotations

import numpy as np

from api.ensemble_client import Explained, Ranked
from api.metrics import Metrics
from api.readiness import Readiness
from api.releases.document import Share
from api.releases.lanes import Lanes
from api.releases.opening import LaneMaker
from api.resilience.breaker_policy import BreakerPolicy
from api.tensors import Batch
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.virtual_time import VirtualLoop


class Reversing(FakeEnsemble):
    """Puts everything the other way round, with scores that are one less. For rows without padding."""

    def _rank(self, batch: Batch) -> Ranked:
        return Ranked(super()._rank(batch).product_id[:, ::-1].copy(), self.release)

    def _explain(self, batch: Batch) -> Explained:
        found = super()._explain(batch)
        return Explained(
            found.product_id[:, ::-1].copy(),
            self.release,
            found.score[:, ::-1] - np.float32(1),
            found.component[:, ::-1].copy(),
        )


class LanesWorld:
    """Lanes of releases 1 (live), 2 and 3, of which 3 reverses what the others do."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.ensembles: dict[int, FakeEnsemble] = {1: FakeEnsemble(1), 2: FakeEnsemble(2), 3: Reversing(3)}
        self.lanes = self.loop.run_until_complete(self._open())

    async def _open(self) -> Lanes:
        metrics = Metrics()
        self.maker = LaneMaker(
            readiness=Readiness(metrics),
            metrics=metrics,
            policy=BreakerPolicy(),
            max_calls=2,
            max_waiting=1_000,
            took=lambda _waited, _took: None,
            awake=self.loop.time,
            clock=self.loop.time,
            rng=None,
        )
        self.lane = {number: self.maker.open(number, ensemble) for number, ensemble in self.ensembles.items()}
        return Lanes(self.lane[1])

    def use(self, live: int = 1, canary: int | None = None, shadow: int | None = None, percent: float = 100.0) -> None:
        """Give releases their roles."""
        self.lanes.use(
            self.lane[live],
            None if canary is None else self.lane[canary],
            None if canary is None else Share(canary, 10.0),
            None if shadow is None else self.lane[shadow],
            percent,
        )

    def close(self) -> None:
        """End everything."""
        for ensemble in self.ensembles.values():
            ensemble.gate.set()
        for lane in self.lane.values():
            self.loop.run_until_complete(lane.close())
        self.loop.close()
