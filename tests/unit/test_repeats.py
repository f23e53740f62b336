"""Rows that repeat are computed once, and nobody can tell."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ensemble.repeats import once_per_run


def model() -> onnx.ModelProto:
    """Of a row: ids + its weights' sum + its moment, [B, N]; and how many rows it was asked for, [B, 1]."""
    values = [
        helper.make_tensor_value_info("id", TensorProto.INT64, ["B", "N"]),
        helper.make_tensor_value_info("weight", TensorProto.FLOAT, ["B", "N", 2]),
        helper.make_tensor_value_info("context", TensorProto.FLOAT, ["B", 2]),
    ]
    nodes = [
        helper.make_node("Cast", ["id"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["weight", "last"], ["sum"], keepdims=0),
        helper.make_node("Add", ["number", "sum"], ["both"]),
        helper.make_node("Slice", ["context", "zero", "one", "one"], ["moment"]),
        helper.make_node("Add", ["both", "moment"], ["said"]),
        helper.make_node("Shape", ["id"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["asked_for"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["moment", "nothing"], ["blank"]),
        helper.make_node("Add", ["blank", "asked_for"], ["asked"]),
    ]
    constants = {
        "last": np.array([2]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "nothing": np.array([0], np.float32),
    }
    outputs = [
        helper.make_tensor_value_info("said", TensorProto.FLOAT, ["B", "N"]),
        helper.make_tensor_value_info("asked", TensorProto.FLOAT, ["B", 1]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "made", values, outputs, tensors), opset_imports=[helper.make_opsetid("", 18)]
    )
    made.ir_version = 9
    onnx.checker.check_model(made)
    return made


@pytest.fixture(scope="module")
def plain() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model().SerializeToString())


@pytest.fixture(scope="module")
def once() -> onnxruntime.InferenceSession:
    made = once_per_run(model(), {"context": 1})
    onnx.checker.check_model(made)
    return onnxruntime.InferenceSession(made.SerializeToString())


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_every_row_is_answered_as_by_itself_and_each_run_once(
    data: st.DataObject, plain: onnxruntime.InferenceSession, once: onnxruntime.InferenceSession
) -> None:
    columns = data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ids, weights = rng.integers(0, 3, (3, columns)), rng.random((3, columns, 2)).astype(np.float32)
    which = np.array(data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=12)))
    moments = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(which), max_size=len(which))), np.float32)
    context = np.stack((moments, rng.random(len(which)).astype(np.float32)), 1)  # the second is of no matter
    asked = {"id": ids[which], "weight": weights[which], "context": context}
    (said, _), (told, rows) = plain.run(None, asked), once.run(None, asked)
    np.testing.assert_array_equal(told, said)
    rows_of = [(ids[w].tobytes(), weights[w].tobytes(), float(m)) for w, m in zip(which, moments, strict=True)]
    runs = 1 + sum(one != other for one, other in zip(rows_of[1:], rows_of[:-1], strict=True))
    assert set(rows.ravel().tolist()) == {runs}


def test_a_row_that_isnt_a_number_is_like_no_other(
    plain: onnxruntime.InferenceSession, once: onnxruntime.InferenceSession
) -> None:
    asked = {
        "id": np.zeros((3, 2), np.int64),
        "weight": np.full((3, 2, 2), np.nan, np.float32),
        "context": np.zeros((3, 2), np.float32),
    }
    said, rows = once.run(None, asked)
    np.testing.assert_array_equal(said, plain.run(None, asked)[0])
    assert rows.ravel().tolist() == [3, 3, 3]


def test_an_input_that_isnt_there_is_named() -> None:
    with pytest.raises(ValueError, match="no input 'moment'"):
        once_per_run(model(), {"moment": 1})


def test_a_nested_graph_is_refused() -> None:
    made = model()
    inner = helper.make_graph([], "inner", [], [])
    made.graph.node.append(helper.make_node("If", ["flag"], [], then_branch=inner, else_branch=inner))
    with pytest.raises(ValueError, match="If has a graph of its own"):
        once_per_run(made, {})


@pytest.mark.parametrize("name", ["id", "weight", "context"])
def test_any_input_makes_a_row_another(name: str, once: onnxruntime.InferenceSession) -> None:
    asked = {
        "id": np.zeros((2, 3), np.int64),
        "weight": np.zeros((2, 3, 2), np.float32),
        "context": np.zeros((2, 2), np.float32),
    }
    assert once.run(None, asked)[1].ravel().tolist() == [1, 1]
    asked[name].reshape(2, -1)[1, 0] = 1
    assert once.run(None, asked)[1].ravel().tolist() == [2, 2]
