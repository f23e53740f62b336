"""A channel to Triton: plain, or over TLS with certificates that are followed when their files are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import grpc

from api.errors import EnsembleUnavailable
from api.tls_files import Pems
from api.tls_follower import TlsFollower

_CONNECT_S: Final = 5.0
"""A channel with other certificates has so long to connect; a handshake takes milliseconds."""
_MARGIN_S: Final = 1.0
"""How much longer a replaced channel stays than its calls may take, so that their own limit ends the last ones."""
_LIVE: Final = "/inference.GRPCInferenceService/ServerLive"

_REMEDIES: Final = (
    ("Hostname Verification", "its certificate isn't for that name: set RACKSORT_TRITON_TLS_NAME to one that it holds"),
    ("certificate has expired", "its certificate has expired: have a new one issued, and restart it"),
    ("CERTIFICATE_VERIFY_FAILED", "RACKSORT_TRITON_TLS_CA's authority hasn't signed its certificate"),
    ("WRONG_VERSION_NUMBER", "it speaks no TLS: start it with --grpc-use-ssl=true, or unset RACKSORT_TRITON_TLS_CA"),
)

T = TypeVar("T")


def refuse_closed(address: str) -> None:
    """Tell a call that gRPC has cancelled because its channel was closed from a task that was asked to end.

    gRPC raises CancelledError for both. A task that nobody has cancelled would vanish without a word with it, so this
    must be called where one is caught.

    Raises:
        EnsembleUnavailable: the channel was closed.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        raise EnsembleUnavailable(f"Triton at {address}: the connection was closed under the call")


class TritonLink(Generic[T]):
    """One channel at a time, and what was made for it.

    gRPC's Python client takes certificates once for each channel. So a channel is replaced when the files are: the new
    one connects first, then new calls go over it, and those under way end on the old one.
    """

    def __init__(
        self,
        address: str,
        tls: TlsFollower | None,
        options: Sequence[tuple[str, object]],
        bind: Callable[[Any], T],
        *,
        longest_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Open the channel; it connects with the first call, so this must run in the event loop.

        Args:
            address: ``host:port`` of Triton's gRPC endpoint.
            tls: follows its files; None for no TLS.
            options: the channel's.
            bind: makes of a channel what it is used by.
            longest_s: time limit of the longest call: so long the channel before stays when it is replaced.
            sleep: waits so many seconds.
        """
        self._address = address
        self._tls = tls
        self._options = (*options, *_name_of(tls))
        self._bind = bind
        self._longest_s = longest_s
        self._sleep = sleep
        self._closed = False
        self._replaced: dict[asyncio.Task[None], Any] = {}
        """Channels whose calls may be under way yet, by what will close them."""
        self._pems = None if tls is None else tls.pems
        self._channel = self._open(self._pems)
        self.bound = bind(self._channel)
        """What ``bind`` made of the channel that calls should go over now; ask for it anew with each call."""
        if tls is not None:
            tls.join(self)

    async def take(self, pems: Pems) -> str:
        """Go over to other certificates, if Triton can be reached with them; else why not, as one line."""
        if pems == self._pems:
            return ""
        channel = self._open(pems)
        try:
            why = await self._refusal(channel)
            if not why and not self._closed:
                self._replace(channel, pems)
        finally:
            if channel is not self._channel:
                await channel.close()
        return why

    async def close(self) -> None:
        """Close the channel; calls in flight fail."""
        if self._closed:
            return
        self._closed = True
        if self._tls is not None:
            await self._tls.leave(self)
        replaced = dict(self._replaced)
        for closing in replaced:
            closing.cancel()
        if replaced:
            await asyncio.wait(replaced)
        for channel in (*replaced.values(), self._channel):
            await channel.close()

    def explained(self, said: str) -> str:
        """What gRPC says of a broken connection, with what a person can do where it is TLS."""
        for mark, remedy in _REMEDIES:
            if mark in said:
                return f"TLS failed: {remedy}"
        # A server that dies under a call closes its socket, too; the last error is one of connecting.
        if not ("last error" in said and "Socket closed" in said):
            return said
        if self._tls is None:
            return f"{said} (if it speaks TLS, set RACKSORT_TRITON_TLS_CA)"
        return f"{said} (it may want a certificate that it trusts: RACKSORT_TRITON_TLS_CERT and _KEY)"

    async def _refusal(self, channel: Any) -> str:
        """Why a new channel can't connect; empty where it has."""
        try:
            # A call tells why it can't be made; the channel's state wouldn't.
            await channel.unary_unary(_LIVE)(b"", timeout=_CONNECT_S)
        except grpc.aio.AioRpcError as error:
            if channel.get_state() is not grpc.ChannelConnectivity.READY:  # else it is the server that refuses
                return self.explained((error.details() or error.code().name).splitlines()[0])
        return ""

    def _replace(self, channel: Any, pems: Pems) -> None:
        closing = asyncio.create_task(self._close_later(self._channel), name="close a replaced channel to Triton")
        self._replaced[closing] = self._channel
        closing.add_done_callback(self._replaced.pop)
        self._channel, self._pems = channel, pems
        self.bound = self._bind(channel)

    async def _close_later(self, channel: Any) -> None:
        await self._sleep(self._longest_s + _MARGIN_S)
        await channel.close()

    def _open(self, pems: Pems | None) -> Any:
        if pems is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        credentials = grpc.ssl_channel_credentials(pems.ca, pems.key, pems.cert)
        return grpc.aio.secure_channel(self._address, credentials, options=self._options)


def _name_of(tls: TlsFollower | None) -> tuple[tuple[str, object], ...]:
    return () if tls is None or tls.name is None else (("grpc.ssl_target_name_override", tls.name),)
