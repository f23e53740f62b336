"""The way to the models: what the adapter asks of an ensemble, and Triton behind it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from api.errors import EnsembleError, EnsembleRejected, EnsembleTimeout, EnsembleUnavailable
from api.tensors import Batch
from api.tls_follower import TlsFollower
from api.triton_link import TritonLink, refuse_closed
from api.wire import RequestEncoder, decode, decode_explained
from ensemble import contract

_MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes. The largest batch is about 2 MiB, its answer 0.5 MiB; gRPC's own limit of 4 MiB would leave little room."""

_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_CONFIG: Final = "/inference.GRPCInferenceService/ModelConfig"

_LAST_DAY: Final = 100_000
"""In 2243."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.primary_user_agent", "racksort"),
    # Triton is a neighbour: http_proxy in the environment is meant for the way out, and would take loopback along too.
    ("grpc.enable_http_proxy", 0),
    # One connection lives for months: a peer that vanished without a word is noticed within 15 s, idle or not.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's default waits up to two minutes between attempts; Triton is back within seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # in truth the time limit of one attempt: a busy server needs some
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.lb_policy_name", "round_robin"),  # spreads over all addresses of a headless service
    # An address that has gone or come is found with the next connection that ends; the default keeps names for 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A batch's answer."""

    product_id: npt.NDArray[np.int64]
    """[B, N], best first; padding and excluded candidates come last as ``contract.PADDING``."""
    release: str
    """Name of the ensemble that made it."""


@dataclass(frozen=True, slots=True, eq=False)
class Explained(Ranked):
    """A batch's answer with what made its order; padding and excluded candidates have no meaning in the arrays."""

    score: npt.NDArray[np.float32]
    """[B, N], in the order of ``product_id``: the blend before the ranking's own rules, so that it needn't fall."""
    component: npt.NDArray[np.float32]
    """[B, N, 3], the same: what each of ``contract.COMPONENTS`` adds to the score."""


class Ensemble(Protocol):
    """Ranks batches. The contract suite (tests/contract) holds for every implementation."""

    async def rank(self, batch: Batch) -> Ranked:
        """Sort each row's candidates for its customer.

        Raises:
            api.errors.EnsembleRejected: the arguments are invalid; one row may be the cause.
            api.errors.EnsembleTimeout: no answer within the call's time limit.
            api.errors.EnsembleUnavailable: no valid answer.
        """
        ...

    async def explain(self, batch: Batch) -> Explained:
        """The same order as :meth:`rank`, with scores and components. Costs more: for single rows.

        Raises:
            As :meth:`rank` does.
        """
        ...

    async def history_until_day(self) -> float | None:
        """The moment that the release's tables end, as days since 1970-01-01 UTC; None where it isn't known.

        Raises:
            api.errors.EnsembleTimeout: no answer within the call's time limit.
            api.errors.EnsembleUnavailable: no valid answer.
        """
        ...

    async def close(self) -> None:
        """Release what the client holds."""
        ...


class _Calls:
    """The calls of a channel."""

    def __init__(self, channel: Any) -> None:
        self.infer = channel.unary_unary(
            _INFER, request_serializer=None, response_deserializer=service_pb2.ModelInferResponse.FromString
        )
        self.config = channel.unary_unary(
            _CONFIG,
            request_serializer=service_pb2.ModelConfigRequest.SerializeToString,
            response_deserializer=service_pb2.ModelConfigResponse.FromString,
        )


class TritonEnsemble:
    """A release's ensemble on a Triton server, over one gRPC channel.

    Asks for ``ranked_product_id`` alone where no explanation is wanted.
    """

    def __init__(self, address: str, release: int, *, timeout_s: float, tls: TlsFollower | None = None) -> None:
        """Open the channel; it connects with the first call, so this must run in the event loop.

        Args:
            address: ``host:port`` of Triton's gRPC endpoint.
            release: number of the release to ask for.
            timeout_s: time limit of one call. It only frees the call slot of a server that hangs, so it should be
                far above the slowest healthy call: short ones cancel in bulk, which Triton has crashed on.
            tls: follows the files of TLS; None for none.
        """
        self._address = address
        self._model = contract.ensemble_name(release)
        self._timeout = timeout_s
        self._link = TritonLink(address, tls, _CHANNEL_OPTIONS, _Calls, longest_s=timeout_s)
        self._wire = RequestEncoder(self._model)
        self._explaining_wire = RequestEncoder(self._model, contract.ENSEMBLE_OUTPUTS)

    async def rank(self, batch: Batch) -> Ranked:
        """One ModelInfer call; see :class:`Ensemble`."""
        response = await self._answer(self._wire.encode(batch), batch.metadata)
        return Ranked(decode(response, len(batch.rows), batch.bucket), self._model)

    async def explain(self, batch: Batch) -> Explained:
        """One ModelInfer call; see :class:`Ensemble`."""
        response = await self._answer(self._explaining_wire.encode(batch), batch.metadata)
        product_id, score, component = decode_explained(response, len(batch.rows), batch.bucket)
        return Explained(product_id, self._model, score, component)

    async def _answer(self, request: bytes, metadata: tuple[tuple[str, str], ...]) -> Any:
        try:
            response = await self._link.bound.infer(request, timeout=self._timeout, metadata=metadata or None)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        except asyncio.CancelledError:
            refuse_closed(self._address)
            raise
        if response.model_name != self._model:  # the page would name a release that didn't make it
            raise EnsembleUnavailable(f"{response.model_name!r} answered for {self._model}")
        return response

    async def history_until_day(self) -> float | None:
        """The parameter ``contract.HISTORY_UNTIL_DAY`` of the release's configuration, where it has one."""
        try:
            response = await self._link.bound.config(
                service_pb2.ModelConfigRequest(name=self._model), timeout=self._timeout
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # an extension of Triton's to the protocol
                return None
            raise self._translated(error) from error
        except asyncio.CancelledError:
            refuse_closed(self._address)
            raise
        parameters = response.config.parameters
        if contract.HISTORY_UNTIL_DAY not in parameters:
            return None
        text = parameters[contract.HISTORY_UNTIL_DAY].string_value
        try:
            day = float(text)
        except ValueError:
            day = math.nan
        if not 0 <= day <= _LAST_DAY:
            raise EnsembleUnavailable(
                f"{self._model}: its parameter {contract.HISTORY_UNTIL_DAY} is {text!r}, not a day since 1970; "
                "write its configuration again"
            )
        return day

    async def close(self) -> None:
        """Close the channel; calls in flight fail."""
        await self._link.close()

    def _translated(self, error: grpc.aio.AioRpcError) -> EnsembleError:
        code = error.code()
        said = (error.details() or "no details").splitlines()[0]
        if code is grpc.StatusCode.UNAVAILABLE:
            said = self._link.explained(said)
        text = f"Triton at {self._address}: {code.name}: {said}"
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return EnsembleRejected(text)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return EnsembleTimeout(text)
        return EnsembleUnavailable(text)
