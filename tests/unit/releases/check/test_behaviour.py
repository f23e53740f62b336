from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ensemble import contract
from ensemble.releases.check import onnx_models, probes
from ensemble.releases.check.options import Options
from ensemble.releases.golden import GOLDEN, Golden
from tests.conftest import REPOSITORY
from tests.unit.releases.check.made import constant, tiny, whole

Change = Callable[[list[onnx.NodeProto]], str]


@pytest.fixture(scope="module")
def rows() -> Any:
    return probes.hard(probes.Known.of(Golden.load(REPOSITORY / "personalize_v1" / "1" / GOLDEN)))


def found(folder: Path, change: Change, rows: Any, *extra: onnx.TensorProto) -> dict[str, Any]:
    path = folder / "model.onnx"
    onnx.save(tiny(contract.PRODUCT_POOL, change, extra), str(path))
    return onnx_models._run(lambda _stage: None, path, "product_pool", rows)


def prices(nodes: list[onnx.NodeProto]) -> None:
    """``price`` [B, N]."""
    nodes.append(helper.make_node("Gather", ["offer", "first"], ["price"], axis=2))


FIRST = constant("first", np.array(0))


def test_hard_rows_hold_what_is_odd(rows: Any) -> None:
    for spec in contract.ENSEMBLE_INPUTS:
        assert rows[spec.name].dtype == np.dtype(spec.dtype)
    products = rows["product_id"]
    assert all((products == odd).any() for odd in (*probes.ODD_PRODUCTS, contract.PADDING))
    assert set(probes.ODD_CUSTOMERS) <= set(rows["customer_id"].ravel().tolist())
    assert np.isneginf(rows["boost"]).any()
    real = products[:, : -probes.PADDED]
    assert all(len(set(row)) == len(row) for row in real.tolist())
    assert rows["recent_product_id"].any()
    assert not rows["recent_product_id"].any(1).all()


def test_rows_are_distinct_products_of_the_golden_ones_and_made_up_ones_where_they_run_out() -> None:
    known = probes.Known.of(Golden.load(REPOSITORY / "personalize_v1" / "1" / GOLDEN))
    made = probes.rows(known, 3, 1024)["product_id"]
    assert np.isin(made, known.product_id).all()
    few = probes.Known(known.customer_id, known.product_id[:10], known.category_id[:10], known.day)
    assert all(len(set(row)) == 64 for row in probes.rows(few, 3, 64)["product_id"].tolist())
    assert probes.rows(probes.Known.of(None), 2, 128)["product_id"].all()


def test_a_file_above_the_bound_is_not_read(tmp_path: Path) -> None:
    release = whole(tmp_path)
    path = release.version_dirs["product_pool"] / "model.onnx"
    path.write_bytes(bytes(2_000_000))
    assert onnx_models.check_files(release, Options(model_mb=1.0)).findings == ()
    (finding,) = onnx_models.check_files(release, Options()).findings
    assert finding.where == "product_pool/2/model.onnx"


def test_a_function_of_the_candidate_alone_is_well(tmp_path: Path, rows: Any) -> None:
    def change(nodes: list[onnx.NodeProto]) -> str:
        prices(nodes)
        return "price"

    result = found(tmp_path, change, rows, FIRST)
    assert (result["error"], result["faults"]) == ("", [])
    assert set(result["apart"].values()) == {0.0}


def centred(nodes: list[onnx.NodeProto]) -> str:
    """The price less the mean price along ``axis``: of the batch (0) or of the row (1)."""
    prices(nodes)
    nodes.append(helper.make_node("ReduceMean", ["price", "axis"], ["mean"], keepdims=1))
    nodes.append(helper.make_node("Sub", ["price", "mean"], ["centred"]))
    return "centred"


def by_place(nodes: list[onnx.NodeProto]) -> str:
    """How many candidates there are up to this one."""
    nodes.append(helper.make_node("Exp", ["blank"], ["ones"]))
    nodes.append(helper.make_node("CumSum", ["ones", "axis"], ["place"]))
    return "place"


