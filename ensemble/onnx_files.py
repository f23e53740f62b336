"""What is the same for whoever writes a release's ONNX files and whoever judges them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime

from ensemble.contract import ModelSpec

TOLERANCE: Final = 1e-4
"""Largest difference that two ways to compute one output may show: torch and ONNX Runtime, one batch or another."""


def signature_fault(proto: onnx.ModelProto, spec: ModelSpec) -> str:
    """How a model's inputs or outputs differ from the contract's in names, types or shapes (0 = variable).

    Returns:
        One line that says both; empty where they are the same.
    """
    for kind, wanted, found in (
        ("inputs", spec.inputs, proto.graph.input),
        ("outputs", spec.outputs, proto.graph.output),
    ):
        expected = [
            (t.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), [0, *(max(d, 0) for d in t.dims)])
            for t in wanted
        ]
        actual = [
            (v.name, v.type.tensor_type.elem_type, [dim.dim_value for dim in v.type.tensor_type.shape.dim])
            for v in found
        ]
        if expected != actual:
            return f"{kind} {_spelled(actual)}, but the contract says {_spelled(expected)}"
    return ""


def _spelled(tensors: Sequence[tuple[str, int, Sequence[int]]]) -> str:
    """Such as ``affinity FLOAT[?, ?]``."""
    types = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number
    return ", ".join(
        f"{name} {types[kind].name if kind in types else kind}[{', '.join(str(size or '?') for size in shape)}]"
        for name, kind, shape in tensors
    )


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
