"""What a client may take: bytes, time and connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from api.settings import Settings

MAX_HEADERS: Final = 100
"""Headers of one request. Browsers behind proxies send about 30."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that the HTTP protocol and its watch go by; seconds and bytes."""

    receive_s: float
    """From a request's first byte, or a connection's start, until all of it is here; also for reading an answer."""
    keep_alive_s: float
    """Between an answer and the connection's next request."""
    head_bytes: int
    """Request line and headers."""
    body_bytes: int
    connections: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those of the settings."""
        return cls(
            receive_s=settings.receive_timeout_ms / 1e3,
            keep_alive_s=settings.keep_alive_ms / 1e3,
            head_bytes=settings.max_head_bytes,
            body_bytes=settings.max_body_bytes,
            connections=settings.max_connections,
        )

    @property
    def wire_bytes(self) -> int:
        """All of a request's bytes: a chunked body may take as much for its framing as for its content."""
        return self.head_bytes + 2 * self.body_bytes
