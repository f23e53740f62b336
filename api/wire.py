"""Batches as the bytes of Triton's ModelInfer messages (KServe v2 over gRPC, raw contents).

Requests are put together on the wire: of a serialised protobuf message, parts may simply follow each other
(protobuf.dev/programming-guides/encoding, "Last One Wins" and merging), so the constant part of each shape of batch is
serialised once and one join adds the rows' bytes. Filling a message and serialising it copies every tensor twice more:
5 times the cost at 64 x 128 candidates, 200 times at 64 x 1,024 (docs/architecture.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """Encodes batches for one model, asking for ``ranked_product_id`` alone unless told otherwise."""

    def __init__(self, model: str, outputs: Sequence[contract.TensorSpec] = (contract.RANKED_PRODUCT_ID,)) -> None:
        self._model = model
        self._outputs = outputs
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
                    service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=spec.name) for spec in self._outputs
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


def decode_explained(
    response: Any, rows: int, bucket: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The answer's ids [rows, bucket], scores [rows, bucket] and components [rows, bucket, 3], read-only.

    Raises:
        EnsembleUnavailable: it isn't what was asked for, or a product's score or component isn't a finite number.
    """
    sent = {
        output.name: (list(output.shape), output.datatype, data)
        for output, data in zip(response.outputs, response.raw_output_contents, strict=False)
    }
    wanted = {spec.name for spec in contract.ENSEMBLE_OUTPUTS}
    if sent.keys() != wanted or not len(response.outputs) == len(response.raw_output_contents) == len(wanted):
        raise EnsembleUnavailable(f"{response.model_name} answered {sorted(sent)} where an explanation was wanted")
    arrays: list[npt.NDArray[Any]] = []
    for spec in contract.ENSEMBLE_OUTPUTS:
        expected = [rows, *(bucket if size == contract.N else size for size in spec.dims)]
        shape, datatype, data = sent[spec.name]
        dtype = np.dtype(spec.dtype)
        if shape != expected or datatype != spec.wire_type or len(data) != math.prod(expected) * dtype.itemsize:
            raise EnsembleUnavailable(
                f"{response.model_name} answered {datatype}{shape} in {len(data)} bytes for {spec.name!r}, "
                f"not {spec.wire_type}{expected}"
            )
        arrays.append(np.frombuffer(data, dtype=dtype).reshape(expected))
    product_id, score, component = arrays
    shown = product_id != contract.PADDING
    if not (np.isfinite(score[shown]).all() and np.isfinite(component[shown]).all()):
        raise EnsembleUnavailable(f"{response.model_name} answered a score that isn't a finite number")
    return product_id, score, component


def _varint(number: int) -> bytes:
    """Protobuf's base-128 varint (protobuf.dev/programming-guides/encoding)."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
