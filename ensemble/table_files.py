"""Tables in files of their own beside a model's ONNX graph: ONNX Runtime maps them into memory, it doesn't read them.

A table inside ``model.onnx`` is parsed and copied when a session opens, and protobuf ends at 2 GB. A table file is the
array's bytes and nothing else, which the graph names as *external data* (onnx.ai, "External Data"). On the CPU ONNX
Runtime maps such a file privately and hands its pages to the operators as they are. So a session opens at once, all
processes that use the version share the pages through the page cache, and what is never asked for needs no memory.

The files lie in the version's own folder, so that a version stays whole by itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor, nn

from ensemble.releases.layout import TABLE_SUFFIX

SMALLEST: Final = 1 << 16
"""Bytes of a table from which on a file of its own is worth a page's rounding and one more file."""

INSIDE: Final = 64 * 10**6
"""Bytes of tables that a model carries inside its ONNX file. One with more has files: see docs/scale.md."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """An array's bytes in C order, least first.

    Attributes:
        path: the file.
        dtype: of the numbers.
        shape: the array's.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes that the array needs; the file has as many."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> npt.NDArray[Any]:
        """The array on the file's pages; what is written to it stays in this process."""
        return np.memmap(self.path, self.dtype, "c", shape=self.shape)

    def initializer(self, name: str) -> onnx.TensorProto:
        """What stands in the graph for the table."""
        tensor = onnx.TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(self.dtype),
            dims=self.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in (("location", self.path.name), ("offset", 0), ("length", self.size)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor


class TableWriter:
    """Writes an array to a file, some rows at a time. Use as a context manager."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, *row: int) -> None:
        """Make the file of an array whose rows have the shape ``row``."""
        self._path, self._dtype, self._row = path, np.dtype(dtype).newbyteorder("<"), row
        self._file = path.open("wb")
        self.rows = 0
        """Written so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows [n, ...]."""
        np.ascontiguousarray(rows.reshape(-1, *self._row), self._dtype).tofile(self._file)
        self.rows += rows.shape[0]

    def close(self) -> TableFile:
        """What was written."""
        self._file.close()
        return TableFile(self._path, self._dtype, (self.rows, *self._row))


def tables_of(module: nn.Module) -> dict[str, Tensor]:
    """The module's tables by name: all buffers that its graph depends on neither the values nor the number of rows of.

    What isn't persistent is no table but part of the arithmetic.
    """
    persistent = module.state_dict().keys()
    return {name: each for name, each in module.named_buffers() if name in persistent}


def large_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The module's tables from ``SMALLEST`` on, by name."""
    return {name: each for name, each in tables_of(module).items() if each.nbytes >= SMALLEST}


def store(module: nn.Module, folder: Path, stored: Collection[TableFile] = ()) -> dict[str, TableFile]:
    """Write the module's large tables into ``folder``.

    Args:
        module: the served module.
        folder: the model's version.
        stored: tables of it that are in their files already.

    Returns:
        The file of each large table, and of those that had one, by the table's name.
    """
    files = {table.path.name.removesuffix(TABLE_SUFFIX): table for table in stored}
    for name, table in large_buffers(module).items():
        if name not in files:
            array = table.numpy()
            with TableWriter(folder / (name + TABLE_SUFFIX), array.dtype, *array.shape[1:]) as writer:
                writer.append(array)
                files[name] = writer.close()
    return files
