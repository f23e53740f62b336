"""Rows that repeat within a call are computed once: a graph around a model that asks it less, and answers the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_END: Final = int(np.iinfo(np.int64).max)


def once_per_run(proto: onnx.ModelProto, columns: Mapping[str, int]) -> onnx.ModelProto:
    """The model, which computes each row that differs from the one before it and answers the others with the same.

    To compare rows costs a tenth of what the product pool's answer does, and each answer is what it would be without.

    Args:
        proto: a model without nested graphs, whose inputs and outputs are [B, ...] with at least one row.
        columns: by input, how many of its last dimension's leading columns matter to the answer, where not all do.

    Raises:
        ValueError: it has a nested graph, or no input of such a name.
    """
    graph, nodes = proto.graph, _Nodes("runs")
    if unknown := columns.keys() - {value.name for value in graph.input}:
        raise ValueError(f"there is no input {min(unknown)!r}")
    if nested := [node.op_type for node in graph.node if any(each.HasField("g") for each in node.attribute)]:
        raise ValueError(f"{nested[0]} has a graph of its own, whose values can't be renamed")
    changed = ""
    for value in graph.input:
        differs = _differs(nodes, value, columns.get(value.name))
        changed = nodes.add("Or", changed, differs) if changed else differs
    begins = nodes.add("Concat", nodes.constant([True]), changed, axis=0)
    asked = {value.name: nodes.add("Compress", value.name, begins, axis=0) for value in graph.input}
    said = {value.name: f"runs/{value.name}" for value in graph.output}
    nodes.nodes += _renamed(graph, asked | said)
    number = nodes.add("CumSum", nodes.add("Cast", begins, to=TensorProto.INT64), nodes.constant(0))
    run = nodes.add("Sub", number, nodes.constant(1))
    for value in graph.output:
        nodes.add("Gather", said[value.name], run, to_be=value.name, axis=0)
    return nodes.around(proto)


def _differs(nodes: _Nodes, value: onnx.ValueInfoProto, columns: int | None) -> str:
    """Whether each row but the first differs from the one before it [B - 1]."""
    rank = len(value.type.tensor_type.shape.dim)
    name = value.name if columns is None else nodes.slice(value.name, 0, columns, rank - 1)
    same = nodes.add("Equal", nodes.slice(name, 1, _END, 0), nodes.slice(name, 0, -1, 0))
    # The least of the bytes of each row. NaN equals nothing, so that rows which hold one are answered by themselves.
    least = nodes.add(
        "ReduceMin", nodes.add("Cast", same, to=TensorProto.UINT8), nodes.constant([*range(1, rank)]), keepdims=0
    )
    return nodes.add("Not", nodes.add("Cast", least, to=TensorProto.BOOL))


def _renamed(graph: onnx.GraphProto, names: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The graph's nodes with other names for some of its values."""
    nodes = []
    for node in graph.node:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = [names.get(each, each) for each in node.input]
        copied.output[:] = [names.get(each, each) for each in node.output]
        nodes.append(copied)
    return nodes


class _Nodes:
    """Nodes with names of their own, and their constants."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, to_be: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its output, by default one of its own."""
        name = f"{self._prefix}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [to_be or name], name=name, **attributes))
        return to_be or name

    def constant(self, value: npt.ArrayLike) -> str:
        """Add a constant; returns its name."""
        array = np.asarray(value)
        name = f"{self._prefix}/constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def slice(self, name: str, begin: int, end: int, axis: int) -> str:
        """What lies from ``begin`` to before ``end`` along an axis."""
        return self.add("Slice", name, *(self.constant([number]) for number in (begin, end, axis)))

    def around(self, proto: onnx.ModelProto) -> onnx.ModelProto:
        """The model with these nodes in place of its own."""
        made = onnx.ModelProto()
        made.CopyFrom(proto)
        del made.graph.node[:]
        made.graph.node.extend(self.nodes)
        made.graph.initializer.extend(self._constants)
        return made
