from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ensemble import contract
from ensemble.releases.check.finding import Faults
from ensemble.releases.check.onnx_file import Fault, faults_of
from tests.conftest import REPOSITORY
from tests.unit.releases.check.made import FILTER, POOL, branched, constant, external, tiny

NAN = np.float32(np.nan)
Change = Callable[[onnx.ModelProto], None]


def faults(folder: Path, proto: onnx.ModelProto, name: str = "product_pool") -> list[Fault]:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return faults_of(path, name)


@pytest.mark.parametrize("spec", contract.ONNX_MODELS, ids=lambda spec: spec.name)
def test_the_committed_release_and_a_tiny_model_have_no_fault(spec: contract.ModelSpec, tmp_path: Path) -> None:
    assert faults_of(REPOSITORY / spec.name / "1" / "model.onnx", spec.name) == []
    assert faults(tmp_path, tiny(spec), spec.name) == []


def rename_output(proto: onnx.ModelProto) -> None:
    (node,) = [node for node in proto.graph.node if node.output[0] == "demand"]
    node.output[0] = proto.graph.output[0].name = "lift"


def fix_shape(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 64


def other_type(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def another_output(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))


def sick_weight(proto: onnx.ModelProto) -> None:
    tensor = next(t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.raw_data) > 64)
    tensor.raw_data = NAN.tobytes() + tensor.raw_data[4:]


def slow_weights(proto: onnx.ModelProto) -> None:
    tensor = next(t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.raw_data) > 64)
    tensor.raw_data = np.float32(1e-40).tobytes() * (len(tensor.raw_data) // 4)


def data_outside(proto: onnx.ModelProto) -> None:
    external(next(t for t in proto.graph.initializer if len(t.raw_data) > 64))


def own_operator(proto: onnx.ModelProto) -> None:
    proto.opset_import.append(helper.make_opsetid("shop.example", 1))
    proto.graph.node[0].domain = "shop.example"


def unheard_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Guess"


def newer_operators(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 21


def newer_format(proto: onnx.ModelProto) -> None:
    proto.ir_version = 11


def no_operators(proto: onnx.ModelProto) -> None:
    del proto.opset_import[:]


def function(proto: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    proto.functions.append(helper.make_function("", "Relu", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))


def training(proto: onnx.ModelProto) -> None:
    proto.training_info.add()


def dangling(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename_output, "has outputs lift FLOAT[?, ?], but the contract says demand FLOAT[?, ?]"),
        (fix_shape, "demand FLOAT[?, 64], but the contract says demand FLOAT[?, ?]"),
        (other_type, "product_id INT32[?, ?]"),
        (another_output, "more FLOAT[]"),
        (sick_weight, "aren't finite"),
        (slow_weights, "take up to a hundred times as long"),
        (data_outside, "keeps data outside of the file"),
        (own_operator, "domain shop.example"),
        (unheard_operator, "doesn't know: Guess"),
        (newer_operators, "operator sets [21]"),
        (newer_format, "IR version 11"),
        (no_operators, "operator sets []"),
        (function, "carries functions"),
        (training, "training information"),
        (dangling, "no valid ONNX model"),
    ],
)
def test_each_fault_of_the_committed_product_pool_is_named(change: Change, said: str, tmp_path: Path) -> None:
    proto = onnx.load(str(POOL))
    change(proto)
    found = faults(tmp_path, proto)
    assert any(said in fault.what for fault in found), found
    assert all(fault.remedy for fault in found)


@pytest.mark.parametrize(
    ("kind", "value", "count", "slow"),
    [
        (np.float32, 1e-40, 16, False),
        (np.float32, 1e-40, 17, True),
        (np.float64, 1e-40, 17, False),
        (np.float64, 1e-310, 17, True),
        (np.float16, 6e-8, 64, False),
    ],
)
def test_few_numbers_may_be_denormal_by_their_own_type(
    kind: type[np.floating], value: float, count: int, slow: bool, tmp_path: Path
) -> None:
    held = np.array([value] * count + [1.0] * (64 - count), kind)
    found = faults(tmp_path, branched(constant("sick_weight", held), as_node=False))
    assert any("take up to a hundred times as long" in fault.what for fault in found) is slow, found


def test_a_nan_in_a_branch_of_the_committed_filter_is_found(tmp_path: Path) -> None:
    proto = onnx.load(str(FILTER))
    (chosen,) = [node for node in proto.graph.node if node.op_type == "If"]
    chosen.attribute[0].g.initializer.append(constant("hidden", np.array([1.0, NAN, np.inf], np.float32)))
    (fault,) = faults(tmp_path, proto, "collaborative_filter")
    assert f"{chosen.name or 'If'}" in fault.what
    assert "hidden: 2 of 3" in fault.what


@pytest.mark.parametrize("as_node", [False, True])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_sick_numbers_in_branches_are_found_however_they_are_held(
    kind: type[np.floating], as_node: bool, tmp_path: Path
) -> None:
    value = np.array([np.inf], np.float32) if kind is np.float32 else np.array([np.nan], kind)
    found = faults(tmp_path, branched(constant("sick_weight", value), as_node=as_node))
    assert any("aren't finite" in fault.what and "then_branch" in fault.what for fault in found), found


@pytest.mark.parametrize("as_node", [False, True])
def test_data_outside_is_found_in_branches(as_node: bool, tmp_path: Path) -> None:
    found = faults(tmp_path, branched(external(constant("far", np.ones(4, np.float32))), as_node=as_node))
    assert any("outside of the file" in fault.what and fault.unservable for fault in found)


def test_data_outside_is_found_in_sparse_tensors_and_float_attributes_are_looked_at(tmp_path: Path) -> None:
    proto = tiny(contract.PRODUCT_POOL)
    values, indices = constant("v", np.ones(1, np.float32)), constant("i", np.zeros(1, np.int64))
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[4])
    proto.graph.sparse_initializer.append(sparse)
    external(proto.graph.sparse_initializer[0].values)
    assert any("outside of the file" in fault.what for fault in faults(tmp_path, proto))

    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Constant", [], ["c"], name="sick", value_float=float("nan")))
        nodes.append(helper.make_node("Add", ["blank", "c"], ["sum"]))
        return "sum"

    assert any("sick: 1 of" in fault.what for fault in faults(tmp_path, tiny(contract.PRODUCT_POOL, change)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_off_anywhere_is_refused(share: float, tmp_path: Path) -> None:
    content = POOL.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(share * len(content))])
    assert any(fault.unservable for fault in faults_of(path, "product_pool"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_no_byte_makes_it_raise_or_speak_to_the_terminal(place: float, value: int, tmp_path: Path) -> None:
    content = bytearray(tiny(contract.PRODUCT_POOL).SerializeToString())
    content[int(place * len(content))] = value
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    faults = Faults("onnx")
    for fault in faults_of(path, "product_pool"):
        faults.add("model.onnx", fault.what, fault.remedy)
    assert all(finding.line.isprintable() for finding in faults.found)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert [fault.unservable for fault in faults_of(tmp_path / "model.onnx", "product_pool")] == [True]
