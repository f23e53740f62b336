from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import contract
from ensemble.assembly import ReleaseTables, taste_sums
from ensemble.models.history import ROW
from ensemble.models.pair_map import PairMap
from ensemble.models.static_map import StaticMap
from ensemble.scale import histories
from ensemble.scale.histories import chunks
from ensemble.scale.release import stretched
from ensemble.scale.shop import Shop, Size, make_shop
from ensemble.scale.tables import write_tables
from ensemble.table_files import TableFile
from ensemble.training.snapshot import Pairs, season_weights
from tests.unit.scale.nets import untrained

SIZE = Size(customers=400, products=300, leaves=20, history=8)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(SIZE)


class Written(NamedTuple):
    """Tables written in several chunks, and what they were made of."""

    tables: ReleaseTables
    files: dict[str, list[TableFile]]
    drawn: dict[tuple[int, int], histories.Histories]
    """By the first slot and the one past the last."""


@pytest.fixture(scope="module")
def written(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("scale")
    folders = {spec.name: folder / spec.name / "1" for spec in contract.ONNX_MODELS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histories, "CHUNK", 97)
        tables, files = write_tables(shop, SIZE, untrained(SIZE.leaves), folders)
        drawn = {(first, last): made for first, last, _, made in chunks(shop, SIZE, tables.customers)}
    return Written(tables, files, drawn)


def rows_of(
    lookup: PairMap, slots: npt.NDArray[np.int64], items: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """What the map finds for each slot and all items: rows [S, items, 9], and whether the row is about the item."""
    item = torch.arange(items, dtype=torch.int32).expand(slots.size, -1)
    found = lookup(torch.from_numpy(slots.astype(np.int32))[:, None], item).numpy()
    named = found[..., len(ROW) :].astype(np.int64) @ 256 ** np.arange(3)
    return found[..., : len(ROW)], named == item.numpy()


def test_the_models_look_up_finds_every_pair_bit_for_bit_and_no_other(written: Written) -> None:
    tables = written.tables
    assert len(written.drawn) > 3
    for (first, last), made in written.drawn.items():
        held = np.sort(
            tables.customers.slot_of[(tables.customers.slot_of >= first) & (tables.customers.slot_of < last)]
        )
        for lookup, pairs, position in (
            (tables.owned, made.products, tables.products.slot_of[made.products.item]),
            (tables.leaves, made.categories, made.categories.item),
        ):
            width = max(tables.products.slots, SIZE.leaves + 1)
            rows, about = rows_of(lookup, held.astype(np.int64), width)
            expected = np.zeros_like(about)
            expected[pairs.customer, position] = True
            assert (about == expected).all()
            assert (rows[pairs.customer, position] == pairs.rows).all()
        assert (tables.trips[held] == made.trips).all()


def test_every_customer_is_found_and_nobody_else(shop: Shop, written: Written) -> None:
    tables = written.tables
    slot = StaticMap(tables.customers)
    known = slot(torch.from_numpy(shop.customer_id)).numpy()
    assert np.unique(known).size == SIZE.customers
    assert (tables.trips[known, ROW.index("trips")] >= 1).all()
    everybody = np.arange(-5, shop.customer_id.max() + 50)
    unknown = np.setdiff1d(everybody, shop.customer_id)
    assert (slot(torch.from_numpy(unknown)).numpy() == tables.customers.slots).all()
    assert (tables.trips[tables.customers.slots] == 0).all()
    _, about = rows_of(tables.owned, np.array([tables.customers.slots]), tables.products.slots)
    assert not about.any()


def test_the_files_hold_the_arrays(written: Written) -> None:
    tables = written.tables
    by_name = {file.path.name: file for file in written.files[contract.COLLABORATIVE_FILTER.name]}
    assert set(by_name) == {
        *("pairs.rows.table", "pairs.multiplier.table", "pairs.middle.table", "pairs.scale.table"),
        *("customers.trips.table", "customers.profile.table"),
    }
    for name, file in by_name.items():
        assert file.path.stat().st_size == file.size, name
    assert (by_name["pairs.rows.table"].array() == tables.owned.rows.numpy()).all()
    assert (by_name["customers.profile.table"].array() == tables.preference_profile).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), unique=True, min_size=1), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_taste_sums_are_those_of_a_dense_table(pairs: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    owner, item = np.array(sorted(pairs)).T
    rows = rng.integers(0, 200, (owner.size, len(ROW))).astype(np.uint8)
    bought = torch.from_numpy(rng.normal(size=(10, 4)).astype(np.float32))
    dense = np.zeros((5, 10), np.float32)
    dense[owner, item] = season_weights(rows)
    made = taste_sums(Pairs(owner * 10 + item, rows, 10), 5, bought)
    assert made[:, 0] == pytest.approx(dense.sum(1), rel=1e-5)
    assert made[:, 1:] == pytest.approx(dense @ bought.numpy(), rel=1e-4, abs=1e-5)


def test_nets_are_stretched_to_more_leaf_categories_and_stay_the_same_for_the_known_ones() -> None:
    known = untrained(5)
    more = stretched(known, 14)
    assert more.categories == 14
    assert torch.equal(more.affinity.wanted[:6], known.affinity.wanted)
    assert torch.equal(more.affinity.wanted[6:11], known.affinity.wanted[1:6])
    assert torch.equal(more.demand.effect[11], known.demand.effect[1])
    assert torch.equal(more.preference.scorer.first.weight, known.preference.scorer.first.weight)
