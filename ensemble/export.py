"""From torch modules to ONNX files that every ONNX Runtime since 1.17 can serve, large tables in files beside them."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from ensemble import contract
from ensemble.branches import choose
from ensemble.contract import ModelSpec, TensorSpec
from ensemble.errors import RacksortError
from ensemble.models.served import CustomerModel
from ensemble.models.static_map import StaticMap
from ensemble.onnx_files import TOLERANCE, session, signature_fault
from ensemble.releases.layout import tables_in
from ensemble.repeats import once_per_run
from ensemble.table_files import INSIDE, TableFile, large_buffers, store, tables_of
from ensemble.tensors import Tensors

OPSET: Final = 18
IR_VERSION: Final = 9
MODEL_FILE: Final = "model.onnx"


def write_model(
    module: nn.Module, spec: ModelSpec, folder: Path, inside: int = INSIDE, stored: Collection[TableFile] = ()
) -> Path:
    """Write a model's version: its ONNX file and, where its large tables are more than ``inside``, these beside it.

    Args:
        module: as ``to_onnx`` takes it.
        spec: of the model.
        folder: of the version; made where missing.
        inside: bytes of tables that the ONNX file may hold.
        stored: tables that lie in ``folder`` already, beside which the others are put however small they are.

    Returns:
        The ONNX file.

    Raises:
        RacksortError: the export isn't what the contract says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in {*tables_in(folder)} - {table.path for table in stored}:
        left.unlink()  # of an earlier run
    beside = stored or sum(table.nbytes for table in large_buffers(module).values()) > inside
    tables = store(module, folder, stored) if beside else {}
    path = folder / MODEL_FILE
    onnx.save(to_onnx(module, spec, tables), str(path))
    onnx.checker.check_model(str(path))
    return path


def to_onnx(module: nn.Module, spec: ModelSpec, tables: Mapping[str, TableFile] | None = None) -> onnx.ModelProto:
    """Export a module whose ``forward`` takes the spec's inputs in order, with batch and candidates left variable.

    A ``CustomerModel`` becomes two branches: batches without any recent event skip what events would need. A model of
    ``contract.OF_THE_POOL`` answers once for equal rows that follow each other.

    Args:
        module: the served module; its ``net`` mustn't change once it was exported.
        spec: of the model.
        tables: files of the module's buffers that aren't to be in the file, by the buffers' names.

    Raises:
        RacksortError: the signature isn't the spec's, or the graph has no such table.
    """
    branches = [_filled(graph, module, tables or {}) for graph in _graphs(module, spec)]
    proto = choose(contract.RECENT_PRODUCT_ID.name, *branches) if len(branches) > 1 else branches[0]
    if spec.name in contract.OF_THE_POOL:
        proto = once_per_run(proto, contract.OF_THE_POOL[spec.name])
    proto.ir_version = IR_VERSION
    if fault := signature_fault(proto, spec):
        raise RacksortError(f"{spec.name}: exported with {fault}")
    return proto


_drawn: Final[WeakKeyDictionary[nn.Module, dict[tuple[int, ...], list[onnx.ModelProto]]]] = WeakKeyDictionary()
"""Graphs without their tables, by net and constants: to export one takes 15 seconds, to fill it one."""


def _graphs(module: nn.Module, spec: ModelSpec) -> list[onnx.ModelProto]:
    """The module's graphs, with stand-ins for its tables.

    What a graph was exported of is compared with what it is filled with by ``check_parity``, not here.
    """
    net = module.get_submodule("net")
    folds = tuple(each.fold for each in module.modules() if isinstance(each, StaticMap))
    known = _drawn.setdefault(net, {})
    if folds not in known:
        bare = _without_tables(module)
        known[folds] = [_exported(bare, spec)]
        if isinstance(bare, CustomerModel):
            bare.events = False
            known[folds].append(_exported(bare, spec))
    return known[folds]


