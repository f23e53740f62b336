"""Candidates and models that are broken in one way each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ensemble import contract
from ensemble.contract import ModelSpec
from ensemble.releases.check.contents import WEIGHTS
from ensemble.releases.golden import GOLDEN
from ensemble.releases.layout import Release, release_in
from tests.conftest import REPOSITORY
from tests.unit.releases.candidates import small

NUMBER = 2
POOL = REPOSITORY / "product_pool" / "1" / "model.onnx"
FILTER = REPOSITORY / "collaborative_filter" / "1" / "model.onnx"


def candidate(folder: Path) -> Release:
    """A release of which everything but the ONNX files is real; those are a few bytes."""
    repository = small(folder / "candidate", NUMBER)
    for name in ("model.py", "ranking.py"):
        shutil.copyfile(REPOSITORY / "ranking" / "1" / name, repository / "ranking" / str(NUMBER) / name)
    for name in (GOLDEN, WEIGHTS):
        shutil.copyfile(
            REPOSITORY / "personalize_v1" / "1" / name, repository / contract.ensemble_name(NUMBER) / "1" / name
        )
    return release_in(repository)


def whole(folder: Path) -> Release:
    """The same with tiny ONNX files that Triton can serve."""
    release = candidate(folder)
    for spec in contract.ONNX_MODELS:
        onnx.save(tiny(spec), str(release.version_dirs[spec.name] / "model.onnx"))
    return release


def tiny(
    spec: ModelSpec,
    change: Callable[[list[onnx.NodeProto]], str] = lambda _nodes: "blank",
    extra: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A model with the contract's signature that says 0 of every candidate, or what ``change`` makes of it.

    Args:
        spec: the model.
        change: adds nodes and returns the name of their float [B, N] result. It may use all inputs of the spec,
            ``blank`` (zeros [B, N]) and ``number`` (product ids, else categories, as float [B, N]).
        extra: initializers.
    """
    ids = contract.PRODUCT_ID if contract.PRODUCT_ID in spec.inputs else contract.CATEGORY_ID
    nodes = [
        helper.make_node("Cast", [ids.name], ["number"], name="numbers", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["number", "number"], ["blank"], name="zeros"),
    ]
    result = change(nodes)
    for number, tensor in enumerate(spec.outputs):
        nodes.append(helper.make_node("Identity", [result if not number else "blank"], [tensor.name]))
    graph = helper.make_graph(nodes, "tiny", _values(spec.inputs), _values(spec.outputs), list(extra))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _values(tensors: Sequence[contract.TensorSpec]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            tensor.name,
            helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)),
            ["batch", *("candidates" if size == contract.N else size for size in tensor.dims)],
        )
        for tensor in tensors
    ]


def constant(name: str, value: Any) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(value), name)


def branched(tensor: onnx.TensorProto, *, as_node: bool = False) -> onnx.ModelProto:
    """A product pool with an ``If`` one of whose branches holds ``tensor``, as initializer or in a Constant node."""
    held = helper.make_node("Constant", [], [tensor.name], name="held", value=tensor)
    adding = helper.make_node("Add", ["blank", tensor.name], ["sick"], name="adding")
    then = helper.make_graph(
        [held, adding] if as_node else [adding],
        "then",
        [],
        [helper.make_tensor_value_info("sick", TensorProto.FLOAT, None)],
        [] if as_node else [tensor],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["blank"], ["well"])],
        "else",
        [],
        [helper.make_tensor_value_info("well", TensorProto.FLOAT, None)],
    )

    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("If", ["never"], ["chosen"], name="choice", then_branch=then, else_branch=other))
        return "chosen"

    return tiny(contract.PRODUCT_POOL, change, [constant("never", np.array(False))])


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor with its data in a file beside the model's."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor
