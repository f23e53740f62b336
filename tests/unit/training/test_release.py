from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from ensemble import contract, export
from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.onnx_files import session
from ensemble.ranking import rank
from ensemble.release import build_release, weights_path
from ensemble.releases.golden import GOLDEN, Golden
from ensemble.training.examples import open_week
from ensemble.training.fit import demand_lift, demand_logs
from ensemble.training.snapshot import MEANING, take_snapshot
from ensemble.training.train import train
from ensemble.training.weights import Trained
from tests.unit.training.conftest import PLAN

pytestmark = pytest.mark.slow  # a first export takes torch half a minute

Tensors = dict[str, npt.NDArray[Any]]


def request(shop: Dataset, customer: int, candidates: int = 64, rows: int = 1) -> Tensors:
    """The customer asks for the shop's products, padded."""
    snapshot = take_snapshot(shop, 12)
    product, category = np.zeros((2, rows, candidates), np.int64)
    count = min(candidates, snapshot.product_id.size)
    product[:, :count], category[:, :count] = snapshot.product_id[:count], snapshot.product_category[:count]
    values = {
        contract.CUSTOMER_ID: np.full((rows, 1), customer),
        contract.PRODUCT_ID: product,
        contract.CATEGORY_ID: category,
        contract.OFFERS: np.tile(np.array([1, 0, 0, 0]), (rows, candidates, 1)),
        contract.RECENT_PRODUCT_ID: np.zeros((rows, contract.RECENT)),
        contract.RECENT_AGE: np.zeros((rows, contract.RECENT)),
        contract.CONTEXTS: np.tile(np.array([snapshot.cutoff + 1, 24]), (rows, 1)),
    }
    return {spec.name: np.ascontiguousarray(value, spec.dtype) for spec, value in values.items()}


def run(repository: Path, tensors: Tensors) -> Tensors:
    made: Tensors = {}
    for spec in contract.ONNX_MODELS:
        model = session(repository / spec.name / "1" / "model.onnx")
        outputs = [tensor.name for tensor in spec.outputs]
        made.update(zip(outputs, model.run(outputs, {t.name: tensors[t.name] for t in spec.inputs}), strict=True))
    return made


@pytest.mark.parametrize(("rows", "candidates"), [(1, 64), (64, 128), (3, 1024)])
def test_every_batch_and_bucket_gets_finite_answers_of_the_contracts_shape(
    shop: Dataset, repository: Path, rows: int, candidates: int
) -> None:
    made = run(repository, request(shop, 5, candidates, rows))
    for name, values in made.items():
        assert values.shape == (rows, candidates), name
        assert values.dtype == np.float32, name
        assert np.isfinite(values).all(), name


def test_a_row_does_not_depend_on_its_batch_mates(shop: Dataset, repository: Path) -> None:
    one, other = request(shop, 5), request(shop, 9)
    both = {name: np.concatenate((one[name], other[name])) for name in one}
    together, alone = run(repository, both), run(repository, one)
    for name in alone:
        assert together[name][:1] == pytest.approx(alone[name], abs=1e-5)


def test_files_stand_alone_and_old_servers_can_read_them(repository: Path) -> None:
    for spec in contract.ONNX_MODELS:
        proto = onnx.load(str(repository / spec.name / "1" / "model.onnx"), load_external_data=False)
        assert proto.ir_version <= 10
        assert {opset.domain: opset.version for opset in proto.opset_import} == {"": 18}
        assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in proto.graph.initializer)
        assert [value.name for value in proto.graph.input] == [tensor.name for tensor in spec.inputs]


@pytest.mark.parametrize("stranger", [0, -4, 999_999, 2**62])
def test_strangers_all_get_the_same_answer_and_no_novelty(shop: Dataset, repository: Path, stranger: int) -> None:
    anonymous, other = run(repository, request(shop, 0)), run(repository, request(shop, stranger))
    assert (other["preference"] == anonymous["preference"]).all()
    assert (other["affinity"] == anonymous["affinity"]).all()
    assert not other["novelty"].any()


def test_novelty_marks_what_a_known_customer_never_bought(shop: Dataset, repository: Path) -> None:
    tensors = request(shop, 5)
    bought = shop.before(12).purchases.filter(customer_id=5)["product_id"].unique().to_numpy()
    new = run(repository, tensors)["novelty"][0] == 1
    assert (new == ~np.isin(tensors["product_id"][0], bought)).all()


def test_a_purchase_a_minute_ago_counts_even_for_a_stranger(shop: Dataset, repository: Path) -> None:
    before = request(shop, 0)
    after = {name: value.copy() for name, value in before.items()}
    after["recent_product_id"][0, 0], after["recent_age"][0, 0] = before["product_id"][0, 3], 1 / 1440
    made, base = run(repository, after), run(repository, before)
    assert made["novelty"][0, 3] == 0
    assert made["novelty"][0, 4] == 1
    assert made["preference"][0, 3] != base["preference"][0, 3]


def test_a_cheaper_product_in_the_mailer_is_not_the_same_demand(shop: Dataset, repository: Path) -> None:
    plain = request(shop, 0)
    reduced = plain | {"offer": plain["offer"] * np.float32(0.5) + np.array([0, 1, 0, 0], np.float32)}
    assert not np.allclose(run(repository, reduced)["demand"], run(repository, plain)["demand"])


def test_demand_is_the_lift_over_the_products_own_long_run_rate(
    shop: Dataset, trained: Trained, repository: Path
) -> None:
    week = open_week(shop, 12)
    tensors = request(shop, 0, candidates=128)
    count = week.snapshot.product_id.size
    tensors["offer"][0, :count] = week.offer
    tensors["context"][:, 0] = week.snapshot.cutoff
    with torch.no_grad():
        lift = demand_lift(trained.demand, week).numpy()
        buyers = demand_logs(trained.demand, week).numpy()
    assert lift == pytest.approx(buyers - week.snapshot.product_feature[:, 2])
    # The tables hold products' features with 11 bits.
    assert run(repository, tensors)["demand"][0, :count] == pytest.approx(lift, abs=0.02)


def test_what_has_no_usual_sales_has_no_lift(shop: Dataset, repository: Path) -> None:
    tensors = request(shop, 5)
    tensors["product_id"][0, :3] = (contract.PADDING, 999, 2**40)
    demand = run(repository, tensors)["demand"][0]
    assert not demand[:3].any()
    assert demand[3:20].all()


def test_recent_events_of_others_in_the_batch_change_nothing(shop: Dataset, repository: Path) -> None:
    """A batch without any event takes another branch of the graph."""
    quiet, busy = request(shop, 5), request(shop, 9)
    busy["recent_product_id"][0, :3], busy["recent_age"][0, :3] = busy["product_id"][0, :3], 0.5
    together = run(repository, {name: np.concatenate((quiet[name], busy[name])) for name in quiet})
    alone, unheard = run(repository, quiet), run(repository, request(shop, 9))
    for name in alone:
        assert together[name][:1] == pytest.approx(alone[name], abs=1e-5)
    assert not np.allclose(together["preference"][1:], unheard["preference"])
    assert not np.allclose(together["affinity"][1:], unheard["affinity"])


def test_the_branches_have_their_tables_in_common(repository: Path) -> None:
    proto = onnx.load(str(repository / "collaborative_filter" / "1" / "model.onnx"))
    (chosen,) = [node for node in proto.graph.node if node.op_type == "If"]
    assert not any(attribute.g.initializer for attribute in chosen.attribute)
    contents = [(tuple(t.dims), t.data_type, t.raw_data) for t in proto.graph.initializer if len(t.raw_data) > 64]
    assert len(set(contents)) == len(contents)


