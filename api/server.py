"""Runs the adapter under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
import uvloop

from api.app import create_app
from api.errors import AddressInUse, StartupError
from api.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2_048


def serve(settings: Settings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and return.

    Args:
        settings: all of them; port 0 takes any free one.
        on_ready: called once, with the adapter's URL, after the first inference through the whole path.

    Raises:
        SystemExit: 2, after one line on stderr, where the adapter can't start.
    """
    try:
        with contextlib.closing(_listen(settings.host, settings.port)) as listener:
            uvloop.run(_serve(settings, listener, on_ready))
    except StartupError as error:
        sys.stderr.write(f"racksort: {error}\n")
        raise SystemExit(2) from error


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before anything slow begins."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise AddressInUse(f"RACKSORT_HOST: {host!r} isn't an address of this machine ({error.strerror})") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"can't listen on {host}:{port} ({error.strerror}); end what listens there or set RACKSORT_PORT"
        ) from error
    return listener


async def _serve(settings: Settings, listener: socket.socket, on_ready: Callable[[str], None] | None) -> None:
    app = create_app(settings)
    # The lifespan is entered here rather than by uvicorn, which would log a traceback where one line is enough.
    async with app.router.lifespan_context(app):
        host, port = listener.getsockname()[:2]
        announcing = asyncio.create_task(
            _announce(app.state.services.readiness.ready, f"http://{host}:{port}", on_ready)
        )
        # What lives now lives as long as the process: the collector needn't look at it again.
        gc.collect()
        gc.freeze()
        try:
            await _Server(_config(app)).serve(sockets=[listener])
        finally:
            announcing.cancel()


async def _announce(ready: asyncio.Event, url: str, on_ready: Callable[[str], None] | None) -> None:
    await ready.wait()
    if on_ready is not None:
        on_ready(url)


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # any ASGI app
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=5,
    )


class _Server(uvicorn.Server):
    """uvicorn raises a caught signal again when it has stopped, which would kill the process before it is tidy."""

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
