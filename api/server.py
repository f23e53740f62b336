"""Runs the adapter under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import uvicorn
import uvloop

from api.app import create_app
from api.errors import AddressUnusable, CatalogInvalid, NeverReady, StartupError
from api.readiness import Readiness
from api.releases.document import Traffic
from api.releases.server import Keeper
from api.services import Services
from api.settings import Settings
from api.telemetry.figures import LogFigures
from api.telemetry.log_queue import Lines, logging_to
from api.transport.descriptors import room_for
from api.transport.drain import DrainingServer
from api.transport.limits import Limits
from api.transport.protocol import HttpProtocol
from api.transport.refusals import Refusals
from api.transport.watch import Watch

_log = logging.getLogger(__name__)

_BACKLOG = 2_048

_HOST_REMEDY = "set RACKSORT_HOST to an address of this machine, such as 127.0.0.1 or 0.0.0.0"
_REMEDIES = {
    errno.EADDRINUSE: "end what listens there, or set RACKSORT_PORT",
    errno.EACCES: "ports below 1024 need privileges: set RACKSORT_PORT",
    errno.EADDRNOTAVAIL: _HOST_REMEDY,
}


GC_THRESHOLDS = (50_000, 20, 20)
"""A request leaves no cycles behind, but its short-lived objects set the collector off every few requests by default,
for 5 % of the adapter's CPU time. What does form cycles is still found."""


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None] | None = None,
    on_open: Callable[[Services], None] | None = None,
    keeper: Keeper | None = None,
    document: Traffic | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and return.

    Args:
        settings: all of them; port 0 takes any free one.
        on_ready: called once, with the adapter's URL, after the first inference through the whole path.
        on_open: called once, with the adapter's parts, before it takes requests.
        keeper: runs the Triton of the settings, where that is this process.
        document: the releases to begin with, where Triton was started on them; later changes are followed.

    Raises:
        SystemExit: 2, after one line on stderr, where the adapter can't start, or no inference has worked within the
            setting ``start_timeout_ms``.
    """
    try:
        with (
            logging_to(sys.stderr, settings.log_format, settings.log_level) as lines,
            contextlib.closing(listen(settings.host, settings.port)) as listener,
        ):
            uvloop.run(_serve(settings, listener, on_ready, on_open, keeper, document, lines))
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


async def _serve(
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[str], None] | None,
    on_open: Callable[[Services], None] | None,
    keeper: Keeper | None,
    document: Traffic | None,
    lines: Lines,
) -> None:
    app = create_app(settings, keeper=keeper, document=document)
    # The lifespan is entered here rather than by uvicorn, which would log a traceback where one line is enough.
    async with app.router.lifespan_context(app):
        services: Services = app.state.services
        services.metrics.registry.register(LogFigures(lines))
        if on_open is not None:
            on_open(services)
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
        watch = Watch(_limits(settings))
        watch.counts.expose(services.metrics.registry, lambda: len(watch.open))
        server = DrainingServer(
            configured(app, watch),
            watch,
            drain_s=settings.drain_ms / 1e3,
            grace_s=settings.grace_ms / 1e3,
            on_drain=services.readiness.drain,
        )
        starting = asyncio.create_task(
            _start(services.readiness, settings.start_timeout_ms / 1e3, f"http://{_in_url(host)}:{port}", on_ready)
        )
        starting.add_done_callback(server.stop_unless_fine)
        # What lives now lives as long as the process: the collector needn't look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            await server.serve(sockets=[listener])
        finally:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting


def _limits(settings: Settings) -> Limits:
    """The settings' limits, with no more connections than the process may have."""
    limits = Limits.of(settings)
    connections = room_for(limits.connections)
    if connections < limits.connections:
        _log.warning(
            "room for %d connections instead of %d (RACKSORT_MAX_CONNECTIONS): the process may open no more files",
            connections,
            limits.connections,
        )
    return replace(limits, connections=connections)


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


def configured(app: object, watch: Watch) -> uvicorn.Config:
    """Uvicorn's settings for ``app``, whose connections ``watch`` looks after."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # any ASGI app
        loop="uvloop",
        http=partial(HttpProtocol, watch=watch, refusals=Refusals(watch.limits)),  # type: ignore[arg-type]  # or its maker
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,  # its lines go where ours do
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
