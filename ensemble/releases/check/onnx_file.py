"""What an ONNX file and its table files hold, read without running them: data, operators, signature, weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from ensemble import contract
from ensemble.onnx_files import signature_fault
from ensemble.releases.layout import TABLE, tables_in

NEWEST_OPSET: Final = 20
NEWEST_IR: Final = 10
"""What the ONNX Runtime 1.19 of Triton surely reads."""

_STANDARD: Final = frozenset({"", "ai.onnx"})
_EXPORT: Final = "export it again with `racksort train`"
_KNOWN: Final = "use ONNX's own operators"
_AT_ONCE: Final = 1 << 20
_MOST_DENORMAL: Final = 0.001
"""Share of a tensor's numbers that may be denormal, where that is more than a few: of these nobody notices anything."""
_FEW: Final = 16
_SHOWN: Final = 3
"""Names in a message, at most."""


class Fault(NamedTuple):
    """What is wrong with a file."""

    what: str
    remedy: str
    unservable: bool = False
    """It isn't loaded for further checks."""


class _Held(NamedTuple):
    """A tensor in a graph and where it lies."""

    where: str
    tensor: onnx.TensorProto


def faults_of(path: Path, name: str) -> list[Fault]:
    """All faults of the file as the model ``name`` of ``contract.ONNX_MODELS``; no file makes this raise.

    Args:
        path: a plain file.
        name: of the model.
    """
    spec = next(model for model in contract.ONNX_MODELS if model.name == name)
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        return [Fault(f"isn't a whole ONNX file ({_line(error)})", _EXPORT, unservable=True)]
    except OSError as error:
        return [Fault(f"can't be read ({error.strerror})", "make it readable", unservable=True)]
    if not proto.graph.node:
        return [Fault("isn't a whole ONNX file (it has no graph)", _EXPORT, unservable=True)]
    tensors = [*_tensors(proto.graph, "")]
    beside = {tensor.name for tensor in proto.graph.initializer if _is_external(tensor)}
    found = [*_external(tensors, beside, path.parent), *_operators(proto)]
    if not any(fault.unservable for fault in found):
        try:
            onnx.checker.check_model(str(path) if beside else proto, full_check=True)
        except Exception as error:  # noqa: BLE001 the checker and its shape inference raise several kinds, all about the file
            found.append(Fault(f"is no valid ONNX model ({_line(error)})", _EXPORT))
    if fault := signature_fault(proto, spec):
        found.append(
            Fault(
                f"has {fault}",
                "keep the contract's names, types and shapes; a changed signature is a new model's",
                unservable=True,
            )
        )
    found.extend(_weights(tensors, path.parent))
    return found


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data)


def _external(tensors: list[_Held], beside: set[str], folder: Path) -> list[Fault]:
    """Data that isn't in the file, if it is anything but whole table files of the graph's tables (``beside``)."""
    outside, used = [], set()
    for where, tensor in tensors:
        if not _is_external(tensor):
            continue
        try:
            table = _table(tensor, folder)
        except (KeyError, ValueError, TypeError, OSError):
            table = None
        if table is None or where not in beside:
            outside.append(where)
        else:
            used.add(table[0])
    found = []
    if outside:
        what = f"keeps data outside of the file and not in a table file of its own ({_some(outside)})"
        found.append(Fault(what, _EXPORT, unservable=True))
    if unused := [path.name for path in tables_in(folder) if path not in used]:
        found.append(Fault(f"has no table for {_some(unused)} beside it", "remove what belongs to no table"))
    return found


