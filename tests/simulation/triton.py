"""A Triton at the other end of the real client's channel: bytes in, messages or gRPC errors out, by schedule."""

from __future__ import annotations

import asyncio
import math
import random
from functools import lru_cache
from typing import Any, Final

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from api.ensemble_client import TritonEnsemble
from api.wire import RequestEncoder
from ensemble import contract
from tests.fakes.ensemble import fake_order
from tests.simulation.faults import Fault, Phase, Schedule
from tests.simulation.virtual_loop import VirtualTimeLoop

_REFUSED_S: Final = 0.0005
_ERRORS: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
)
POISON: Final = 9
"""While it fails, batches with a customer whose id it divides may be called invalid."""
_LIES: Final = ("repeated", "unknown", "hole", "foreign", "shape", "type", "cut", "name", "none", "release")


class Capacity:
    """What a call takes: a fixed part and one for each row, on cores that work at one call at a time."""

    def __init__(self, fixed_s: float, row_s: float, jitter: float) -> None:
        self.fixed_s: Final = fixed_s
        self.row_s: Final = row_s
        self.jitter: Final = jitter
        """Standard deviation of the logarithm of a call's time."""

    def work(self, rows: int) -> float:
        """Mean seconds of a call."""
        return self.fixed_s + self.row_s * rows

    @property
    def rows_a_second(self) -> float:
        """With full batches."""
        return contract.MAX_BATCH_SIZE / self.work(contract.MAX_BATCH_SIZE)


class Triton:
    """The server."""

    def __init__(self, loop: VirtualTimeLoop, schedule: Schedule, capacity: Capacity, rng: random.Random) -> None:
        """Idle.

        Args:
            loop: whose time it lives in; it begins now.
            schedule: what goes wrong, and when.
            capacity: how fast it is while it is well.
            rng: draws times and mistakes.
        """
        self._loop = loop
        self._began = loop.time()
        self._schedule = schedule
        self._capacity = capacity
        self._rng = rng
        self._free_at = 0.0
        self.in_flight = 0
        for phase in schedule.phases:
            if phase.fault is Fault.DOWN and phase.share == 1.0:
                loop.call_at(self._began + phase.start, self._crash)
        self._down = asyncio.Event()

    def _crash(self) -> None:
        """What is under way is cut off, and the queue is forgotten."""
        self._free_at = 0.0
        self._down.set()
        self._down = asyncio.Event()

    async def infer(
        self,
        request: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - gRPC's own interface
        metadata: Metadata | None,  # noqa: ARG002 - the same
    ) -> Any:
        """One ModelInfer call."""
        self.in_flight += 1
        try:
            return await asyncio.wait_for(self._infer(request), timeout)
        except TimeoutError:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED) from None
        finally:
            self.in_flight -= 1

    async def config(self, _request: object, *, timeout: float) -> Any:  # noqa: ASYNC109, ARG002 - gRPC's own interface
        """A configuration without parameters."""
        await asyncio.sleep(_REFUSED_S)
        return service_pb2.ModelConfigResponse()

    async def _infer(self, request: bytes) -> Any:
        phase, rng = self._schedule.at(self._loop.time() - self._began), self._rng
        fault = phase.fault if phase is not None and rng.random() < phase.share else None
        if fault is Fault.DOWN:
            await asyncio.sleep(_REFUSED_S)
            raise _error(grpc.StatusCode.UNAVAILABLE)
        if fault is Fault.HANGING:
            await asyncio.Event().wait()
        asked = service_pb2.ModelInferRequest.FromString(request)
        rows = asked.inputs[0].shape[0]
        jitter = self._capacity.jitter
        now = self._loop.time()
        work = self._capacity.work(rows) * math.exp(rng.gauss(-(jitter**2) / 2, jitter))
        self._free_at = self._ends(max(now, self._free_at), work, phase if fault is Fault.SLOW else None)
        await self._or_crash(self._free_at - now)
        customers = np.frombuffer(asked.raw_input_contents[0], np.int64)
        if fault is Fault.FAILING:
            if rng.random() < 0.5:
                raise _error(rng.choice(_ERRORS))
            if (customers % POISON == 0).any():
                raise _error(grpc.StatusCode.INVALID_ARGUMENT)
        response = _ranked(asked, rows, customers)
        if fault is Fault.LYING:
            _lie(response, rows, rng)
        return response

    def _ends(self, start: float, work: float, slow: Phase | None) -> float:
        """When a call is done that begins at ``start``; what is left of it after a slow phase goes as fast as ever."""
        if slow is None:
            return start + work
        slowly = min(work, max(0.0, self._began + slow.end - start) / slow.factor)
        return start + slowly * slow.factor + work - slowly

    async def _or_crash(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._down.wait(), seconds)
        except TimeoutError:
            return
        raise _error(grpc.StatusCode.UNAVAILABLE)


