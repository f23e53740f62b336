"""What the contract suite can't see of the embedded catalog: its files' faults, its bounds, and any filter and sort."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.embedded import EmbeddedCatalog
from api.catalog.files import read
from api.errors import CatalogInvalid
from tests.fakes.catalog import FakeCatalog

PRODUCTS: dict[str, list[Any]] = {
    "product_id": [1, 2, 3],
    "category_id": [1, 1, 2],
    "category": ["CHEESE", "CHEESE", "HERBS"],
    "available": [True, True, False],
    "popularity": [1.0, 2.0, 3.0],
}
CONTAINER: dict[str, Any] = {
    "container_id": "all",
    "title": "All",
    "kind": "grid",
    "filter": {},
    "sort": [{"field": "popularity", "order": "desc"}],
    "size": None,
}
HEADER: dict[str, Any] = {"schema_version": 1, "categories": {"cheese": ["CHEESE"], "herbs": ["HERBS"]}}


def write(
    folder: Path,
    products: dict[str, list[Any]] | None = None,
    containers: list[dict[str, Any]] | None = None,
    header: dict[str, Any] | None = None,
) -> Path:
    pl.DataFrame(PRODUCTS if products is None else products).write_parquet(folder / "products.parquet")
    (folder / "containers.json").write_text(json.dumps([CONTAINER] if containers is None else containers))
    (folder / "catalog.json").write_text(json.dumps(HEADER if header is None else header))
    return folder


def without(columns: dict[str, list[Any]], name: str) -> dict[str, list[Any]]:
    return {key: values for key, values in columns.items() if key != name}


@pytest.mark.parametrize(
    ("products", "line"),
    [
        (without(PRODUCTS, "category_id"), r"products\.parquet: column 'category_id' \(Int32\) is missing: add it"),
        (without(PRODUCTS, "category"), r"products\.parquet: text column 'category' is missing"),
        (
            without(PRODUCTS, "popularity"),
            r"container 'all' uses 'popularity', but products\.parquet has no such column",
        ),
        (PRODUCTS | {"product_id": [1, 2, 2]}, r"column 'product_id' holds 2 more than once"),
        (PRODUCTS | {"product_id": [0, 1, 2]}, r"column 'product_id' holds 0: 1 is the lowest"),
        (
            PRODUCTS | {"product_id": ["1", "2", "3"]},
            r"column 'product_id' must hold a Int64 in every row; it is String",
        ),
        (PRODUCTS | {"category_id": [1, None, 3]}, r"column 'category_id' must .* 1 missing values"),
        (PRODUCTS | {"category_id": [1, 2**40, 3]}, r"column 'category_id' must hold a Int32"),
        (PRODUCTS | {"category_id": [1.0, 1.5, 3.0]}, r"column 'category_id' must hold a Int32"),
        (PRODUCTS | {"category_id": [1, -1, 3]}, r"column 'category_id' holds -1: 0 is the lowest"),
        (PRODUCTS | {"available": [1, 1, 0]}, r"column 'available' must hold a Boolean"),
        (PRODUCTS | {"coupon": [1.0, float("nan"), 0.0]}, r"column 'coupon' holds NaN or infinity"),
        (PRODUCTS | {"boost": [1.0, float("inf"), 0.0]}, r"column 'boost' must hold a number, or -inf"),
        (PRODUCTS | {"boost": [1.0, float("nan"), 0.0]}, r"column 'boost' must hold a number, or -inf"),
    ],
)
def test_a_bad_product_file_is_named_in_one_line(tmp_path: Path, products: dict[str, list[Any]], line: str) -> None:
    with pytest.raises(CatalogInvalid, match=line) as caught:
        EmbeddedCatalog.open(write(tmp_path, products))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"kind": "carousel"}, r"containers\.json: 0\.kind: "),
        ({"size": 0}, r"containers\.json: 0\.size: "),
        ({"sort": [{"field": "popularity", "order": "down"}]}, r"containers\.json: 0\.sort\.0\.order: "),
        ({"filter": {"popularity": {"over": 1}}}, r"containers\.json: 0\.filter\.popularity\."),
        ({"filter": {"colour": "red"}}, r"container 'all' uses 'colour'"),
        ({"filter": {"category": {"gt": 1}}}, r"container 'all': its filter doesn't fit"),
        ({"filter": {"popularity": "much"}}, r"container 'all': its filter doesn't fit"),
        ({"colour": "red"}, r"containers\.json: 0\.colour: "),
    ],
)
def test_a_bad_definition_is_named_in_one_line(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with pytest.raises(CatalogInvalid, match=line) as caught:
        EmbeddedCatalog.open(write(tmp_path, containers=[CONTAINER | change]))
    assert "\n" not in str(caught.value)


def test_two_containers_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match="container_id 'all' occurs twice"):
        EmbeddedCatalog.open(write(tmp_path, containers=[CONTAINER, CONTAINER]))


@pytest.mark.parametrize("name", ["products.parquet", "containers.json", "catalog.json"])
@pytest.mark.parametrize("fault", ["missing", "garbage"])
def test_a_missing_or_unreadable_file_is_named(tmp_path: Path, name: str, fault: str) -> None:
    path = write(tmp_path) / name
    path.unlink() if fault == "missing" else path.write_bytes(b"\x00garbage")
    with pytest.raises(CatalogInvalid, match="products" if name == "products.parquet" else name) as caught:
        EmbeddedCatalog.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_catalog_of_another_format_asks_to_be_prepared_again(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match="schema_version 2 isn't 1: prepare the catalog again"):
        EmbeddedCatalog.open(write(tmp_path, header={"schema_version": 2}))


def test_an_absent_moment_and_absent_categories_are_allowed(tmp_path: Path) -> None:
    assert (
        EmbeddedCatalog.open(write(tmp_path, without(PRODUCTS, "category"), header={"schema_version": 1})).now_day
        is None
    )


def test_an_empty_catalog_serves_nothing(tmp_path: Path) -> None:
    empty = {
        "product_id": pl.Series([], dtype=pl.Int64),
        "category_id": pl.Series([], dtype=pl.Int32),
        "available": pl.Series([], dtype=pl.Boolean),
    }
    folder = write(tmp_path, empty, containers=[CONTAINER | {"sort": []}], header={"schema_version": 1})  # type: ignore[arg-type]
    catalog = EmbeddedCatalog.open(folder)
    assert asyncio.run(catalog.pool("all")).product_id.size == 0
    assert asyncio.run(catalog.lookup(np.array([4, 0]))).category_id.tolist() == [0, 0]


async def test_shared_arrays_can_t_be_written(tmp_path: Path) -> None:
    catalog = EmbeddedCatalog.open(write(tmp_path))
    for pool in (await catalog.pool("all"), await catalog.pool("all", "cheese")):
        for array in (pool.product_id, pool.category_id, pool.offer, pool.boost):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


async def test_narrowed_pools_are_bounded_and_made_again(tmp_path: Path) -> None:
    catalog = EmbeddedCatalog(read(write(tmp_path)), narrowed_pools=1)
    cheese = await catalog.pool("all", "cheese")
    assert await catalog.pool("all", "cheese") is cheese
    await catalog.pool("all", "herbs")
    again = await catalog.pool("all", "cheese")
    assert again is not cheese
    assert again.product_id.tolist() == cheese.product_id.tolist() == [2, 1]
    assert len(catalog._narrowed) == 1


NUMBERS = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])
RECORDS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    category_id=st.integers(0, 5),
    category=st.sampled_from(["CHEESE", "HERBS", ""]),
    available=st.booleans(),
    price_ratio=NUMBERS,
    popularity=st.one_of(st.none(), NUMBERS),
    boost=st.sampled_from([0.0, 0.5, float("-inf")]),
)
CONDITIONS = st.one_of(
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS, min_size=1),
    NUMBERS,
    st.lists(NUMBERS, min_size=1),
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "price_ratio": CONDITIONS,
        "popularity": CONDITIONS,
        "category": st.one_of(st.just("CHEESE"), st.lists(st.sampled_from(["CHEESE", "HERBS"]), min_size=1)),
        "available": st.just(value=True),
    },
)
SORTS: st.SearchStrategy[list[dict[str, str]]] = st.lists(
    st.builds(
        dict[str, str],
        field=st.sampled_from(["price_ratio", "popularity", "category", "product_id"]),
        order=st.sampled_from(["asc", "desc"]),
    ),
    max_size=3,
    unique_by=lambda key: key["field"],
)


@settings(deadline=None, max_examples=60)
@given(
    records=st.dictionaries(st.integers(1, 2**40), RECORDS, min_size=1, max_size=20),
    condition=FILTERS,
    sort=SORTS,
    size=st.one_of(st.none(), st.integers(1, 5)),
)
def test_every_filter_and_sort_means_what_the_fake_says(
    records: dict[int, dict[str, Any]], condition: dict[str, Any], sort: list[dict[str, str]], size: int | None
) -> None:
    products = [{"product_id": name, **record} for name, record in records.items()]
    definition = CONTAINER | {"filter": condition, "sort": sort, "size": size}
    schema = {"popularity": pl.Float32, "price_ratio": pl.Float32}
    columns = {name: [record[name] for record in products] for name in products[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name), containers=[definition])
        pl.DataFrame(columns, schema_overrides=schema).write_parquet(folder / "products.parquet")
        catalog = EmbeddedCatalog.open(folder)
    fake = FakeCatalog(products, [definition], HEADER["categories"])
    for category in (None, "cheese", "herbs"):
        found, expected = asyncio.run(catalog.pool("all", category)), asyncio.run(fake.pool("all", category))
        assert found.product_id.tolist() == expected.product_id.tolist()
        assert found.category_id.tolist() == expected.category_id.tolist()
        assert found.offer.tolist() == expected.offer.tolist()
        assert found.boost.tolist() == expected.boost.tolist()
