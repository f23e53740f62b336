"""Updates of the live version."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from api.catalog.elastic.catalog import ElasticsearchCatalog, Options
from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import Owner
from api.catalog.loading.load import load
from api.catalog.loading.update import update
from api.errors import CatalogInvalid
from api.metrics import Metrics
from tests.e2e.catalog_command.shops import (
    good,
    held,
    unfinished,
    write_folder,
    write_lines,
)

pytestmark = pytest.mark.e2e


def test_updates_change_what_they_name_alone(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    rows = [
        good(1, regular_price=4.0, price=4.0, brand="A"),
        good(2, regular_price=2.0, price=2.0),
        good(3),
        good(4, regular_price=2.0, boost=0.25),
        good(5, boost=1.0),
    ]
    containers = write_folder(tmp_path / "shop") / "containers.json"
    load(connection, [write_lines(tmp_path / "p.jsonl", rows)], containers=containers)
    before = held(client)
    (tmp_path / "prices.csv").write_text(
        "product_id,price,regular_price,price_ratio,available,boost\n"
        "1,3,,,,\n"  # three quarters of the regular price that the index has
        "2,5,,,false,\n"  # no more than 1
        "3,1,4,,,\n"  # the row's own regular price
        "4,1,,0.9,,-inf\n"  # the row's own ratio
        "5,,,,,0.5\n"
        "6,,,,false,\n"
        "7,1,,,,\n"
    )
    said: list[str] = []
    listed = tmp_path / "bad.jsonl"
    done = update(connection, [tmp_path / "prices.csv"], max_bad=2, bad_rows=listed, say=said.append)
    assert (done.documents, done.bad_rows) == (5, 2)
    assert [line.partition("prices.csv:")[2] for line in sorted(said)] == [
        "7: the live version has no product 6: load the catalog again with it",
        "8: the live version has no product 7: load the catalog again with it",
    ]
    assert held(client) == {
        1: before[1] | {"price": 3.0, "price_ratio": 0.75},
        2: before[2] | {"price": 5.0, "price_ratio": 1.0, "available": False},
        3: before[3] | {"price": 1.0, "regular_price": 4.0, "price_ratio": 0.25},
        4: before[4] | {"price": 1.0, "price_ratio": 0.9, "boost": 0.0, "excluded": True},
        5: before[5] | {"boost": 0.5, "excluded": False},
    }


def test_an_update_may_bring_what_rules_need(connection: Connection, tmp_path: Path) -> None:
    containers = write_folder(tmp_path / "shop") / "containers.json"
    load(connection, [write_lines(tmp_path / "p.jsonl", [good(1), good(2, repeat_rate=0.5)])], containers=containers)

    async def brands() -> tuple[bool, list[int]]:
        options = Options(timeout_s=10.0, attributes=True)
        catalog = await ElasticsearchCatalog.open(connection, options, Metrics(), warm=False)
        pool = await catalog.lookup(np.array([1, 2], np.int64))
        await catalog.close()
        assert pool.attributes is not None
        codes = pool.attributes.brand()
        return codes is not None, [] if codes is None else codes.tolist()

    assert asyncio.run(brands()) == (False, [])
    (tmp_path / "brands.csv").write_text("product_id,brand\n2,Alp\n")
    update(connection, [tmp_path / "brands.csv"])
    assert asyncio.run(brands()) == (True, [-1, 0])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("product_id,colour\n1,red\n", "the live version has no column 'colour': leave it out, or load the catalog"),
        ("product_id,excluded\n1,true\n", "the live version has no column 'excluded'"),
        ("price\n1\n", "column 'product_id' (long) is missing: add it"),
    ],
)
def test_a_file_of_updates_that_doesn_t_fit_is_one_line(
    connection: Connection, client: Elasticsearch, tmp_path: Path, content: str, line: str
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    before = held(client)
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(CatalogInvalid) as caught:
        update(connection, [tmp_path / "p.csv"])
    assert str(caught.value).startswith(f"{tmp_path / 'p.csv'}: {line}")
    assert held(client) == before


def test_a_price_without_a_regular_price_is_a_bad_row(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    path = write_lines(tmp_path / "p.jsonl", [{"product_id": 7, "mailer": 1.0}, {"product_id": 12, "price": 2}])
    said: list[str] = []
    done = update(connection, [path], max_bad=1, bad_rows=tmp_path / "bad.jsonl", say=said.append)
    assert (done.documents, done.bad_rows) == (1, 1)
    assert said == [
        f"{path}:2: product 12 gets a price, but has no regular price above 0: give regular_price or price_ratio"
    ]
    assert held(client)[7]["mailer"] == 1.0


def test_an_update_warns_of_a_load_that_is_under_way(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    loaded = load(connection, [write_folder(tmp_path / "shop")])
    other = unfinished(client, Owner(host="loader-7", pid=1234), time.time())
    path = write_lines(tmp_path / "p.jsonl", [{"product_id": 7, "available": False}])
    said: list[str] = []
    assert update(connection, [path], say=said.append).version == loaded.version
    assert said == [f"version {other} is being loaded and won't have these updates: update again when it is live"]
    assert not held(client)[7]["available"]
