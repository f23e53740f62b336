"""Releases on a Triton server: whether they are loaded, loading and unloading them, and the ways to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from api.ensemble_client import Ensemble, TritonEnsemble
from api.errors import EnsembleUnavailable, ReleaseRefused
from api.releases.document import Traffic
from api.tls_follower import TlsFollower
from api.triton_link import TritonLink, refuse_closed
from ensemble import contract

_log = logging.getLogger(__name__)

_LOAD_S: Final = 120.0
"""A release loads in seconds; a server that takes longer is given up, not waited for."""
_ASK_S: Final = 2.0
_UNREACHABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class ControlOff(ReleaseRefused):
    """The server doesn't let anybody load models: whoever runs it does that."""


class Keeper(Protocol):
    """Whoever runs the server, where that is this process: what must be told of releases."""

    def show(self, release: int) -> None:
        """Before a release is loaded; raises an exception with a line for people where it can't be."""
        ...

    def hide(self, release: int) -> None:
        """After a release was unloaded, or couldn't be loaded."""
        ...

    def use(self, releases: tuple[int, ...]) -> None:
        """These are in use, the live one first."""
        ...

    def hear(self, lost: Callable[[int, str], object]) -> None:
        """Have this called, in any thread, with each release that isn't live and has lost a process, and why."""
        ...


class ReleaseServer(Protocol):
    """What switching releases needs of a server."""

    def ensemble(self, release: int) -> Ensemble:
        """A way of its own to a release, which is closed by whoever asked for it."""
        ...

    async def ready(self, release: int) -> bool:
        """Whether a release is loaded.

        Raises:
            EnsembleUnavailable: the server can't be asked now.
        """
        ...

    async def load(self, release: int) -> None:
        """Load a release beside the others, which serve on.

        Raises:
            ReleaseRefused: it can't be loaded.
            ControlOff: nobody may load releases there.
            EnsembleUnavailable: the server can't be asked now.
        """
        ...

    async def unload(self, release: int, live: int) -> None:
        """Unload a release that has no traffic any more, if that is ours to do; ``live`` stays.

        Raises:
            EnsembleUnavailable, ReleaseRefused: it didn't work out; nothing is lost but memory.
        """
        ...

    def use(self, releases: tuple[int, ...]) -> None:
        """These are in use, the live one first."""
        ...

    def hear(self, lost: Callable[[int, str], None]) -> None:
        """Have this called, in the event loop, with each release that isn't live and was lost, and why."""
        ...

    async def close(self) -> None:
        """Release what the client holds."""
        ...


@dataclass(frozen=True, slots=True)
class Followed:
    """A document to follow, and the server that has the releases."""

    path: Path
    document: Traffic
    """As it was when the adapter started."""
    server: ReleaseServer


