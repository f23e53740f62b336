"""Runs the adapter under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus

import uvicorn
import uvloop
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.app import create_app
from api.errors import AddressUnusable, CatalogInvalid, NeverReady, StartupError
from api.problems import MEDIA_TYPE, Problem
from api.readiness import Readiness
from api.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2_048

_GRACE_S = 4.0
"""Time for requests in flight once the server is told to stop; then their connections are cut."""
_PATIENCE_S = 5
"""Time until what survives even that is cancelled, which uvicorn logs as a mistake."""


_HOST_REMEDY = "set RACKSORT_HOST to an address of this machine, such as 127.0.0.1 or 0.0.0.0"
_REMEDIES = {
    errno.EADDRINUSE: "end what listens there, or set RACKSORT_PORT",
    errno.EACCES: "ports below 1024 need privileges: set RACKSORT_PORT",
    errno.EADDRNOTAVAIL: _HOST_REMEDY,
}


_GC_THRESHOLDS = (50_000, 20, 20)
"""A request leaves no cycles behind, but its short-lived objects set the collector off every few requests by default,
for 5 % of the adapter's CPU time. What does form cycles is still found."""


def serve(settings: Settings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and return.

    Args:
        settings: all of them; port 0 takes any free one.
        on_ready: called once, with the adapter's URL, after the first inference through the whole path.

    Raises:
        SystemExit: 2, after one line on stderr, where the adapter can't start, or no inference has worked within the
            setting ``start_timeout_ms``.
    """
    try:
        with contextlib.closing(listen(settings.host, settings.port)) as listener:
            uvloop.run(_serve(settings, listener, on_ready))
    except StartupError as error:
        sys.stderr.write(f"racksort: {error}\n")
        raise SystemExit(2) from error


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before anything slow begins.

    Raises:
        AddressUnusable: there is no such address, or it isn't ours to listen on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no host name"
        raise AddressUnusable(f"can't listen on {host!r} ({reason}); {_HOST_REMEDY}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        remedy = _REMEDIES.get(error.errno or 0, "set RACKSORT_HOST and RACKSORT_PORT to another address")
        raise AddressUnusable(f"can't listen on {host}:{port} ({error.strerror}); {remedy}") from error
    return listener


async def _serve(settings: Settings, listener: socket.socket, on_ready: Callable[[str], None] | None) -> None:
    app = create_app(settings)
    # The lifespan is entered here rather than by uvicorn, which would log a traceback where one line is enough.
    async with app.router.lifespan_context(app):
        services = app.state.services
        if not any(each.size for each in await services.catalog.containers()):
            where, remedy = (
                (settings.catalog_dir, "run `racksort prepare`")
                if settings.catalog == "embedded"
                else ("Elasticsearch", "load the catalog again")
            )
            raise CatalogInvalid(
                f"{where}: no container of the catalog has a product to show: add one to containers.json, or {remedy}"
            )
        host, port = listener.getsockname()[:2]
        server = _Server(_config(app))
        starting = asyncio.create_task(
            _start(services.readiness, settings.start_timeout_ms / 1e3, f"http://{_in_url(host)}:{port}", on_ready)
        )
        starting.add_done_callback(server.stop_unless_fine)
        # What lives now lives as long as the process: the collector needn't look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        try:
            await server.serve(sockets=[listener])
        finally:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting


async def _start(readiness: Readiness, timeout_s: float, url: str, on_ready: Callable[[str], None] | None) -> None:
    """Wait for the first inference through the whole path and announce it.

    Raises:
        NeverReady: it took longer than ``timeout_s``; 0 waits for ever.
        StartupError: waiting is in vain.
    """
    ready = asyncio.ensure_future(readiness.ready.wait())
    done, _ = await asyncio.wait(
        (ready, readiness.refused), timeout=timeout_s or None, return_when=asyncio.FIRST_COMPLETED
    )
    ready.cancel()
    if readiness.refused in done:
        readiness.refused.result()
    if not done:
        raise NeverReady(
            f"no inference has worked within {timeout_s:g} s ({readiness.detail}); start Triton with the release "
            "(RACKSORT_TRITON and RACKSORT_RELEASE name them), or set RACKSORT_START_TIMEOUT_MS to wait longer "
            "(0: for ever)"
        )
    if on_ready is not None:
        on_ready(url)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # any ASGI app
        loop="uvloop",
        http=_Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_PATIENCE_S,
    )


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with problem documents where uvicorn answers by itself, and connections that can be cut.

    Of several requests that a client sends without waiting for answers, uvicorn tells only the latest that the
    connection is lost, though it is an earlier one that is under way and would write to it.
    """

    _under_way: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to the client's next request, and read no more while one of those that it sent ahead waits."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request under way."""
        self._abandon()
        super().connection_lost(exc)

    def cut(self) -> None:
        """Close the connection at once. What waits to read or write on it ends as if its client had gone."""
        self._abandon()
        self.flow.resume_writing()
        self.transport.abort()

    def _abandon(self) -> None:
        if self._under_way is not None and not self._under_way.response_complete:
            self._under_way.disconnected = True
            self._under_way.message_event.set()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that isn't HTTP, and close the connection, since nothing is known of what follows."""
        body = Problem(HTTPStatus.BAD_REQUEST, "Bad Request", msg).encoded()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode("ascii") + body)
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn that stops tidily, whatever its clients do.

    uvicorn raises a caught signal again when it has stopped, which would kill the process before it is tidy, and
    cancels the requests of clients that don't read their answers.
    """

    def __init__(self, config: uvicorn.Config, grace_s: float = _GRACE_S) -> None:
        super().__init__(config)
        self._grace = grace_s

    def stop_unless_fine(self, starting: asyncio.Task[None]) -> None:
        """Stop serving where the start has failed."""
        if not starting.cancelled() and starting.exception() is not None:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the requests in flight end, for as long as the grace lasts."""
        cut = asyncio.get_running_loop().call_later(self._grace, self._cut_connections)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Protocol):
                connection.cut()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop serving at SIGINT and SIGTERM."""
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