def crowded(nodes: list[onnx.NodeProto]) -> str:
    """How many candidates there are above 128."""
    nodes.append(helper.make_node("Exp", ["blank"], ["ones"]))
    nodes.append(helper.make_node("ReduceSum", ["ones", "axis"], ["all"], keepdims=1))
    nodes.append(helper.make_node("Constant", [], ["room"], value_float=128.0))
    nodes.append(helper.make_node("Sub", ["all", "room"], ["above"]))
    nodes.append(helper.make_node("Relu", ["above"], ["crowd"]))
    nodes.append(helper.make_node("Mul", ["ones", "crowd"], ["for_each"]))
    return "for_each"


@pytest.mark.parametrize(
    ("change", "axis", "broken"),
    [
        (centred, np.array([0]), {"batch mates", "batch mates, no events"}),
        (centred, np.array([1]), {"padding", "widest padding"}),
        (crowded, np.array([1]), {"widest padding"}),
        (by_place, np.array(1), {"order"}),
    ],
)
def test_an_answer_that_depends_on_the_company_is_found(
    change: Change, axis: Any, broken: set[str], tmp_path: Path, rows: Any
) -> None:
    result = found(tmp_path, change, rows, FIRST, constant("axis", axis))
    tolerance = Options().tolerance
    assert {name for name, apart in result["apart"].items() if apart > tolerance} == broken


def test_a_model_that_listens_to_batch_mates_only_where_there_are_events_is_found(tmp_path: Path, rows: Any) -> None:
    """As if only one branch were wrong."""

    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Cast", ["recent_age"], ["age"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceMax", ["age"], ["oldest"], keepdims=0))
        nodes.append(helper.make_node("Add", ["blank", "oldest"], ["sum"]))
        return "sum"

    path = tmp_path / "model.onnx"
    onnx.save(tiny(contract.CATEGORY_AFFINITY, change), str(path))
    apart = onnx_models._run(lambda _stage: None, path, "category_affinity", rows)["apart"]
    assert apart["batch mates"] > 0.1
    assert apart["batch mates, no events"] == 0.0


def test_nan_for_padding_is_found(tmp_path: Path, rows: Any) -> None:
    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Div", ["number", "number"], ["one"]))
        return "one"

    (said,) = found(tmp_path, change, rows)["faults"]
    assert "demand isn't finite for padding" in said


def test_nan_for_an_unknown_product_names_it(tmp_path: Path, rows: Any) -> None:
    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Sqrt", ["number"], ["root"]))
        return "root"

    (said,) = found(tmp_path, change, rows)["faults"]
    assert "product -1 for customer" in said


def test_a_shape_other_than_asked_is_found(tmp_path: Path, rows: Any) -> None:
    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Transpose", ["blank"], ["turned"]))
        return "turned"

    (said,) = found(tmp_path, change, rows)["faults"]
    assert "demand comes back as float32(64, 12)" in said


def test_an_id_out_of_a_table_is_an_error_with_onnx_runtime_s_words(tmp_path: Path, rows: Any) -> None:
    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Gather", ["table", "product_id"], ["looked_up"]))
        return "looked_up"

    result = found(tmp_path, change, rows, constant("table", np.zeros(8, np.float32)))
    assert "out of data bounds" in result["error"]


@pytest.mark.slow
def test_a_model_that_never_ends_is_given_up(tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["again"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, [])],
    )

    def change(nodes: list[onnx.NodeProto]) -> str:
        nodes.append(helper.make_node("Loop", ["", "always", "blank"], ["last"], name="loop", body=carried(body)))
        return "last"

    release = whole(tmp_path)
    path = release.version_dirs["product_pool"] / "model.onnx"
    onnx.save(tiny(contract.PRODUCT_POOL, change, [constant("always", np.array(True))]), str(path))
    monkeypatch.setattr(onnx_models, "_RUN_S", 20.0)
    began = time.monotonic()
    result = onnx_models.check_behaviour(release, rows, Options())
    assert time.monotonic() - began < 120
    (finding,) = result.findings
    assert "didn't end within 20 s (inference)" in finding.what
    assert finding.where == "product_pool/2/model.onnx"


def carried(body: onnx.GraphProto) -> onnx.GraphProto:
    """The loop's body with one value that is carried from turn to turn."""
    body.input.append(helper.make_tensor_value_info("value", TensorProto.FLOAT, None))
    body.output.append(helper.make_tensor_value_info("next_value", TensorProto.FLOAT, None))
    body.node.append(helper.make_node("Identity", ["value"], ["next_value"]))
    return body
