"""The way to one release: its ensemble, the breaker and the call slots that are its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.batcher import Batcher
from api.releases.counts import LaneCounts
from api.releases.watched import Watched
from api.resilience.breaker import Breaker
from ensemble import contract


@dataclass(slots=True, eq=False)
class Lane:
    """What a request's ranking goes through from the pool on. Lanes share nothing but the server behind them."""

    number: int
    """Of the release."""
    ensemble: Watched
    breaker: Breaker
    batcher: Batcher
    counts: LaneCounts
    release: str = field(init=False)
    """Name of the release's ensemble, as answers show it."""

    def __post_init__(self) -> None:
        self.release = contract.ensemble_name(self.number)

    @property
    def history_until(self) -> float | None:
        """The moment that the release's tables end, as days since 1970-01-01 UTC; None while it isn't known."""
        return self.ensemble.history_until

    @property
    def idle(self) -> bool:
        """Whether nothing waits and no call is under way, explanations' and shadows' included."""
        return not self.batcher.waiting and not self.batcher.in_flight and not self.ensemble.under_way

    async def close(self) -> None:
        """Refuse new rows, let the calls under way end, and close the ensemble."""
        await self.batcher.close()
        await self.ensemble.close()
