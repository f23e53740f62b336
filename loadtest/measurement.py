"""What one load run measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """Closed-loop load on one server: each connection sends its next request when the answer is there."""

    connections: int
    seconds: float
    requests: int
    errors: int
    """Answers other than 2xx, and connections that broke."""
    mean_ms: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds
