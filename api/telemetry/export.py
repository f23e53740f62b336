"""Finished spans wait here for a thread that sends them on. What no room is left for is dropped and counted.

The event loop only appends to a list with an end: whether the collector is slow, dead or gone, requests don't notice.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from api.telemetry.span import Span

_log = logging.getLogger(__name__)

MOST: Final = 8_192
"""Spans that may wait; about 1 KiB each."""
AT_ONCE: Final = 512
"""Spans in one message, at most."""
EVERY_S: Final = 1.0
"""Spans don't wait longer than that for others to be sent with."""
LAST_SPANS_S: Final = 1.0
"""For what waits when the process ends. A collector that hangs must not hold up the end."""


class Sender(Protocol):
    """The way to a collector. Used by the exporting thread alone, except for :meth:`close`."""

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the collector has them; may take seconds, and tries again by itself."""
        ...

    def close(self) -> None:
        """Give up what is being sent."""
        ...


class Exporter:
    """See the module."""

    def __init__(
        self, make_sender: Callable[[], Sender], *, most: int = MOST, at_once: int = AT_ONCE, every_s: float = EVERY_S
    ) -> None:
        """Begin.

        Args:
            make_sender: makes the way to the collector.
            most: spans that may wait.
            at_once: spans in one message, at most.
            every_s: seconds until spans are sent, at the latest.
        """
        self.exported = 0
        """Spans that the collector has taken."""
        self.failed = 0
        """Spans that it hasn't, for good."""
        self.dropped = 0
        """Spans there was no room for, and those that the end left no time for."""
        self._lock = threading.Lock()
        """For what both threads change. Held for moments, never while something is sent."""
        self._sending = 0
        """Spans on their way."""
        self._over = False
        """Whether what is on its way is given up."""
        self._waiting: deque[Span] = deque()
        self._most = most
        self._at_once = at_once
        self._every_s = every_s
        self._wake = threading.Event()
        self._closing = False
        self._works = True
        self._sender = make_sender()
        self._thread = threading.Thread(target=self._run, name="export spans", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Spans that wait."""
        return len(self._waiting)

    def put(self, spans: Iterable[Span]) -> None:
        """Take spans, as far as there is room and until :meth:`close`; never waits for the collector."""
        waiting = self._waiting
        made = list(spans)
        with self._lock:
            room = 0 if self._closing else max(0, self._most - len(waiting))
            waiting.extend(made[:room])
            self.dropped += max(0, len(made) - room)
        if len(waiting) >= self._at_once:
            self._wake.set()

    def close(self, patience_s: float = LAST_SPANS_S) -> None:
        """Send what waits, for so many seconds at most; what is left and what is on its way then is dropped."""
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join(patience_s)
        with self._lock:
            self._over = True
            self.dropped += self._sending + len(self._waiting)
            self._sending = 0
            self._waiting.clear()
        self._sender.close()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._every_s)
            closing = self._closing  # looked at first: what was put before it was set is sent
            self._wake.clear()
            while spans := self._next():
                if not self._sent(spans):
                    break
            if closing:
                return

    def _next(self) -> Sequence[Span]:
        with self._lock:
            spans = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
            self._sending = len(spans)
        return spans

    def _sent(self, spans: Sequence[Span]) -> bool:
        try:
            taken = self._sender.send(spans)
        except Exception:  # noqa: BLE001 - telemetry must not end with one odd span
            _log.exception("sending spans failed by a mistake of ours")
            taken = False
        with self._lock:
            if self._over:  # counted as dropped by now
                return False
            self._sending = 0
            if taken:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
        if taken is not self._works:
            self._works = taken
            if taken:
                _log.warning("the collector of traces takes spans again")
            else:
                _log.warning("the collector of traces doesn't take spans: they are lost until it does")
        return taken