class TritonReleases:
    """Releases on a Triton server, over its gRPC endpoint. Must be made in the event loop.

    Where another process runs the server, only what this one has loaded is unloaded again.
    """

    def __init__(
        self, address: str, *, timeout_s: float, keeper: Keeper | None = None, tls: TlsFollower | None = None
    ) -> None:
        """Connects with the first question.

        Args:
            address: ``host:port`` of Triton's gRPC endpoint.
            timeout_s: time limit of one inference.
            keeper: runs the server, where that is this process.
            tls: follows the files of TLS, also for the ways to the releases; None for none.
        """
        self._address = address
        self._timeout = timeout_s
        self._keeper = keeper
        self._loaded: set[int] = set()
        self._tls = tls
        options = [("grpc.enable_http_proxy", 0)]
        stub = service_pb2_grpc.GRPCInferenceServiceStub
        self._link = TritonLink(address, tls, options, stub, longest_s=_LOAD_S)

    def ensemble(self, release: int) -> Ensemble:
        """See :class:`ReleaseServer`. gRPC shares the connection of channels that are alike."""
        return TritonEnsemble(self._address, release, timeout_s=self._timeout, tls=self._tls)

    async def ready(self, release: int) -> bool:
        """See :class:`ReleaseServer`."""
        request = service_pb2.ModelReadyRequest(name=contract.ensemble_name(release))
        try:
            return bool((await self._answer(self._link.bound.ModelReady(request, timeout=_ASK_S))).ready)
        except grpc.aio.AioRpcError as error:
            if error.code() in _UNREACHABLE and "model" not in (error.details() or ""):
                raise self._translated(error) from error
            return False  # it is there and doesn't know the release

    async def load(self, release: int) -> None:
        """See :class:`ReleaseServer`."""
        keeper = self._keeper
        if keeper is not None:
            try:
                await asyncio.to_thread(keeper.show, release)  # it may wait for a restart
            except Exception as error:
                raise ReleaseRefused(str(error)) from error
        try:
            # One after the other: all at once they would take the processors from what serves; and the model that
            # can't be loaded is named, where an ensemble's own refusal only says that one is missing.
            for model in (*(each.name for each in contract.MODELS), contract.ensemble_name(release)):
                await self._load(model)
        except (ReleaseRefused, EnsembleUnavailable):
            await self._withdraw(release)
            raise
        self._loaded.add(release)

    async def unload(self, release: int, live: int) -> None:
        """See :class:`ReleaseServer`."""
        keeper = self._keeper
        if keeper is None and release not in self._loaded:
            return
        self._loaded.discard(release)
        await self._unload(release)
        if keeper is not None:
            await self._hide(keeper, release)
            await self._load(contract.ensemble_name(live))  # only then are the versions unloaded that nobody pins

    def use(self, releases: tuple[int, ...]) -> None:
        """See :class:`ReleaseServer`."""
        if self._keeper is not None:
            self._keeper.use(releases)

    def hear(self, lost: Callable[[int, str], None]) -> None:
        """See :class:`ReleaseServer`. Where another process runs the server, nobody tells."""
        if self._keeper is not None:
            loop = asyncio.get_running_loop()
            self._keeper.hear(lambda release, why: loop.call_soon_threadsafe(lost, release, why))

    async def close(self) -> None:
        """Close the channel, and hear no more."""
        if self._keeper is not None:
            self._keeper.hear(lambda _release, _why: None)
        await self._link.close()

    async def _answer(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except asyncio.CancelledError:
            refuse_closed(self._address)
            raise

    async def _load(self, model: str) -> None:
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        try:
            await self._answer(self._link.bound.RepositoryModelLoad(request, timeout=_LOAD_S))
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def _unload(self, release: int) -> None:
        request = service_pb2.RepositoryModelUnloadRequest(model_name=contract.ensemble_name(release))
        try:
            await self._answer(self._link.bound.RepositoryModelUnload(request, timeout=_LOAD_S))
        except grpc.aio.AioRpcError as error:
            if error.code() in _UNREACHABLE:
                raise self._translated(error) from error

    async def _withdraw(self, release: int) -> None:
        """Leave nothing of a release that couldn't be loaded, as far as the server can be asked."""
        if (keeper := self._keeper) is None:
            return
        with contextlib.suppress(EnsembleUnavailable):
            await self._unload(release)
        try:
            await self._hide(keeper, release)
        except ReleaseRefused as error:  # why it couldn't be loaded is what people need
            _log.warning("release %d, which couldn't be loaded, can't be hidden from Triton: %s", release, error)

    async def _hide(self, keeper: Keeper, release: int) -> None:
        try:
            await asyncio.to_thread(keeper.hide, release)
        except Exception as error:
            raise ReleaseRefused(str(error)) from error

    def _translated(self, error: Any) -> EnsembleUnavailable | ReleaseRefused:
        said = " ".join((error.details() or "no details").partition("\n\nAt:")[0].split())  # a traceback follows there
        text = f"Triton at {self._address}: {self._link.explained(said)}"
        if error.code() is grpc.StatusCode.UNIMPLEMENTED or "not allowed" in said or "restricted" in said:
            return ControlOff(f"{text}; it lets nobody load models: have it load the release")
        return EnsembleUnavailable(text) if error.code() in _UNREACHABLE else ReleaseRefused(text)
