"""A bare ASGI endpoint, as thin as one can be: what answers in the bound and in Triton with one call per request."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import orjson

from loadtest.peers.shop import Ask, page, parse

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_GC_THRESHOLDS: Final = (50_000, 20, 20)
"""As in the adapter: a request leaves no cycles behind."""


class Backend(Protocol):
    """What makes the answers."""

    async def start(self) -> None:
        """In the event loop, before the first request."""

    async def stop(self) -> None:
        """In the event loop, after the last one."""

    async def rank(self, ask: Ask) -> list[int]:
        """The request's page.

        Raises:
            KeyError: there is no such container.
        """


class BareAsgi:
    """The application."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        try:
            ask = parse(scope["path"], scope["query_string"].decode())
            status, content = 200, page(ask, await self._backend.rank(ask))
        except (KeyError, ValueError) as error:
            status, content = 404, {"detail": repr(error)}
        body = orjson.dumps(content)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._backend.start()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._backend.stop()
        await send({"type": "lifespan.shutdown.complete"})
