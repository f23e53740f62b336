"""Whether a Triton really ranks: one inference of a tiny batch through a release's ensemble, on its own connection.

Triton's own readiness stays true with a dead model process and while the server hangs, so nothing less will do.
"""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ensemble import contract

CANDIDATES: Final[tuple[int, ...]] = (1, 2, 3, 4, 5, 6, 7, 8)
"""Products that the canary asks to be sorted. The models needn't know them: unknown ones are scored as new."""

_BUCKET: Final = contract.BUCKETS[0]
_CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own: another channel's state must not speak for it
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # in truth the time limit of one attempt
    ("grpc.max_reconnect_backoff_ms", 200),  # a server that is back is to be seen at once
)
_DEAD_STUB: Final = re.compile(r"Stub process '(?P<model>\w+?)_\d+_\d+' is not healthy")
_FULL: Final = re.compile("maximum queue size", re.IGNORECASE)
_NOT_LOADED: Final = re.compile("unknown model|not at ready state")
"""Triton may call these UNAVAILABLE, too; they are answers, not a broken connection."""


class Health(enum.Enum):
    """What a canary met."""

    HEALTHY = "healthy"
    UNREACHABLE = "unreachable"
    """No connection, or it broke."""
    TIMEOUT = "timeout"
    """No answer in time: the server hangs, or the machine is busy."""
    BUSY = "busy"
    """The server answers that it has too much to do."""
    FAILED = "failed"
    """The server answers with an error."""
    NONSENSE = "nonsense"
    """The answer isn't a ranking of what was asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A canary's result."""

    health: Health
    detail: str = ""
    """One line that says why not; empty where it is healthy."""
    took_s: float = 0.0
    model: str | None = None
    """The model whose process the server calls dead, where it says so."""

    @property
    def healthy(self) -> bool:
        """Whether a valid ranking came in time."""
        return self.health is Health.HEALTHY


@dataclass(frozen=True, slots=True)
class Tls:
    """What a canary needs for TLS, in PEM."""

    ca: bytes
    """The authority that signed the server's certificate."""
    cert: bytes | None = None
    """The canary's own, where the server asks for one, with its key."""
    key: bytes | None = None
    name: str | None = None
    """The name that the server's certificate holds, where that isn't its address'."""


class Canary:
    """Asks one Triton, again and again, over one connection. ``check`` is for one thread; ``close`` for any."""

    def __init__(
        self, address: str, release: int, *, tls: Tls | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Connects with the first check.

        Args:
            address: ``host:port`` of Triton's gRPC endpoint.
            release: number of the release whose ensemble ranks.
            tls: how TLS is spoken; None for none.
            clock: measures how long a check took, in seconds.
        """
        self._address = address
        self._request = request(release)
        self._clock = clock
        if tls is None:
            self._channel = grpc.insecure_channel(address, _CHANNEL_OPTIONS)
        else:
            name = () if tls.name is None else (("grpc.ssl_target_name_override", tls.name),)
            self._channel = grpc.secure_channel(
                address, grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert), (*_CHANNEL_OPTIONS, *name)
            )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def check(self, timeout_s: float) -> Verdict:
        """One inference of a newcomer's eight products; never raises for what the server does."""
        started = self._clock()
        try:
            response = self._stub.ModelInfer(self._request, timeout=timeout_s)
        except grpc.RpcError as error:
            health, detail = self._translated(error, timeout_s)
            found = _DEAD_STUB.search(detail)
            return Verdict(health, detail, self._clock() - started, found["model"] if found else None)
        except ValueError:  # gRPC's way to say that the channel is closed
            return Verdict(Health.UNREACHABLE, "the canary is closed")
        took = self._clock() - started
        if wrong := fault(response):
            return Verdict(Health.NONSENSE, f"Triton at {self._address}: {wrong}", took)
        return Verdict(Health.HEALTHY, took_s=took)

    def follow(self, release: int) -> None:
        """Ask another release from the next check on; from any thread."""
        self._request = request(release)

    def close(self) -> None:
        """Close the connection; a check under way ends at once."""
        self._channel.close()

    def _translated(self, error: Any, timeout_s: float) -> tuple[Health, str]:
        code = error.code()
        said = " ".join((error.details() or "no details").split())
        detail = f"Triton at {self._address}: {said}"
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Health.TIMEOUT, f"Triton at {self._address}: no answer within {timeout_s * 1e3:.0f} ms"
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED or _FULL.search(said):
            return Health.BUSY, detail
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED} and not _NOT_LOADED.search(said):
            return Health.UNREACHABLE, detail
        return Health.FAILED, detail


def request(release: int) -> Any:
    """The canary's ModelInferRequest: one row of the smallest bucket, an anonymous customer, eight products."""
    message = service_pb2.ModelInferRequest(model_name=contract.ensemble_name(release))
    message.outputs.add(name=contract.RANKED_PRODUCT_ID.name)
    for spec in contract.ENSEMBLE_INPUTS:
        shape = (1, *(_BUCKET if size == contract.N else size for size in spec.dims))
        message.inputs.add(name=spec.name, datatype=spec.wire_type, shape=shape)
        tensor = np.zeros(shape, spec.dtype)
        if spec is contract.PRODUCT_ID:
            tensor[0, : len(CANDIDATES)] = CANDIDATES
        message.raw_input_contents.append(tensor.tobytes())
    return message


def fault(response: Any) -> str:
    """What is wrong with a ModelInferResponse, in a few words; empty where it ranks the canary's products."""
    outputs, raw = response.outputs, response.raw_output_contents
    if [output.name for output in outputs] != [contract.RANKED_PRODUCT_ID.name] or len(raw) != 1:
        return f"it answered {[output.name for output in outputs]}, not [{contract.RANKED_PRODUCT_ID.name!r}]"
    shape, datatype = list(outputs[0].shape), outputs[0].datatype
    if shape != [1, _BUCKET] or datatype != contract.RANKED_PRODUCT_ID.wire_type or len(raw[0]) != _BUCKET * 8:
        return f"it answered {datatype}{shape} in {len(raw[0])} bytes, not INT64[1, {_BUCKET}]"
    answer = np.frombuffer(raw[0], dtype=contract.RANKED_PRODUCT_ID.dtype)
    ranked, padding = answer[: len(CANDIDATES)], answer[len(CANDIDATES) :]
    if sorted(ranked.tolist()) != list(CANDIDATES) or (padding != contract.PADDING).any():
        return f"it ranked {ranked.tolist()}, which isn't an order of {list(CANDIDATES)}"
    return ""
