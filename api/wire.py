"""Batches as the bytes of Triton's ModelInfer messages (KServe v2 over gRPC, raw contents).

Requests are put together on the wire: of a serialised protobuf message, parts may simply follow each other
(protobuf.dev/programming-guides/encoding, "Last One Wins" and merging), so the constant part of each shape of batch is
serialised once and one join adds the rows' bytes. Filling a message and serialising it copies every tensor twice more:
5 times the cost at 64 x 128 candidates, 200 times at 64 x 1,024 (docs/architecture.md).
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from api.errors import EnsembleUnavailable
from api.tensors import Batch, shapes
from ensemble import contract

_RAW_INPUT_TAG: Final = bytes(
    [service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2]
)
"""The field's number and wire type 2, length-delimited."""


class RequestEncoder:
    """Encodes batches for one model, asking for ``ranked_product_id`` alone."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._envelopes: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def encode(self, batch: Batch) -> bytes:
        """The serialised ModelInferRequest."""
        envelopes = self._envelope(len(batch.rows), batch.bucket)
        tensors = batch.parts()
        return b"".join(
            chain.from_iterable(chain((envelope,), tensor) for envelope, tensor in zip(envelopes, tensors, strict=True))
        )

    def _envelope(self, rows: int, bucket: int) -> tuple[bytes, ...]:
        """What stands before each tensor's bytes in a request of this shape; before the first, the head as well.

        At most 64 x 5 shapes exist, half a kilobyte each.
        """
        envelope = self._envelopes.get((rows, bucket))
        if envelope is None:
            dimensions = shapes(rows, bucket)
            head = service_pb2.ModelInferRequest(
                model_name=self._model,
                inputs=[
                    service_pb2.ModelInferRequest.InferInputTensor(name=spec.name, datatype=spec.wire_type, shape=shape)
                    for spec, shape in zip(contract.ENSEMBLE_INPUTS, dimensions, strict=True)
                ],
                outputs=[
                    service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=contract.RANKED_PRODUCT_ID.name)
                ],
            ).SerializeToString()
            sizes = [
                math.prod(shape) * np.dtype(spec.dtype).itemsize
                for spec, shape in zip(contract.ENSEMBLE_INPUTS, dimensions, strict=True)
            ]
            first, *others = (_RAW_INPUT_TAG + _varint(size) for size in sizes)
            envelope = self._envelopes[rows, bucket] = (head + first, *others)
        return envelope


def decode(response: Any, rows: int, bucket: int) -> npt.NDArray[np.int64]:
    """The answer's ``ranked_product_id`` as a read-only [rows, bucket] view on the message's bytes.

    Raises:
        EnsembleUnavailable: it isn't what was asked for.
    """
    outputs, raw = response.outputs, response.raw_output_contents
    if len(outputs) != 1 or len(raw) != 1 or outputs[0].name != contract.RANKED_PRODUCT_ID.name:
        names = [output.name for output in outputs]
        raise EnsembleUnavailable(f"{response.model_name} answered {names}, not [{contract.RANKED_PRODUCT_ID.name!r}]")
    shape, datatype, data = list(outputs[0].shape), outputs[0].datatype, raw[0]
    if shape != [rows, bucket] or datatype != contract.RANKED_PRODUCT_ID.wire_type or len(data) != rows * bucket * 8:
        raise EnsembleUnavailable(
            f"{response.model_name} answered {datatype}{shape} in {len(data)} bytes, not INT64{[rows, bucket]}"
        )
    return np.frombuffer(data, dtype=np.int64).reshape(rows, bucket)


def _varint(number: int) -> bytes:
    """Protobuf's base-128 varint (protobuf.dev/programming-guides/encoding)."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
