from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from ensemble.onnx_files import session
from ensemble.table_files import TableFile, TableWriter

kinds = st.sampled_from([np.uint8, np.int32, np.int64, np.float16, np.float32])


@given(data=st.data(), dtype=kinds, width=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_what_is_written_in_parts_is_read_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: type[np.generic], width: int
) -> None:
    rows = hnp.arrays(
        dtype,
        st.tuples(st.integers(0, 6), st.just(width)),
        elements={"allow_nan": False} if np.issubdtype(dtype, np.floating) else None,
    )
    parts = [np.ones((1, width), dtype), *data.draw(st.lists(rows, max_size=4))]
    path = tmp_path_factory.mktemp("table") / "made.table"
    with TableWriter(path, dtype, width) as writer:
        for part in parts:
            writer.append(part)
        file = writer.close()
    assert (file.array() == np.concatenate(parts)).all()
    assert path.stat().st_size == file.size


def gathering(folder: Path, table: TableFile) -> Path:
    """A model that gathers rows of a table in a file."""
    kind = helper.np_dtype_to_tensor_dtype(table.dtype)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["rows", "at"], ["found"])],
        "gathering",
        [helper.make_tensor_value_info("at", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("found", kind, ["n", table.shape[1]])],
        [table.initializer("rows")],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def made_table(folder: Path, rows: int = 200_000) -> tuple[TableFile, np.ndarray]:  # type: ignore[type-arg]
    values = np.random.default_rng(0).integers(0, 256, (rows, 12)).astype(np.uint8)
    with TableWriter(folder / "pairs.rows.table", np.uint8, 12) as writer:
        writer.append(values)
        return writer.close(), values


def test_onnx_runtime_answers_from_the_file(tmp_path: Path) -> None:
    file, values = made_table(tmp_path)
    at = np.array([0, 5, 199_999, 5])
    (found,) = session(gathering(tmp_path, file)).run(None, {"at": at})
    assert (found == values[at]).all()


def test_onnx_runtime_maps_the_file_and_doesnt_read_it(tmp_path: Path) -> None:
    """This is what releases of any size are built on: a session needs no memory for a table, and shares its pages."""
    file, _ = made_table(tmp_path)
    running = session(gathering(tmp_path, file))
    running.run(None, {"at": np.array([3])})
    maps = Path("/proc/self/smaps").read_text().splitlines()
    start = next(i for i, line in enumerate(maps) if line.endswith(str(file.path)))
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in maps[start + 1 : start + 20] if line.endswith(" kB")}
    assert sizes["Size"] * 1024 >= file.size
    assert sizes["Anonymous"] == 0  # no page is a copy


def test_a_link_to_the_version_is_followed_as_triton_sees_it(tmp_path: Path) -> None:
    """The embedded Triton's view links each file of a version; ONNX Runtime refuses data elsewhere."""
    real, view = tmp_path / "real", tmp_path / "view"
    real.mkdir()
    view.mkdir()
    file, values = made_table(real)
    gathering(real, file)
    for path in real.iterdir():
        (view / path.name).symlink_to(path)
    (found,) = session(view / "model.onnx").run(None, {"at": np.array([7])})
    assert (found == values[[7]]).all()


def test_a_table_elsewhere_is_refused_by_onnx_runtime(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    file, _ = made_table(tmp_path)
    path = gathering(tmp_path / "model", file)
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = "../pairs.rows.table"
    onnx.save(proto, str(path))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="escapes"):
        session(path)