def _without_tables(module: nn.Module) -> nn.Module:
    """A copy of the module with a few rows in place of each table.

    No two stand-ins are equal, since the exporter would make one table of them.
    """
    kept = {}
    for number, table in enumerate(tables_of(module).values(), 2):
        shape = (number, *table.shape[1:]) if table.ndim else ()
        kept[id(table)] = torch.full(shape, number).to(table.dtype)
    return copy.deepcopy(module, kept)


def _filled(graph: onnx.ModelProto, module: nn.Module, files: Mapping[str, TableFile]) -> onnx.ModelProto:
    """The graph with the module's tables, those that have ``files`` named by these."""
    proto, tables = onnx.ModelProto(), tables_of(module)
    proto.CopyFrom(graph)
    named = {tensor.name for tensor in proto.graph.initializer}
    if unused := files.keys() - named:
        raise RacksortError(f"the graph has no table {min(unused)}, so that it can't lie in a file")
    for tensor in proto.graph.initializer:
        if tensor.name in files:
            tensor.CopyFrom(files[tensor.name].initializer(tensor.name))
        elif tensor.name in tables:
            tensor.CopyFrom(numpy_helper.from_array(tables[tensor.name].numpy(), tensor.name))
    return proto


def _exported(module: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    inputs = tuple(torch.from_numpy(_blank(tensor, 2, 64)) for tensor in spec.inputs)
    batch, candidates = torch.export.Dim("batch", min=1), torch.export.Dim("candidates", min=2)
    shapes = tuple(
        {0: batch} | {i + 1: candidates for i, size in enumerate(tensor.dims) if size == contract.N}
        for tensor in spec.inputs
    )
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about its internals
            program = torch.onnx.export(
                copy.deepcopy(module).eval(),
                inputs,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                dynamic_shapes=shapes,
                dynamo=True,
                opset_version=OPSET,
                optimize=True,
                verbose=False,
            )
    finally:
        noisy.setLevel(level)
    if program is None:
        raise RacksortError(f"{spec.name}: the exporter returned nothing: reinstall torch and onnxscript")
    proto: onnx.ModelProto = program.model_proto
    _strip(proto)
    return proto


def _blank(tensor: TensorSpec, batch: int, candidates: int) -> npt.NDArray[Any]:
    shape = (batch, *(candidates if size == contract.N else size for size in tensor.dims))
    return np.ones(shape, tensor.dtype)


def _strip(proto: onnx.ModelProto) -> None:
    """Drop what only the exporter's debugging needs: it names the machine's paths and doubles a small file's size."""
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    proto.graph.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    proto.ClearField("functions")


def check_parity(module: nn.Module, path: Path, spec: ModelSpec, inputs: Tensors) -> float:
    """Largest absolute difference between the module's and the file's outputs on the same rows.

    Raises:
        RacksortError: it exceeds ``TOLERANCE``, or one of them isn't finite.
    """
    quiet = {**inputs, contract.RECENT_PRODUCT_ID.name: np.zeros_like(inputs[contract.RECENT_PRODUCT_ID.name])}
    model, worst = session(path), 0.0
    for rows in (inputs, quiet):  # with recent events and without, since these may be two branches
        with torch.no_grad():
            answer = module(*(torch.from_numpy(rows[tensor.name]) for tensor in spec.inputs))
        ours = answer if isinstance(answer, tuple) else (answer,)
        theirs = model.run(None, {tensor.name: rows[tensor.name] for tensor in spec.inputs})
        # A NaN would get lost in max(): whatever isn't within the tolerance counts as infinite.
        differences = [float(np.abs(a.numpy() - b).max()) for a, b in zip(ours, theirs, strict=True)]
        worst = max(worst, *(difference if difference <= TOLERANCE else np.inf for difference in differences))
    if not worst <= TOLERANCE:
        raise RacksortError(
            f"{spec.name}: torch and ONNX Runtime differ by {worst:.2g} (at most {TOLERANCE:g} is allowed)"
        )
    return worst
