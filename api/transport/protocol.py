"""uvicorn's HTTP/1.1 with limits: what a client may send, how long it may take, and how its connection ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.transport.counts import Cause
from api.transport.limits import MAX_HEADERS
from api.transport.refusals import Refusals
from api.transport.watch import Watch

_BODILESS: Final = ("GET", "HEAD")
"""Methods whose headers aren't searched for a length; a body that comes all the same is counted."""
_HEADER_FRAME: Final = len(b": \r\n")
_LAST_LOOK_S: Final = 0.05
"""Time in which what an idle client has just sent is noticed before its connection ends."""
_REFUSED_AT_ONCE: Final = 256
"""Connections beyond the limit that are told so; the others are just closed."""

_FORGOTTEN: Final[Any] = deque(maxlen=0)
"""Where headers go that nobody reads: those that follow a chunked body, or a refusal."""


class _Out:
    """A connection as uvicorn's cycles see it, which close it after a last answer, even within the request's body."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with limits, problem documents where it answers by itself, and connections that can be cut.

    Of several requests that a client sends without waiting for answers, uvicorn tells only the latest that the
    connection is lost, though it is an earlier one that is under way and would write to it.
    """

    _under_way: RequestResponseCycle | None = None
    """The cycle that the app works at, or that it worked at last."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        watch: Watch,
        refusals: Refusals,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.expires = inf
        self.unread_since = inf
        self._watch = watch
        self._refusals = refusals
        self._limits = watch.limits
        self._head_bytes = watch.limits.head_bytes
        self._receiving = False
        """Within a request: its first byte is here, its last isn't."""
        self._in_head = False
        self._deaf = False
        """Whatever comes is thrown away: the connection ends."""
        self._lingering = False
        """There is nothing more to say; the client may read what was said."""
        self._wire = 0
        """Bytes of the request, except those that came together with the end of the one before."""
        self._long = False
        """Whether the request at hand has more bytes than a head may have, so that it pays to count."""
        self._body = 0

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request, or refuse the connection where there are too many."""
        super().connection_made(transport)
        self._out: Any = _Out(transport, self._close)
        watch = self._watch
        if len(watch.open) < self._limits.connections:
            watch.open.add(self)
            self.expires = watch.now + watch.patience
            return
        watch.counts.closed[Cause.TOO_MANY] += 1
        self._deaf = True
        if len(watch.refused) < _REFUSED_AT_ONCE:
            watch.refused.add(self)
            self._end_with(self._refusals.of[Cause.TOO_MANY])
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request under way."""
        self._watch.open.discard(self)
        self._watch.refused.discard(self)
        self._abandon()
        super().connection_lost(exc)

    def expire(self) -> None:
        """End a connection whose time is over: a request that doesn't come to its end, or silence."""
        if self._lingering:
            self.transport.abort()
        elif self._receiving and self.flow.read_paused:  # it is this side that doesn't read on
            self.expires = self._watch.now + self._watch.patience
        elif self._receiving:
            self._refuse(Cause.SLOW_REQUEST)
        else:
            self._watch.counts.closed[Cause.SILENT] += 1
            self.transport.close()
            self.expires = inf

    def drain(self) -> None:
        """Let the answer under way be the connection's last, where its head can still say so."""
        cycle = self._under_way
        if cycle is not None and not cycle.response_started and not self.pipeline:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """End the connection, but not before what was asked is answered."""
        if self._lingering:
            self.transport.abort()
        elif self._answering():
            self.cycle.keep_alive = False
        elif not self._receiving:
            self.loop.call_later(_LAST_LOOK_S, self._close_if_idle)

    def cut(self) -> None:
        """Close the connection at once. What waits to read or write on it ends as if its client had gone."""
        self._abandon()
        self.flow.resume_writing()
        self.transport.abort()

    def _close_if_idle(self) -> None:
        if not self._receiving and not self._answering() and not self.transport.is_closing():
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    def _abandon(self) -> None:
        if self._under_way is not None and not self._under_way.response_complete:
            self._under_way.disconnected = True
            self._under_way.message_event.set()

    # -- what comes in -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as it stays within the limits."""
        if self._deaf:
            return
        self._wire += len(data)
        self._long = self._wire > self._head_bytes
        if self._long and self._receiving and not self._in_head and self._wire > self._limits.wire_bytes:
            self._refuse(Cause.BODY_TOO_LARGE)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it hadn't asked for another protocol. What follows it isn't for us.
            self._hear_no_more()
            return
        except httptools.HttpParserError:
            if not self._deaf:
                self._refuse(Cause.MALFORMED)
            return
        if self._long and self._in_head and not self._deaf and self._wire > self._head_bytes:
            self._refuse(Cause.HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start the request's time."""
        if self._deaf:
            return
        super().on_message_begin()
        self._receiving = self._in_head = True
        self.expires = self._watch.now + self._watch.patience

    def on_headers_complete(self) -> None:
        """Hand the request to the app, unless its head alone says that it won't do."""
        if self._deaf:
            return
        if len(self.headers) > MAX_HEADERS or (self._long and self._head() > self._head_bytes):
            self._refuse(Cause.HEAD_TOO_LARGE)
            return
        super().on_headers_complete()
        self.cycle.transport = self._out
        self.headers = _FORGOTTEN
        self._in_head = False
        self._body = 0
        scope = self.scope
        if scope["method"] not in _BODILESS or scope["http_version"] != "1.1":
            cause = self._unfit(scope)
            if cause is not None:
                self._refuse(cause)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body for the app, up to the limit."""
        if self._deaf:
            return
        self._body += len(body)
        if self._body > self._limits.body_bytes:
            self._refuse(Cause.BODY_TOO_LARGE)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the request's time."""
        if self._deaf:
            return
        self._receiving = False
        self._wire = 0
        self.expires = inf
        cycle = self.cycle
        if cycle.response_complete:  # without waiting for the body
            self.expires = self._watch.now + self._limits.keep_alive_s
        else:
            cycle.more_body = False
            cycle.message_event.set()

    def _head(self) -> int:
        """Bytes of the head, near enough."""
        return len(self.url) + sum(len(name) + len(value) + _HEADER_FRAME for name, value in self.headers)

    def _unfit(self, scope: HTTPScope) -> Cause | None:
        """What is wrong with a request that may have a body or isn't HTTP/1.1."""
        version = scope["http_version"]
        if version not in {"1.0", "1.1"}:
            return Cause.MALFORMED
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                return Cause.BODY_TOO_LARGE
            if name == b"transfer-encoding" and version == "1.0":  # proxies disagree on where such a body ends
                return Cause.MALFORMED
        return None

    # -- what goes out -------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._under_way = cycle
        if self._watch.draining and not self.pipeline:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to the client's next request, and read no more while one of those that it sent ahead waits.

        In place of uvicorn's own, which sets a timer for each answer.
        """
        self.server_state.total_requests += 1
        if self._lingering or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            if self.pipeline:
                self.flow.pause_reading()
        elif not self._receiving:
            self.expires = self._watch.now + self._limits.keep_alive_s

    def _refuse(self, cause: Cause) -> None:
        """End the connection because of the request that is being received.

        Requests before it are answered first. It has an answer itself where none has begun, and where the client
        wouldn't take that for the answer to an earlier one.
        """
        self._watch.counts.closed[cause] += 1
        waiting = self.pipeline
        if self._receiving and not self._in_head:  # its cycle is the latest
            if self.cycle is not self._under_way:
                waiting.popleft()
            elif self.cycle.response_started:
                answered = self.cycle.response_complete
                self._abandon()
                self._end_with(b"") if answered else self.cut()
                return
            else:
                self._abandon()
                self._end_with(self._refusals.of[cause])
                return
        last = waiting[0][0] if waiting else self._under_way
        if last is None or last.response_complete:
            self._end_with(self._refusals.of[cause])
        else:
            self._hear_no_more()
            last.keep_alive = False

    def _close(self) -> None:
        """End the connection after its last answer."""
        if self._receiving or self._deaf:
            self._end_with(b"")
        else:
            self.transport.close()

    def _hear_no_more(self) -> None:
        """Take no further request; what was asked is still answered, and then the connection ends."""
        self._deaf = True
        self._receiving = False
        self.headers = _FORGOTTEN
        self.expires = inf
        if self._answering():
            self.cycle.keep_alive = False
        elif not self._lingering:
            self._end_with(b"")

    def _end_with(self, answer: bytes) -> None:
        """Say the last words, and give the client a moment to read them.

        A socket that is closed while bytes are on their way to it resets the connection, and with it what the client
        hasn't read yet.
        """
        self._deaf = self._lingering = True
        self._receiving = False
        self.headers = _FORGOTTEN
        self.expires = self._watch.now + self._watch.linger
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if answer:
            self.transport.write(answer)
        self.transport.write_eof()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that isn't HTTP."""
        del msg
        self._refuse(Cause.MALFORMED)
