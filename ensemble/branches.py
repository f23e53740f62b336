"""Two graphs of one signature as the branches of one ``If``, with their tables in common."""

from __future__ import annotations

import hashlib

import onnx
from onnx import TensorProto, helper


def choose(name: str, where_any: onnx.ModelProto, where_none: onnx.ModelProto) -> onnx.ModelProto:
    """One model that runs ``where_any`` if input ``name`` (integers) holds anything but zeros, else ``where_none``.

    Initializers of equal content are stored once, outside of the branches.

    Args:
        name: an input of both.
        where_any: a model without functions or nested graphs.
        where_none: another with the same inputs and outputs.
    """
    tables: dict[str, onnx.TensorProto] = {}
    branches = [_branch(where_any, "any", tables), _branch(where_none, "none", tables)]
    condition = [
        helper.make_node("Cast", [name], ["is_set"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["is_set"], ["is_set_number"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["is_set_number"], ["any_number"], keepdims=0),
        helper.make_node("Cast", ["any_number"], ["any"], to=TensorProto.BOOL),
    ]
    outputs = list(where_any.graph.output)
    chosen = helper.make_node(
        "If", ["any"], [value.name for value in outputs], then_branch=branches[0], else_branch=branches[1]
    )
    graph = helper.make_graph(
        [*condition, chosen], where_any.graph.name, list(where_any.graph.input), outputs, list(tables.values())
    )
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=list(where_any.opset_import))
    made.producer_name, made.producer_version = where_any.producer_name, where_any.producer_version
    return made


def _branch(proto: onnx.ModelProto, prefix: str, tables: dict[str, onnx.TensorProto]) -> onnx.GraphProto:
    """The model's graph as a branch: its values get a prefix, its initializers move to ``tables`` by content."""
    graph = proto.graph
    renamed = {value.name: value.name for value in graph.input}
    for tensor in graph.initializer:
        content = onnx.TensorProto()
        content.CopyFrom(tensor)
        content.ClearField("name")
        content.name = f"table_{hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()[:16]}"
        tables.setdefault(content.name, content)
        renamed[tensor.name] = content.name

    def rename(name: str) -> str:
        return renamed.get(name, f"{prefix}/{name}") if name else name

    nodes = []
    for node in graph.node:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.name = f"{prefix}/{node.name}"
        copied.ClearField("input")
        copied.input.extend(map(rename, node.input))
        copied.ClearField("output")
        copied.output.extend(map(rename, node.output))
        nodes.append(copied)
    outputs = []
    for value in graph.output:
        copied_value = onnx.ValueInfoProto()
        copied_value.CopyFrom(value)
        copied_value.name = rename(value.name)
        outputs.append(copied_value)
    return helper.make_graph(nodes, prefix, [], outputs)
