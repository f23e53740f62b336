from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from api.errors import EnsembleUnavailable
from api.tensors import Batch, Candidates
from api.wire import RequestEncoder, decode, decode_explained
from ensemble import contract
from tests.unit.api.shelf import make_pool, make_row


@pytest.mark.parametrize("bucket", contract.BUCKETS)
@settings(max_examples=10, deadline=None)
@given(customers=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=64))
def test_the_joined_bytes_are_the_message_that_protobuf_would_make(bucket: int, customers: list[int]) -> None:
    candidates = Candidates.of(make_pool(bucket - 3))
    batch = Batch(tuple(make_row(customer, candidates) for customer in customers))
    message = service_pb2.ModelInferRequest(
        model_name="personalize_v3",
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(name=spec.name, datatype=spec.wire_type, shape=shape)
            for spec, shape in zip(contract.ENSEMBLE_INPUTS, batch.shapes(), strict=True)
        ],
        outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="ranked_product_id")],
        raw_input_contents=[tensor.tobytes() for tensor in batch.tensors().values()],
    )
    assert service_pb2.ModelInferRequest.FromString(RequestEncoder("personalize_v3").encode(batch)) == message


def response(**changes: object) -> object:
    fields = {"name": "ranked_product_id", "datatype": "INT64", "shape": [2, 64], "raw": bytes(2 * 64 * 8), **changes}
    raw = fields.pop("raw")
    output = service_pb2.ModelInferResponse.InferOutputTensor(**fields)
    return service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[raw])


def test_an_answer_is_decoded_by_rows() -> None:
    ids = np.arange(128, dtype=np.int64).reshape(2, 64)
    np.testing.assert_array_equal(decode(response(raw=ids.tobytes()), 2, 64), ids)


@pytest.mark.parametrize(
    "changes", [{"name": "score"}, {"datatype": "INT32"}, {"shape": [1, 64]}, {"raw": bytes(8)}], ids=str
)
def test_an_answer_that_isnt_what_was_asked_for_is_no_answer(changes: dict[str, object]) -> None:
    with pytest.raises(EnsembleUnavailable):
        decode(response(**changes), 2, 64)


def explained(**changes: tuple[str, list[int], bytes]) -> object:
    """An answer with three products in two rows, then padding."""
    ids, score = np.zeros((2, 64), np.int64), np.zeros((2, 64), np.float32)
    ids[:, :3], score[:, 3:] = [3, 1, 2], -np.inf
    sent = {
        "component": ("FP32", [2, 64, 3], np.ones((2, 64, 3), np.float32).tobytes()),
        "score": ("FP32", [2, 64], score.tobytes()),
        "ranked_product_id": ("INT64", [2, 64], ids.tobytes()),
        **changes,
    }
    outputs = [
        service_pb2.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
        for name, (datatype, shape, _) in sent.items()
    ]
    raw = [data for _, _, data in sent.values()]
    return service_pb2.ModelInferResponse(outputs=outputs, raw_output_contents=raw)


def test_an_explanation_is_decoded_whatever_the_order_of_its_tensors() -> None:
    product_id, score, component = decode_explained(explained(), 2, 64)
    assert product_id[1, :4].tolist() == [3, 1, 2, 0]
    assert score.shape == (2, 64)
    assert component.shape == (2, 64, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"score": ("INT32", [2, 64], bytes(512))},
        {"score": ("FP32", [2, 32], bytes(256))},
        {"score": ("FP32", [2, 64], bytes(8))},
        {"score": ("FP32", [2, 64], np.full((2, 64), np.nan, np.float32).tobytes())},
        {"component": ("FP32", [2, 64, 3], np.full((2, 64, 3), np.inf, np.float32).tobytes())},
        {"other": ("FP32", [2, 64], bytes(512))},
    ],
    ids=["type", "shape", "size", "not a number", "infinite", "one more"],
)
def test_an_explanation_that_isnt_what_was_asked_for_is_none(changes: dict[str, tuple[str, list[int], bytes]]) -> None:
    with pytest.raises(EnsembleUnavailable):
        decode_explained(explained(**changes), 2, 64)


def test_an_order_alone_is_no_explanation() -> None:
    with pytest.raises(EnsembleUnavailable):
        decode_explained(response(), 2, 64)
