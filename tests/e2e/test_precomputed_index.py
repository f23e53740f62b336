"""Precomputed lists by way of a real Elasticsearch: published, pulled, broken off, overtaken."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import BadRequestError, Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.loading.bulk import BULK
from api.catalog.loading.errors import LoadFailed
from api.fallback import index, layout, publish, pull
from api.fallback.check import verify
from api.fallback.errors import FallbackInvalid
from api.fallback.index import Owner
from api.fallback.layout import ContainerLists
from api.fallback.store import PrecomputedLists
from ensemble.errors import RacksortError
from racksort.commands import precompute
from tests.conftest import RealElasticsearch
from tests.unit.fallback import stores
from tests.unit.fallback.stores import Content, small

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MANY = Content(
    (*small().containers, ContainerLists("grid", [], [40, 2, 7], 0)),
    {int(each): ([7, 12], [1_000 + int(each) % 400], [], []) for each in np.arange(1, 1_501) * 3},
)
"""1,500 customers, in shards of 2."""


@pytest.fixture
def connection(clean_elasticsearch: RealElasticsearch) -> Connection:
    return clean_elasticsearch.connection


@pytest.fixture
def client(connection: Connection) -> Iterator[Elasticsearch]:
    with connection.synchronous() as found:
        yield found


def equal(one: Path, other: Path) -> bool:
    """Whether two stores have the same bytes."""
    files = [layout.HEADER, layout.CUSTOMERS, layout.LISTS]
    found = filecmp.cmpfiles(layout.read_current(one), layout.read_current(other), files, shallow=False)
    return found == (files, [], [])


def states(client: Elasticsearch) -> list[tuple[str, str, bool]]:
    return [(each.index, each.meta.state, each.live) for each in index.every(client)]


@pytest.mark.parametrize("content", [MANY, small(), Content((), {}), replace(small(), lists={})])
def test_what_is_published_is_pulled_byte_by_byte(
    connection: Connection, client: Elasticsearch, tmp_path: Path, content: Content
) -> None:
    stores.write(tmp_path / "made", content, created_at=1_764_000_000.123)
    told: list[tuple[int, int]] = []
    published = publish.publish(connection, tmp_path / "made", report=lambda *each: told.append(each))
    customers = len(content.lists)
    assert (published.customers, published.previous) == (customers, None)
    assert told[-1] == (customers, customers)
    assert client.count(index=index.ALIAS)["count"] == customers + 1
    told.clear()
    pulled = pull.pull(connection, tmp_path / "pulled", report=lambda *each: told.append(each))
    assert equal(tmp_path / "made", tmp_path / "pulled")
    verify(tmp_path / "pulled")
    assert (pulled.index, pulled.customers, pulled.pulled) == (published.index, customers, customers)
    assert (told[0], told[-1]) == ((0, customers), (customers, customers))
    again = pull.pull(connection, tmp_path / "pulled")
    assert (again.pulled, again.generation) == (0, pulled.generation)


def test_others_can_read_the_documents(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    stores.write(tmp_path, small())
    publish.publish(connection, tmp_path)
    header = client.get(index=index.ALIAS, id="header")["_source"]["header"]
    assert header["containers"][0] == {
        "container_id": "deals",
        "table": [31, 12, 7, 40, 5_000_000_000],
        "popular": [12, 7, 31],
        "places": 4,
    }
    customer = client.get(index=index.ALIAS, id="3")["_source"]
    assert customer["customer_id"] == 3
    with pytest.raises(BadRequestError, match="strict_dynamic_mapping_exception"):
        client.index(index=index.ALIAS, id="4", document={"customer": 4})


def test_a_newer_version_takes_over_and_the_one_before_stays(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    names = []
    for number in range(3):
        stores.write(tmp_path / "made", small(), created_at=1_000.0 + number)
        names.append(publish.publish(connection, tmp_path / "made").index)
        pull.pull(connection, tmp_path / "pulled")
        assert equal(tmp_path / "made", tmp_path / "pulled")
    assert states(client) == [(names[2], "complete", True), (names[1], "complete", False)]
    assert [path.is_dir() for path in (tmp_path / "pulled").glob("*-*")] == [True]


@pytest.mark.parametrize("failing", ["_documents", "put_meta", "make_live"])
def test_a_publication_that_is_broken_off_leaves_the_version_before(
    connection: Connection, client: Elasticsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    stores.write(tmp_path / "old", small())
    old = publish.publish(connection, tmp_path / "old").index
    stores.write(tmp_path / "new", MANY)

    def fail(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    said: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(publish if failing == "_documents" else index, failing, fail)
        with pytest.raises(KeyboardInterrupt):
            publish.publish(connection, tmp_path / "new", say=said.append)
    assert [name for name, _, live in states(client) if live] == [old]
    assert len(said) == 1
    pull.pull(connection, tmp_path / "pulled")
    assert equal(tmp_path / "old", tmp_path / "pulled")
    publish.publish(connection, tmp_path / "new")
    assert [state for _, state, _ in states(client)] == ["complete"] * 2


@pytest.mark.parametrize(
    ("owner", "age", "stays"),
    [
        (Owner("publisher-7", 1234), 20.0, True),
        (Owner("publisher-7", 1234), 601.0, False),
        (Owner(index.this_process().host, 2**22 + 1), 0.0, False),
        (index.this_process(), 0.0, False),
    ],
)
def test_only_what_nobody_publishes_any_more_is_deleted(
    connection: Connection, client: Elasticsearch, tmp_path: Path, owner: Owner, age: float, stays: bool
) -> None:
    now = 1_764_000_000.0
    meta = index.Meta(customers=5, header_digest="", changed_at=now - age, owner=owner)
    other = index.begin(client, date(2025, 11, 23), meta)
    stores.write(tmp_path, small())
    publish.publish(connection, tmp_path, now=lambda: now)
    assert (other in [name for name, _, _ in states(client)]) == stays


def test_a_long_publication_shows_signs_of_life(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    stores.write(tmp_path, MANY)
    clock = iter(range(0, 100_000, 20))
    seen = []

    def look(_done: int, _all: int) -> None:
        seen.append(index.every(client)[0].meta.changed_at)

    publish.publish(
        connection, tmp_path, bulk=replace(BULK, documents=100), report=look, now=lambda: float(next(clock))
    )
    assert len(set(seen)) > 5


def test_a_damaged_store_is_never_published(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    stores.write(tmp_path, small())
    stores.spoil_first_list(tmp_path)
    with pytest.raises(FallbackInvalid, match="is damaged"):
        publish.publish(connection, tmp_path)
    assert states(client) == []


def test_an_index_that_lost_documents_on_the_way_is_not_made_live(
    connection: Connection, client: Elasticsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.write(tmp_path, small())
    documents = publish._documents
    monkeypatch.setattr(publish, "_documents", lambda generation: list(documents(generation))[:-1])
    with pytest.raises(LoadFailed, match=r"has 3 documents, but 4 were sent: publish again$"):
        publish.publish(connection, tmp_path)
    assert states(client) == []


def _spoil_record(client: Elasticsearch, name: str) -> None:
    record = client.get(index=name, id="3")["_source"]["record"]
    client.update(index=name, id="3", doc={"record": record.swapcase()}, refresh=True)


def _lose(client: Elasticsearch, name: str) -> None:
    client.delete(index=name, id="3", refresh=True)


def _other_header(client: Elasticsearch, name: str) -> None:
    header = client.get(index=name, id="header")["_source"]["header"]
    client.index(index=name, id="header", document={"header": header | {"release": "another"}}, refresh=True)


def _no_header(client: Elasticsearch, name: str) -> None:
    client.index(index=name, id="header", document={}, refresh=True)


@pytest.mark.parametrize("spoil", [_spoil_record, _lose, _other_header, _no_header])
def test_what_is_not_what_was_published_is_never_switched_to(
    connection: Connection, client: Elasticsearch, tmp_path: Path, spoil: Callable[[Elasticsearch, str], None]
) -> None:
    stores.write(tmp_path / "made", MANY)
    name = publish.publish(connection, tmp_path / "made").index
    stores.write(tmp_path / "pulled", small())
    spoil(client, name)
    with pytest.raises(FallbackInvalid, match="isn't what was published"):
        pull.pull(connection, tmp_path / "pulled")
    assert PrecomputedLists.open(tmp_path / "pulled").customers == len(small().lists)
    publish.publish(connection, tmp_path / "made")
    pull.pull(connection, tmp_path / "pulled")
    assert equal(tmp_path / "made", tmp_path / "pulled")


def test_a_pull_that_is_broken_off_goes_on_where_it_was(connection: Connection, tmp_path: Path) -> None:
    stores.write(tmp_path / "made", MANY)
    publish.publish(connection, tmp_path / "made")
    stores.write(tmp_path / "pulled", small())

    def break_off(done: int, _all: int) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull.pull(connection, tmp_path / "pulled", report=break_off)
    assert PrecomputedLists.open(tmp_path / "pulled").customers == len(small().lists)
    assert pull.pull(connection, tmp_path / "pulled").pulled == len(MANY.lists) - 100
    assert equal(tmp_path / "made", tmp_path / "pulled")


def test_a_version_that_changes_midway_is_not_mixed_in(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    stores.write(tmp_path / "first", MANY, created_at=1_000.0)
    first = publish.publish(connection, tmp_path / "first").index
    stores.write(tmp_path / "second", MANY, created_at=2_000.0)

    def overtake(done: int, _all: int) -> None:
        if done == 100:
            publish.publish(connection, tmp_path / "second")

    pull.pull(connection, tmp_path / "pulled", report=overtake)
    assert equal(tmp_path / "first", tmp_path / "pulled")
    pull.pull(connection, tmp_path / "pulled")
    assert equal(tmp_path / "second", tmp_path / "pulled")

    assert first in [name for name, _, _ in states(client)]
    index.make_live(client, first)
    with pytest.raises(FallbackInvalid, match=r"was deleted while it was pulled .*: pull again$"):
        pull.pull(connection, tmp_path / "pulled", report=_deleting(client, first))
    assert equal(tmp_path / "second", tmp_path / "pulled")


def _deleting(client: Elasticsearch, name: str) -> Callable[[int, int], None]:
    def delete(done: int, _all: int) -> None:
        if done == 100:
            client.indices.delete(index=name)

    return delete


def test_local_lists_that_were_damaged_are_pulled_again(connection: Connection, tmp_path: Path) -> None:
    stores.write(tmp_path / "made", MANY)
    publish.publish(connection, tmp_path / "made")
    pull.pull(connection, tmp_path / "pulled")
    stores.spoil_first_list(tmp_path / "pulled")
    assert pull.pull(connection, tmp_path / "pulled").pulled == len(MANY.lists)
    assert equal(tmp_path / "made", tmp_path / "pulled")


def test_where_nothing_was_published_is_one_clear_line(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    with pytest.raises(FallbackInvalid, match="has no precomputed lists: publish some with"):
        pull.pull(connection, tmp_path)
    stores.write(tmp_path / "made", small())
    name = publish.publish(connection, tmp_path / "made").index
    meta = index.Meta(format=99, state="complete", customers=3, header_digest="", changed_at=0.0)
    index.put_meta(client, name, meta)
    with pytest.raises(FallbackInvalid, match="of format 99, this racksort reads 2"):
        pull.pull(connection, tmp_path / "pulled")


def test_an_elasticsearch_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    nowhere = Connection(("http://127.0.0.1:9",))
    with pytest.raises(FallbackInvalid, match=r"^Elasticsearch at http://127\.0\.0\.1:9: can't be reached"):
        pull.pull(nowhere, tmp_path)
    stores.write(tmp_path, small())
    with pytest.raises(LoadFailed, match=r"^Elasticsearch at http://127\.0\.0\.1:9: can't be reached"):
        publish.publish(nowhere, tmp_path)


def test_one_machine_publishes_and_another_pulls(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", connection.urls[0])

    def told(**options: Any) -> dict[str, Any]:
        precompute.command(**options, as_json=True)
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    made, pulled = tmp_path / "made", tmp_path / "pulled"
    stores.write(made, MANY)
    published = told(out=made, source=precompute.Source.files, to=precompute.Target.elasticsearch)["published"]
    assert published["customers"] == 1_500
    result = told(out=pulled, source=precompute.Source.elasticsearch)
    assert (result["index"], result["customers"]) == (published["index"], 1_500)
    assert equal(made, pulled)
    precompute.command(out=pulled, source=precompute.Source.elasticsearch)
    assert f"lists of 1,500 customers from {published['index']}, 0 of them pulled" in capsys.readouterr().out
    assert told(out=pulled, check=True)["for_everybody"] == 2
    for place in ("files", "elasticsearch"):
        with pytest.raises(RacksortError, match="the lists are there already"):
            told(out=made, source=precompute.Source(place), to=precompute.Target(place))
    with pytest.raises(RacksortError, match="has no precomputed lists"):
        told(out=tmp_path / "none", source=precompute.Source.files, to=precompute.Target.elasticsearch)