def _table(tensor: onnx.TensorProto, folder: Path) -> tuple[Path, np.dtype[Any]] | None:
    """File and element type of a tensor that is a whole table file; None where it isn't.

    Raises:
        KeyError, ValueError, TypeError, OSError: the tensor says something that can't be, or there is no such file.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    path = folder / said.get("location", "")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    size = math.prod(tensor.dims) * dtype.itemsize
    whole = int(said.get("offset", "0")) == 0 and int(said.get("length", "-1")) == size == path.lstat().st_size
    if not (whole and TABLE.fullmatch(said["location"]) and path.is_file() and not path.is_symlink()):
        return None
    return path, dtype


def _operators(proto: onnx.ModelProto) -> list[Fault]:
    """Versions, domains and operators that Triton's ONNX Runtime doesn't have."""
    found = []
    if proto.ir_version > NEWEST_IR:
        found.append(Fault(f"has IR version {proto.ir_version}, newer than {NEWEST_IR}", _EXPORT, unservable=True))
    imported = [(opset.domain, opset.version) for opset in proto.opset_import]
    opsets = [version for domain, version in imported if domain in _STANDARD]
    if foreign := sorted({str(domain) for domain, _ in imported} - _STANDARD):
        found.append(Fault(f"imports operators of the domain {_some(foreign)}", _KNOWN, unservable=True))
    if len(opsets) != 1 or not 1 <= opsets[0] <= NEWEST_OPSET:
        return [
            *found,
            Fault(f"has operator sets {opsets}, not one of 1 to {NEWEST_OPSET}", _EXPORT, unservable=True),
        ]
    if proto.functions:
        names = [f"{function.domain}.{function.name}" for function in proto.functions]
        found.append(Fault(f"carries functions ({_some(names)})", "export it without functions", unservable=True))
    if proto.training_info:
        found.append(Fault("carries training information", "export it for inference", unservable=True))
    unknown = sorted({_operator(node) for node in _nodes(proto.graph) if not _is_known(node, opsets[0])})
    if unknown:
        what = f"has operators that opset {opsets[0]} doesn't know: {_some(unknown)}"
        found.append(Fault(what, _KNOWN, unservable=True))
    return found


def _weights(tensors: list[_Held], folder: Path) -> list[Fault]:
    """Tensors that hold numbers that aren't finite, or many that are slow to reckon with."""
    sick, slow = [], []
    for where, tensor in tensors:
        try:
            if not _is_external(tensor):
                values = numpy_helper.to_array(tensor)
            elif (table := _table(tensor, folder)) is not None:
                values = np.memmap(*table, mode="r")
            else:
                continue  # said already
            infinite, denormal = _odd_numbers(values)
        except Exception as error:  # noqa: BLE001 whatever a made-up tensor makes numpy raise
            sick.append(f"{where} can't be read: {_line(error)}")
            continue
        if infinite:
            sick.append(f"{where}: {infinite:,} of {values.size:,}")
        if denormal > max(_FEW, values.size * _MOST_DENORMAL):
            slow.append(f"{where}: {denormal:,} of {values.size:,}")
    found = []
    if sick:
        found.append(
            Fault(f"holds numbers that aren't finite ({_some(sick)})", "train again; look at the learning rate")
        )
    if slow:
        what = f"holds numbers so small that CPUs take up to a hundred times as long for them ({_some(slow)})"
        found.append(Fault(what, "set weights below 1.2e-38 to 0: the answers are the same"))
    return found


def _odd_numbers(values: npt.NDArray[Any]) -> tuple[int, int]:
    """How many numbers aren't finite and how many are denormal, part by part: a table may be larger than the memory.

    Of half precision none counts as denormal: as single precision, which it is reckoned with, all of it is normal.
    """
    if values.dtype.kind in "OSUbiu":
        return 0, 0
    wide = values.dtype == np.float64
    smallest = 0.0 if values.dtype == np.float16 else float(np.finfo(np.float64 if wide else np.float32).tiny)
    flat = values.reshape(-1)
    infinite = denormal = 0
    for at in range(0, flat.size, _AT_ONCE):
        part = np.abs(flat[at : at + _AT_ONCE].astype(np.float64))
        infinite += int((~np.isfinite(part)).sum())
        denormal += int(((part > 0) & (part < smallest)).sum())
    return infinite, denormal


def _is_known(node: onnx.NodeProto, opset: int) -> bool:
    """Whether it is one of ONNX's own. A damaged file's names come as bytes, which are none."""
    if node.domain not in _STANDARD:
        return False
    try:
        schema = onnx.defs.get_schema(str(node.op_type), max_inclusive_version=opset, domain="")
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


def _operator(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else f"{node.op_type}"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those in branches and loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto, at: str) -> Iterator[_Held]:
    """All tensors of constant content, those of nodes, branches and loops included."""
    for tensor in graph.initializer:
        yield _Held(f"{at}{tensor.name}", tensor)
    for sparse in graph.sparse_initializer:
        yield from _sparse(sparse, f"{at}{sparse.values.name}")
    for number, node in enumerate(graph.node):
        place = f"{at}{node.name or f'{node.op_type} {number}'}"
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield _Held(place, attribute.t)
            yield from (_Held(place, tensor) for tensor in attribute.tensors)
            if attribute.HasField("sparse_tensor"):
                yield from _sparse(attribute.sparse_tensor, place)
            for sparse in attribute.sparse_tensors:
                yield from _sparse(sparse, place)
            if attribute.floats or attribute.type == onnx.AttributeProto.FLOAT:
                values = [*attribute.floats, attribute.f]
                yield _Held(place, numpy_helper.from_array(np.array(values, np.float32)))
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner, f"{place}/{attribute.name}/")


def _sparse(sparse: onnx.SparseTensorProto, where: str) -> Iterator[_Held]:
    yield _Held(where, sparse.values)
    yield _Held(where, sparse.indices)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _line(error: Exception) -> str:
    """An error's text in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