Metadata = tuple[tuple[str, str], ...]


class _Link:
    """Where the real client has a channel."""

    def __init__(self, server: Triton) -> None:
        self.bound = server

    def explained(self, said: str) -> str:
        """There is no TLS that could explain it."""
        return said


class SimulatedEnsemble(TritonEnsemble):
    """The real client on a channel to a simulated server: requests are encoded and answers checked as ever."""

    def __init__(self, server: Triton, *, timeout_s: float) -> None:
        """Without the real one's channel."""
        self._address = "triton:8001"
        self._model = contract.ensemble_name(1)
        self._timeout = timeout_s
        self._link = _Link(server)  # type: ignore[assignment]  # all of a link that calls need
        self._wire = RequestEncoder(self._model)
        self._explaining_wire = RequestEncoder(self._model, contract.ENSEMBLE_OUTPUTS)
        self.closed = False

    async def close(self) -> None:
        """There is no channel."""
        self.closed = True


@lru_cache(4_096)
def order(customer: int, product_id: bytes, boost: bytes) -> bytes:
    """:func:`fake_order` of the arrays' bytes."""
    return fake_order(customer, np.frombuffer(product_id, np.int64), np.frombuffer(boost, np.float32)).tobytes()


def _ranked(asked: Any, rows: int, customers: npt.NDArray[np.int64]) -> Any:
    names = [tensor.name for tensor in asked.inputs]
    raw = asked.raw_input_contents
    products, boosts = raw[names.index(contract.PRODUCT_ID.name)], raw[names.index(contract.BOOST.name)]
    bucket = len(products) // (8 * rows)
    ordered = b"".join(
        order(
            customer, products[at * bucket * 8 : (at + 1) * bucket * 8], boosts[at * bucket * 4 : (at + 1) * bucket * 4]
        )
        for at, customer in enumerate(customers.tolist())
    )
    return _response(asked.model_name, "INT64", [rows, bucket], ordered)


def _response(model: str, datatype: str, shape: list[int], raw: bytes) -> Any:
    output = service_pb2.ModelInferResponse.InferOutputTensor(
        name=contract.RANKED_PRODUCT_ID.name, datatype=datatype, shape=shape
    )
    return service_pb2.ModelInferResponse(model_name=model, outputs=[output], raw_output_contents=[raw])


def _lie(response: Any, rows: int, rng: random.Random) -> None:  # noqa: C901 - a list of lies
    """Spoil an answer in a way that can be noticed."""
    kind = rng.choice(_LIES)
    output = response.outputs[0]
    ids = np.frombuffer(response.raw_output_contents[0], np.int64).reshape(rows, -1).copy()
    row = ids[rng.randrange(rows)]
    count = int((row != contract.PADDING).sum())
    if (kind == "repeated" and count < 2) or (kind == "hole" and not 0 < count < row.size):
        kind = "none"
    match kind:
        case "repeated":
            row[count - 1] = row[0]
        case "unknown" if count:
            row[rng.randrange(count)] = 2**40
        case "hole":
            row[count - 1 : count + 1] = row[count - 1 : count + 1][::-1]
        case "foreign":
            row[:] = np.where(row == contract.PADDING, row, row + 1)
        case "shape":
            del output.shape[:]
            output.shape.extend([rows + 1, ids.shape[1]])
        case "type":
            output.datatype = "FP32"
        case "cut":
            response.raw_output_contents[0] = response.raw_output_contents[0][:-8]
            return
        case "name":
            output.name = "score"
        case "release":
            response.model_name = contract.ensemble_name(2)
            row[:count] = row[:count][::-1]
        case _:
            del response.outputs[:]
            del response.raw_output_contents[:]
            return
    response.raw_output_contents[0] = ids.tobytes()


def _error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, "simulated")
