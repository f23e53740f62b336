from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest

from api.catalog.embedded import EmbeddedCatalog
from api.types import Kind
from ensemble.data import catalog, schema, weeks
from ensemble.data.containers import LIST_SIZE, slug, slugs
from ensemble.data.dataset import REFERENCE_SOURCE, Dataset, read_reference
from ensemble.errors import RacksortError
from tests.unit.data.reference import write_shop

WEEK = 12


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    folder = tmp_path / "shop"
    folder.mkdir()
    return read_reference(write_shop(folder))


def test_a_catalog_has_the_documented_files_and_columns(data: Dataset, tmp_path: Path) -> None:
    info = catalog.build(data, WEEK, tmp_path / "catalog")
    assert sorted(path.name for path in (tmp_path / "catalog").iterdir()) == [
        "catalog.json",
        "containers.json",
        "products.parquet",
        "promotions.parquet",
    ]
    products = pl.read_parquet(tmp_path / "catalog" / "products.parquet")
    assert dict(products.schema) == {column.name: column.dtype for column in schema.CATALOG_PRODUCTS}
    assert sum(products.null_count().row(0)) == 0
    plan = pl.read_parquet(tmp_path / "catalog" / "promotions.parquet")
    assert dict(plan.schema) == {column.name: column.dtype for column in schema.PROMOTIONS}
    assert plan["week"].max() == WEEK
    assert info.now_day == weeks.week_start(WEEK)
    assert info.counts["products"] == products.height
    assert info.counts["available"] == products["available"].sum()
    assert catalog.read_info(tmp_path / "catalog") == info


def test_the_adapter_reads_what_was_built(data: Dataset, tmp_path: Path) -> None:
    info = catalog.build(data, WEEK, tmp_path / "catalog")
    embedded = EmbeddedCatalog.open(tmp_path / "catalog")
    assert embedded.now_day == info.now_day
    containers = asyncio.run(embedded.containers())
    definitions = json.loads((tmp_path / "catalog" / "containers.json").read_text())
    assert [each.container_id for each in containers] == [entry["container_id"] for entry in definitions]
    assert sum(each.kind is Kind.LIST for each in containers) == info.counts["lists"] >= 8
    assert max(each.size for each in containers if each.kind is Kind.GRID) == info.counts["largest_grid"]
    assert all(each.size >= 5 for each in containers)
    assert all(each.size <= LIST_SIZE for each in containers if each.kind is Kind.LIST)
    for name in info.categories:
        assert asyncio.run(embedded.pool("popular", name)).product_id.size


def test_available_is_what_sold_lately(data: Dataset, tmp_path: Path) -> None:
    catalog.build(data, WEEK, tmp_path / "catalog")
    products = pl.read_parquet(tmp_path / "catalog" / "products.parquet")
    lately = data.purchases.filter(pl.col("week").is_between(WEEK - catalog.AVAILABLE_WEEKS, WEEK - 1))["product_id"]
    expected = products["product_id"].is_in(lately.unique().implode())
    assert products["available"].to_list() == expected.to_list()
    assert 0 < products["available"].sum() < products.height


def test_what_is_no_merchandise_stays_out_but_its_purchases_stay_in(data: Dataset, tmp_path: Path) -> None:
    fuel = data.products.filter(pl.col("department") == "FUEL")["product_id"]
    assert fuel.len()
    assert data.purchases["product_id"].is_in(fuel.implode()).any()
    catalog.build(data, WEEK, tmp_path / "catalog")
    products = pl.read_parquet(tmp_path / "catalog" / "products.parquet")
    assert not products["product_id"].is_in(fuel.implode()).any()
    assert not products["category"].is_in(["COUPON/MISC ITEMS"]).any()


def test_a_newer_catalog_takes_an_older_one_s_place_whole(data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "catalog"
    catalog.build(data, WEEK, folder)
    (folder / "left-over").touch()
    catalog.build(data, WEEK + 1, folder)
    assert not (folder / "left-over").exists()
    assert catalog.is_current(folder, WEEK + 1)
    assert [path.name for path in folder.parent.iterdir()] == ["catalog"]


def test_a_failed_build_leaves_the_old_catalog(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out" / "catalog"
    catalog.build(data, WEEK, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(_path: Path, _value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(catalog, "_write_json", full_disk)
    with pytest.raises(RacksortError, match="No space left on device"):
        catalog.build(data, WEEK + 1, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["catalog"]


def test_a_folder_of_somebody_else_is_never_replaced(data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    with pytest.raises(RacksortError, match="isn't a catalog: choose another folder"):
        catalog.build(data, WEEK, folder)
    assert (folder / "holiday.jpg").exists()


def test_a_week_without_sales_before_it_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match="no sales in the 6 weeks before week 200"):
        catalog.build(data, 200, tmp_path / "catalog")


def test_catalog_json_tells_a_catalog_of_another_now(data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    assert not catalog.is_current(folder, WEEK)
    catalog.build(data, WEEK, folder)
    assert catalog.is_current(folder, WEEK)
    assert catalog.is_current(folder, WEEK, REFERENCE_SOURCE)
    assert not catalog.is_current(folder, WEEK, "another shop")
    assert not catalog.is_current(folder, WEEK - 1)
    assert not catalog.is_current(folder, WEEK + 1)
    header = json.loads((folder / "catalog.json").read_text())
    (folder / "catalog.json").write_text(json.dumps(header | {"schema_version": 99}))
    assert not catalog.is_current(folder, WEEK)
    (folder / "catalog.json").write_text("{")
    assert not catalog.is_current(folder, WEEK)


def test_progress_grows_from_nothing_to_all(data: Dataset, tmp_path: Path) -> None:
    told: list[float] = []
    catalog.build(data, WEEK, tmp_path / "catalog", lambda _stage, fraction: told.append(fraction))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)


def test_slugs() -> None:
    assert slug("FRZN MEAT/MEAT DINNERS") == "frzn-meat-meat-dinners"
    assert slug("CHIPS&SNACKS") == "chips-snacks"
    assert slugs(["B & C", "A", "B/C", "A", "", "&"]) == {"a": ["A"], "b-c": ["B & C", "B/C"]}
