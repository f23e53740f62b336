"""A small made release through the real export, ONNX Runtime and Triton."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ensemble import contract
from ensemble.evaluation.triton_scorer import inputs_of
from ensemble.models.static_map import build_static_table
from ensemble.onnx_files import session
from ensemble.releases.check.asking import Asked
from ensemble.releases.check.onnx_file import faults_of
from ensemble.releases.golden import Golden
from ensemble.releases.layout import release_in, tables_in
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.verify import verify
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from ensemble.scale.histories import chunks
from ensemble.scale.release import make_release
from ensemble.scale.shop import Shop, Size, make_shop
from ensemble.tensors import Tensors
from tests.unit.scale.nets import untrained

pytestmark = pytest.mark.slow  # the exports take torch a minute

SIZE = Size(customers=3_000, products=1_000, leaves=30, history=8)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(SIZE)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_release(SIZE, untrained(SIZE.leaves), folder)
    return folder


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    make_release(SIZE, untrained(SIZE.leaves), folder, embedded=True)
    return folder


def asking(shop: Shop, customer_id: np.ndarray, place: np.ndarray) -> Tensors:  # type: ignore[type-arg]
    """Each customer asks for the products at its places [B, N], without recent events."""
    rows = customer_id.size
    values = {
        contract.CUSTOMER_ID: customer_id[:, None],
        contract.PRODUCT_ID: shop.product_id[place],
        contract.CATEGORY_ID: shop.category[place],
        contract.OFFERS: np.tile(np.array([1, 0, 0, 0]), (*place.shape, 1)),
        contract.BOOST: np.zeros(place.shape),
        contract.RECENT_PRODUCT_ID: np.zeros((rows, contract.RECENT)),
        contract.RECENT_AGE: np.zeros((rows, contract.RECENT)),
        contract.CONTEXTS: np.tile(np.array([20_000, 24]), (rows, 1)),
    }
    return {spec.name: np.ascontiguousarray(value, spec.dtype) for spec, value in values.items()}


def test_its_tables_lie_beside_and_inside_the_others_file_are_the_same_answers(
    repository: Path, embedded: Path
) -> None:
    golden = Golden.load(repository / "personalize_v1" / "1" / "golden.npz")
    for spec in contract.ONNX_MODELS:
        beside, inside = (folder / spec.name / "1" for folder in (repository, embedded))
        assert tables_in(inside) == []
        assert bool(tables_in(beside)) is (spec is not contract.PRODUCT_POOL)
        assert faults_of(beside / "model.onnx", spec.name) == []
        assert (beside / "model.onnx").stat().st_size < (inside / "model.onnx").stat().st_size + 1
        for rows in (golden.inputs, golden.quiet_inputs()):
            feed = {tensor.name: rows[tensor.name] for tensor in spec.inputs}
            for mine, other in zip(
                session(beside / "model.onnx").run(None, feed),
                session(inside / "model.onnx").run(None, feed),
                strict=True,
            ):
                assert (mine == other).all()


def test_every_customers_own_products_are_known_to_the_real_model_and_no_others(repository: Path, shop: Shop) -> None:
    table = build_static_table(shop.customer_id, SIZE.seed)
    id_at = dict(zip(table.slot_of.tolist(), shop.customer_id.tolist(), strict=True))
    spec = contract.COLLABORATIVE_FILTER
    model = session(repository / spec.name / "1" / "model.onnx")
    asked = 0
    for _, _, held, made in chunks(shop, SIZE, table):
        customer_id = np.array([id_at[slot] for slot in held.tolist()])
        bought = np.zeros((held.size, SIZE.products), bool)
        bought[made.products.customer, made.products.item] = True
        for at in range(0, held.size, 500):
            rows = slice(at, at + 500)
            place = np.tile(np.arange(SIZE.products), (customer_id[rows].size, 1))
            tensors = asking(shop, customer_id[rows], place)
            said = model.run([contract.NOVELTY.name], {each.name: tensors[each.name] for each in spec.inputs})[0]
            assert ((said == 0) == bought[rows]).all()
            asked += place.shape[0]
    assert asked == SIZE.customers
    unknown = np.setdiff1d(np.arange(1000, 1200), shop.customer_id)
    tensors = asking(shop, unknown, np.tile(np.arange(64), (unknown.size, 1)))
    said = model.run([contract.NOVELTY.name], {each.name: tensors[each.name] for each in spec.inputs})[0]
    assert (said == 0).all()  # whoever has no history finds nothing new


@pytest.mark.e2e
def test_it_is_published_signed_and_served_by_the_real_triton(repository: Path, shop: Shop, tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    assert publish(release_in(repository), live, Publisher("0.1.0")).number == 1
    entries = {entry.path for entry in verify(release_in(live)).manifest.files}
    assert "collaborative_filter/1/pairs.rows.table" in entries
    place = np.random.default_rng(0).permuted(np.tile(np.arange(SIZE.products), (16, 1)), axis=1)[:, :128]
    tensors = asking(shop, shop.customer_id[:16], place)
    with EmbeddedTriton(TritonOptions(live)) as server, Asked(server.address, 1) as asked:
        answer = asked.explain(tensors)
        asked.order(inputs_of(tensors))
    assert (np.sort(answer.product_id, 1) == np.sort(tensors[contract.PRODUCT_ID.name], 1)).all()
    assert np.isfinite(answer.score).all()


def test_its_record_says_what_it_was_made_of(repository: Path) -> None:
    summary = json.loads((repository / "personalize_v1" / "1" / "training.json").read_text())
    assert Size(**summary["synthetic"]) == SIZE
    assert replace(SIZE, seed=1) != SIZE
    assert all(apart < 1e-4 for apart in summary["parity"].values())
