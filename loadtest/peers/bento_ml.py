"""BentoML with adaptive batching: ``bentoml serve loadtest.peers.bento_ml:Ranking`` in its own environment.

Settings: ``max_batch_size``, ``delay_ms`` (``max_latency_ms``: what waits longer is refused with 503) and ``workers``
(processes). A batchable API takes and gives a list with an entry for each row, so a request posts a list of one.
"""

from __future__ import annotations

from typing import Any, Final

import bentoml

from loadtest.peers.shop import Ask, Shop, settings

_SETTINGS: Final = settings()


@bentoml.service(
    workers=_SETTINGS.get("workers", 1),
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Ranking:
    """Answers ``{"asks": [[container_id, customer_id, limit]]}`` with a list of pages."""

    def __init__(self) -> None:
        self._shop = Shop.from_environment()

    @bentoml.api(
        batchable=True,
        max_batch_size=_SETTINGS.get("max_batch_size", 64),
        max_latency_ms=_SETTINGS.get("delay_ms", 50),
    )
    async def rank(self, asks: list[Any]) -> list[Any]:
        """A batch."""
        return self._shop.rank([Ask(*ask) for ask in asks])
