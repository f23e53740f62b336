"""Tables beside an ONNX file: which are taken, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ensemble import contract
from ensemble.onnx_files import session
from ensemble.releases.check import files
from ensemble.releases.check.onnx_file import Fault, faults_of
from ensemble.releases.check.options import Options
from ensemble.releases.layout import release_in
from ensemble.table_files import TableWriter
from tests.unit.releases.candidates import small
from tests.unit.releases.check.made import tiny

SPEC = contract.PRODUCT_POOL
TABLE = "products.feature"


def write(folder: Path, values: list[float] | None = None) -> Path:
    """A model that adds a number of its table; returns the ONNX file."""
    numbers = np.array(values or np.linspace(0, 1, 500), np.float32)
    with TableWriter(folder / f"{TABLE}.table", np.float32) as writer:
        writer.append(numbers)
        table = writer.close()

    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Gather", [TABLE, "zero"], ["one"], name="look_up"))
        nodes.append(helper.make_node("Add", ["blank", "one"], ["sum"]))
        return "sum"

    zero = onnx.numpy_helper.from_array(np.array(0), "zero")
    path = folder / "model.onnx"
    onnx.save(tiny(SPEC, change, (table.initializer(TABLE), zero)), str(path))
    return path


def test_whole_table_files_beside_the_graph_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path)
    session(path)
    assert faults_of(path, SPEC.name) == []


def shorter(folder: Path) -> None:
    (folder / f"{TABLE}.table").write_bytes(b"\0" * 1996)


def longer(folder: Path) -> None:
    with (folder / f"{TABLE}.table").open("ab") as file:
        file.write(b"\0")


def missing(folder: Path) -> None:
    (folder / f"{TABLE}.table").unlink()


def a_link(folder: Path) -> None:
    (folder / f"{TABLE}.table").rename(folder / "elsewhere")
    (folder / f"{TABLE}.table").symlink_to(folder / "elsewhere")


def pointing(value: str, key: str = "location") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        proto = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == TABLE)
        next(entry for entry in tensor.external_data if entry.key == key).value = value
        onnx.save(proto, str(folder / "model.onnx"))

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(shorter, longer, missing, a_link, pointing("../products.feature.table"), pointing("/etc/passwd")),
        *(pointing("4", "offset"), pointing("many", "length"), pointing("1996", "length"), pointing("")),
    ],
)
def test_any_other_data_beside_the_graph_keeps_it_from_being_served(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = write(tmp_path)
    change(tmp_path)
    found = faults_of(path, SPEC.name)
    assert any(f"not in a table file of its own ({TABLE})" in fault.what and fault.unservable for fault in found), found


def test_a_table_that_no_model_uses_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "pairs.rows.table").write_bytes(b"x")
    (fault,) = faults_of(path, SPEC.name)
    assert "pairs.rows.table" in fault.what


def test_numbers_in_a_table_that_arent_finite_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, [1.0, float("nan"), float("inf")])
    (fault,) = faults_of(path, SPEC.name)
    assert isinstance(fault, Fault)
    assert f"{TABLE}: 2 of 3" in fault.what


def test_a_releases_table_files_belong_to_it_and_raise_what_its_processes_may_map(tmp_path: Path) -> None:
    folder = small(tmp_path, 2) / "product_pool" / "2"
    (folder / "pairs.rows.table").write_bytes(b"x" * 5000)
    (folder / "Pairs.table").write_bytes(b"x")
    release = release_in(tmp_path)
    said = {found.where for found in files.check(release, Options()).findings if "doesn't belong" in found.what}
    assert said == {"product_pool/2/Pairs.table"}
    assert files.process_bytes(release, Options()) == Options().process_bytes + 5000