def test_the_same_seed_gives_the_same_weights(shop: Dataset, trained: Trained) -> None:
    again = train(shop, PLAN)
    assert again.settings == trained.settings
    for net in ("affinity", "demand", "preference"):
        one, other = getattr(again, net).state_dict(), getattr(trained, net).state_dict()
        assert all((one[name] == other[name]).all() for name in one)


def test_what_torch_says_of_some_requests_is_recorded(trained: Trained, repository: Path) -> None:
    golden = Golden.load(weights_path(repository, 1).with_name(GOLDEN))
    for rows, recorded in ((golden.inputs, golden.outputs), (golden.quiet_inputs(), golden.quiet)):
        for name, answer in run(repository, dict(rows)).items():
            assert answer == pytest.approx(recorded[name], abs=1e-4), name
    assert golden.inputs["recent_product_id"].any()
    assert (golden.outputs["preference"] != golden.quiet["preference"]).any()
    made = golden.inputs | golden.outputs
    ranked = rank(**{spec.name: made[spec.name] for spec in contract.RANKING.inputs}, settings=trained.settings)
    assert (ranked.product_id == golden.ranked_product_id).all()
    gone = (golden.inputs["boost"] == contract.EXCLUDED) | (golden.inputs["product_id"] == contract.PADDING)
    assert ((golden.ranked_product_id == contract.PADDING).sum(1) == gone.sum(1)).all()


def test_saved_weights_rebuild_the_release_for_another_week(
    shop: Dataset, trained: Trained, repository: Path, tmp_path: Path
) -> None:
    loaded = Trained.load(weights_path(repository, 1))
    assert loaded.settings == trained.settings
    build_release(shop, 10, loaded, tmp_path / "earlier")
    tensors = request(shop, 5)
    here = run(repository, tensors)["preference"]
    assert not np.allclose(run(tmp_path / "earlier", tensors)["preference"], here)


def test_a_week_without_a_past_and_a_missing_file_are_named(shop: Dataset, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match="no purchases before week 2"):
        build_release(shop, 2, trained, tmp_path)
    with pytest.raises(RacksortError, match=r"gone\.npz: no such file"):
        Trained.load(tmp_path / "gone.npz")


@pytest.mark.parametrize("known", [None, MEANING - 1])
def test_weights_of_other_features_are_refused(trained: Trained, tmp_path: Path, known: int | None) -> None:
    """Of releases made before features had a version, or by another one."""
    path = tmp_path / "weights.npz"
    trained.save(path)
    assert Trained.load(path).settings == trained.settings
    with np.load(path) as held:
        arrays = dict(held)
    facts = json.loads(str(arrays["facts"]))
    facts["features"] = known
    arrays["facts"] = np.array(json.dumps(facts))
    np.savez_compressed(path, **arrays)
    with pytest.raises(
        RacksortError, match=r"weights\.npz: trained on features that meant something else: run `racksort"
    ):
        Trained.load(path)


def test_weights_that_are_too_small_for_normal_arithmetic_are_nothing(repository: Path) -> None:
    trained = Trained.load(weights_path(repository, 1))
    wanted = trained.preference.wanted.detach()
    before = wanted.clone()
    wanted[0] = 1e-40
    assert bool((wanted[0] != 0).all())
    after = replace(trained).preference.wanted.detach()
    assert not after[0].any()
    assert torch.equal(after[1:], before[1:])


def test_another_week_s_tables_fill_the_same_graphs(
    shop: Dataset, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_release(shop, 12, trained, tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(export, "_exported", lambda *_: pytest.fail("exported again"))
        build_release(shop, 9, trained, tmp_path / "filled")
    build_release(shop, 9, copy.deepcopy(trained), tmp_path / "exported")
    for spec in contract.ONNX_MODELS:
        first, filled, exported = (
            (tmp_path / way / spec.name / "1" / "model.onnx").read_bytes() for way in ("first", "filled", "exported")
        )
        assert filled == exported, spec.name
        assert filled != first, spec.name
