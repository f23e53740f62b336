"""What a load puts there: everything that was good, as it was written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import CONTAINERS, PRODUCTS, Meta, products_index
from api.catalog.loading import versions
from api.catalog.loading.errors import LoadFailed
from api.catalog.loading.load import Loaded, LoadOptions, load
from api.catalog.loading.verify import Sample, verify
from api.errors import CatalogInvalid
from tests.contract.shop import CATEGORIES, DEFINITIONS, NOW_DAY, NOW_WEEK
from tests.contract.shop import PRODUCTS as SHOP
from tests.e2e.catalog_command.shops import (
    TODAY,
    aliased,
    good,
    held,
    live,
    write_folder,
    write_lines,
)

pytestmark = pytest.mark.e2e


def expected(product: dict[str, Any]) -> dict[str, Any]:
    document = {name: value for name, value in product.items() if value is not None}
    if document["boost"] == float("-inf"):
        return document | {"boost": 0.0, "excluded": True}
    return document


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_shop_is_live_as_it_was_written(
    connection: Connection, client: Elasticsearch, tmp_path: Path, suffix: str
) -> None:
    folder = write_folder(tmp_path / "shop", suffix)
    products = {product.product_id: expected(asdict(product)) for product in SHOP}
    if suffix == "jsonl":
        rows = [asdict(product) for product in SHOP]
        for row in rows:
            row["boost"] = 0.0 if row["boost"] == float("-inf") else row["boost"]  # which JSON can't say
        del products[20]["excluded"]
        files = [write_lines(tmp_path / "products.jsonl", rows)]
        loaded = load(connection, files, containers=folder / "containers.json", now=lambda: TODAY)
    else:
        loaded = load(connection, [folder], now=lambda: TODAY)
    if suffix == "csv":
        del products[5_000_000_000]["category"]  # an empty cell is missing
    assert loaded.version == live(client) == "2026-11-24-1"
    assert (loaded.documents, loaded.bad_rows, loaded.previous) == (len(SHOP), 0, None)
    assert held(client) == products
    entries = client.search(index=CONTAINERS, size=100, sort=["position"])["hits"]["hits"]
    assert [entry["_source"]["definition"] for entry in entries] == [entry.as_json() for entry in DEFINITIONS]
    assert [entry["_id"] for entry in entries] == [entry.container_id for entry in DEFINITIONS]
    (version,) = versions.every(client)
    named = suffix != "jsonl"
    assert version.meta == Meta(
        now_day=NOW_DAY if named else None,
        now_week=NOW_WEEK if named else None,
        categories=CATEGORIES if named else {},
        source="the small shop" if named else "products.jsonl",
        state="complete",
        products=len(SHOP),
        changed_at=TODAY,
        attributes=["brand", "repeat_rate", "first_week"],
    )
    settings = client.indices.get_settings(index=PRODUCTS)[products_index(loaded.version)]["settings"]["index"]
    assert "refresh_interval" not in settings
    assert (settings["number_of_shards"], settings["auto_expand_replicas"]) == ("1", "0-1")


def test_products_alone_keep_containers_categories_and_moment(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "new.jsonl", [good(1), good(2)])
    with pytest.raises(LoadFailed, match="no live version whose containers could be kept: give --containers"):
        load(connection, [path])
    load(connection, [write_folder(tmp_path / "shop")])
    load(connection, [path])
    version = versions.live_of(versions.every(client))
    assert version is not None
    assert (version.meta.now_day, version.meta.categories, version.meta.source) == (NOW_DAY, CATEGORIES, "new.jsonl")
    assert (version.meta.now_week, version.meta.attributes) == (NOW_WEEK, [])
    assert client.count(index=CONTAINERS)["count"] == len(DEFINITIONS)
    assert held(client).keys() == {1, 2}
    bare = {name: value for name, value in good(3).items() if name != "department"}
    with pytest.raises(
        CatalogInvalid, match="container 'dairy' uses 'department', but the products have no such column"
    ):
        load(connection, [write_lines(path, [bare])])
    assert held(client).keys() == {1, 2}


def test_further_columns_get_fields_of_their_type(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    containers = tmp_path / "containers.json"
    containers.write_text("[]")
    further = {"weight": 1.5, "colour": "red", "organic": True, "stock": 5}
    load(connection, [write_lines(tmp_path / "p.jsonl", [good(1, **further), good(2)])], containers=containers)
    version = versions.live_of(versions.every(client))
    assert version is not None
    assert [version.fields[name] for name in further] == ["double", "keyword", "boolean", "long"]
    assert further.items() <= held(client)[1].items()


def test_an_empty_file_doesn_t_empty_the_shop(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    (tmp_path / "p.csv").write_text("product_id,category_id,available,category,department,popularity\n")
    with pytest.raises(LoadFailed, match=r"p\.csv: holds no product"):
        load(connection, [tmp_path / "p.csv"])
    assert client.count(index=PRODUCTS)["count"] == len(SHOP)


def test_bad_rows_are_listed_and_the_others_are_live(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "shop")
    header = "product_id,category_id,available,category,department,popularity,note,boost\n"
    (tmp_path / "one.csv").write_text(
        header + '1,1,true,CHEESE,DAIRY,1,"two\nlines",\n'  # lines 2 and 3
        "2,1,yes,CHEESE,DAIRY,1,,\n"  # 4
        "3,1,true,CHEESE,DAIRY,1\n"  # 5
        "4,1,true,CHEESE,DAIRY,many,,\n"  # 6
        "5,1,true,CHEESE,DAIRY,,,inf\n"  # 7
        f"6,1,true,CHEESE,DAIRY,,{'x' * 40_000},\n"  # 8: more than a keyword takes
    )
    rows = [good(1), good(7, popularity=[1]), good(8)]
    write_lines(tmp_path / "two.jsonl", rows)
    files = [tmp_path / "one.csv", tmp_path / "two.jsonl"]
    listed = tmp_path / "bad.jsonl"
    said: list[str] = []

    def attempt(allowed: int) -> Loaded:
        options = LoadOptions(max_bad=allowed, bad_rows=listed, chunk_rows=2)
        return load(connection, files, containers=folder / "containers.json", options=options, say=said.append)

    with pytest.raises(LoadFailed, match=r"where --max-bad allows 6: mend those that .*bad\.jsonl lists, or raise"):
        attempt(6)
    assert aliased(client) == (set(), set())
    assert versions.every(client) == []
    said.clear()
    assert (attempt(7).documents, attempt(7).bad_rows) == (2, 7)
    assert held(client).keys() == {1, 8}
    entries = [json.loads(line) for line in listed.read_text().splitlines()]
    found = {(Path(entry["file"]).name, entry["line"]): entry["reason"] for entry in entries}
    refused = found.pop(("one.csv", 8))
    assert refused.startswith("Elasticsearch refuses it: document_parsing_exception: ")
    assert "immense term" in refused
    assert found == {
        ("one.csv", 4): "column 'available' holds 'yes': write true or false",
        ("one.csv", 5): "the row has 6 fields, not 8: write one for each column",
        ("one.csv", 6): "column 'popularity' holds 'many': write a number that a float32 can hold",
        ("one.csv", 7): "column 'boost' holds 'inf': write a number, or -inf to take the product out",
        ("two.jsonl", 1): "column 'product_id' holds 1 again: keep one row of it",
        ("two.jsonl", 2): "column 'popularity' holds [1]: write a number that a float32 can hold",
    }
    assert sum(line.startswith(f"{tmp_path}") for line in said) == 14


def test_a_document_that_isn_t_what_was_sent_is_noticed(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    from api.catalog.loading.documents import Document

    load(connection, [write_folder(tmp_path / "shop")])
    kinds = {"price_ratio": "float"}

    def sample(*bodies: bytes) -> Sample:
        chosen = Sample()
        for body in bodies:
            chosen.offer(Document("7", body, tmp_path, 1))
        return chosen

    with pytest.raises(LoadFailed, match="has 8 documents, but 1 were sent"):
        verify(client, PRODUCTS, sample(b"{}"), kinds)
    with pytest.raises(LoadFailed, match="product 7 isn't what was sent"):
        verify(client, PRODUCTS, sample(*[b'{"price_ratio": 0.25}'] * 8), kinds)
