"""uvicorn's server with an orderly end: not ready first, then what is in flight is answered, then it is over in time.

SIGTERM begins the drain. ``/readyz`` says 503 at once, so that load balancers send new requests elsewhere; requests
that come all the same are answered for ``drain_s``, each with ``connection: close``, so that clients open their next
connection, elsewhere, rather than find this one reset. Then nobody new is let in, idle connections are closed, and the
process ends with the last answer. What isn't answered when the grace is nearly over is cut. Ctrl-C skips the drain,
since a person waits. Another signal shortens: the first ends the drain, one more cuts all connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import uvicorn

from api.transport.watch import Watch

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LAST_WORDS: Final = 0.2
"""Of the grace, at its end: time for cut requests to find out."""
_AFTER_CUT_S: Final = 1.0
"""The same where the grace is short. What survives even that is cancelled, which uvicorn logs as a mistake."""


class DrainingServer(uvicorn.Server):
    """uvicorn that stops tidily, whatever its clients do.

    uvicorn raises a caught signal again when it has stopped, which would kill the process before it is tidy, and
    cancels the requests of clients that don't read their answers.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        watch: Watch,
        *,
        drain_s: float,
        grace_s: float,
        on_drain: Callable[[], bool] = lambda: True,
    ) -> None:
        """Put it together.

        Args:
            config: uvicorn's, with the protocol of ``watch``.
            watch: told when clients shall move away, and when their time is over.
            drain_s: between SIGTERM and the end of listening.
            grace_s: between the first signal and the end of the process, ``drain_s`` included.
            on_drain: called when the drain begins; returns whether there is anything to drain.
        """
        super().__init__(config)
        self._watch = watch
        self._drain_s = drain_s
        self._grace_s = grace_s
        self._on_drain = on_drain
        self._ends_at: float | None = None
        self._draining: asyncio.TimerHandle | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, or end sooner."""
        del frame
        loop = asyncio.get_running_loop()
        if self._ends_at is None:
            self._ends_at = loop.time() + self._grace_s
            wanted = self._on_drain() and sig == signal.SIGTERM and self.started
            self._watch.drain()
            if wanted and self._drain_s > 0:
                self._draining = loop.call_later(self._drain_s, self._stop)
            else:
                self.should_exit = True
        elif not self.should_exit:
            self._stop()
        else:
            self._watch.cut()

    def _stop(self) -> None:
        if self._draining is not None:
            self._draining.cancel()
        self.should_exit = True

    def stop_unless_fine(self, starting: asyncio.Task[None]) -> None:
        """Stop serving where the start has failed."""
        if not starting.cancelled() and starting.exception() is not None:
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and watch the connections."""
        self._watch.start()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the requests in flight end, for as long as the grace lasts."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._grace_s if self._ends_at is None else self._ends_at
        after_cut = min(_AFTER_CUT_S, self._grace_s * _LAST_WORDS)
        cut = loop.call_at(ends_at - after_cut, self._watch.cut)
        patience = max(ends_at - loop.time(), _AFTER_CUT_S)
        self.config.timeout_graceful_shutdown = patience  # type: ignore[assignment]  # a part of a second will do
        self._watch.drain()
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()
            self._watch.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Begin to stop at SIGINT and SIGTERM."""
        loop = asyncio.get_running_loop()
        handled = []
        for number in _SIGNALS:
            with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: somebody else's signals
                loop.add_signal_handler(number, self.handle_exit, number, None)
                handled.append(number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
