from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from api.errors import EnsembleUnavailable
from api.tensors import Batch, Candidates
from api.wire import RequestEncoder, decode
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
