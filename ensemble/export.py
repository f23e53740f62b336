"""From torch modules to self-contained ONNX files that every ONNX Runtime since 1.17 can serve."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from ensemble import contract
from ensemble.branches import choose
from ensemble.contract import ModelSpec, TensorSpec
from ensemble.errors import RacksortError
from ensemble.models.served import CustomerModel
from ensemble.onnx_files import TOLERANCE, session, signature_fault
from ensemble.tensors import Tensors

OPSET: Final = 18
IR_VERSION: Final = 9


def to_onnx(module: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """Export a module whose ``forward`` takes the spec's inputs in order, with batch and candidates left variable.

    A ``CustomerModel`` becomes two branches: batches without any recent event skip what events would need.
    """
    proto = _exported(module, spec)
    if isinstance(module, CustomerModel):
        plain = copy.deepcopy(module)
        plain.events = False
        proto = choose(contract.RECENT_PRODUCT_ID.name, proto, _exported(plain, spec))
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto)
    if fault := signature_fault(proto, spec):
        raise RacksortError(f"{spec.name}: exported with {fault}")
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
