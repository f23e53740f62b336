"""What is known of the ensemble's health. Only an inference tells the truth, so calls are watched, not endpoints.

The adapter becomes ready with the first real inference through the whole path and then stays ready: without the
ensemble it still answers, degraded, and taking it out of rotation would turn that into an outage. ``/readyz`` says
which of the two it is.
"""

from __future__ import annotations

import asyncio
import logging

from api.errors import StartupError
from api.metrics import Metrics

_log = logging.getLogger(__name__)


class Readiness:
    """State behind ``/readyz``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.ready = asyncio.Event()
        """Set for good once an inference through the whole path worked."""
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails where waiting for readiness is in vain."""
        self.refused.add_done_callback(lambda refused: refused.cancelled() or refused.exception())  # seen, if by nobody
        self.ensemble_up = False
        """Whether the last call of the ensemble succeeded."""
        self.detail = "no inference was tried yet"
        """What the last call or probe showed."""
        self.last_success = float("-inf")
        """When a call last succeeded, on the watch's clock."""
        self.draining = False
        """Set for good once the adapter is told to stop."""

    def succeeded(self, at: float) -> None:
        """A call of the ensemble worked."""
        self.last_success = at
        if not self.ensemble_up:
            self.ensemble_up = True
            self.detail = "the ensemble answers"
            self._metrics.ensemble_up.set(1)

    def failed(self, why: str) -> None:
        """A call of the ensemble, or a probe, failed."""
        if self.ensemble_up or why != self.detail:
            _log.warning("no ranking: %s", why)
        self.ensemble_up = False
        self.detail = why
        self._metrics.ensemble_up.set(0)

    def passed(self) -> None:
        """A request went the whole way."""
        if not self.ready.is_set():
            self.ready.set()
            self._metrics.ready.set(1)

    def drain(self) -> bool:
        """The adapter was told to stop: say so. Returns whether it was ready, so that clients may know it."""
        self.draining = True
        self._metrics.ready.set(0)
        return self.ready.is_set()

    def refuse(self, error: StartupError) -> None:
        """Never become ready."""
        self.failed(str(error))
        if not self.refused.done():
            self.refused.set_exception(error)
