"""Versions go live in one step, and old ones are kept as asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from elasticsearch import ConnectionTimeout, Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import CONTAINERS, version_of
from api.catalog.loading import versions
from api.catalog.loading.errors import LoadFailed
from api.catalog.loading.load import Loaded, LoadOptions, load
from tests.e2e.catalog_command.shops import (
    TODAY,
    aliased,
    live,
    states,
    write_folder,
)
from tests.waiting import until

pytestmark = pytest.mark.e2e


def test_aliases_move_together_and_are_never_two_or_none(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "shop")
    load(connection, [folder])
    ended = threading.Event()
    seen: set[tuple[frozenset[str], frozenset[str]]] = set()

    def watch() -> None:
        with connection.synchronous() as watcher:
            while not ended.is_set():
                products, containers = aliased(watcher)
                seen.add((frozenset(products), frozenset(containers)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:  # no version goes before it was seen by who watches, which may be slow
        until(lambda: len(seen) >= 1)
        load(connection, [folder])
        until(lambda: len(seen) >= 2)
        for _ in range(10):
            versions.rollback(client)
            versions.rollback(client, max(states(client)))
        load(connection, [folder])
        until(lambda: len(seen) >= 3)
    finally:
        ended.set()
        thread.join()
    assert len(seen) == 3
    for products, containers in seen:
        assert len(products) == len(containers) == 1
        assert {version_of(index) for index in products} == {
            index.removeprefix(f"{CONTAINERS}-") for index in containers
        }


def test_a_version_is_live_even_where_older_ones_can_t_be_deleted(
    connection: Connection, client: Elasticsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "shop")
    first = load(connection, [folder]).version
    said: list[str] = []

    def attempt() -> Loaded:
        return load(connection, [folder], options=LoadOptions(keep=0), say=said.append)

    def failing(error: BaseException) -> Callable[[Elasticsearch, str], None]:
        def delete(_client: Elasticsearch, _version: str) -> None:
            raise error

        return delete

    with monkeypatch.context() as patched:
        patched.setattr(versions, "delete", failing(ConnectionTimeout("not now")))
        second = attempt()
        assert states(client) == {second.version: "live", first: "previous"}
        assert said == [
            (
                f"version {second.version} is live, but older ones can't be deleted (no answer in time): the next load "
                "does it"
            )
        ]
        said.clear()
        patched.setattr(versions, "delete", failing(SystemExit(130)))
        with pytest.raises(SystemExit):
            attempt()
        third = live(client)
        assert third not in {first, second.version}
        assert said == [f"version {third} is live; the next load deletes the older ones"]
    last = attempt().version
    assert states(client) == {last: "live"}


def test_older_versions_are_kept_as_asked_and_the_one_that_was_live_first(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "shop")
    clock = iter(range(10**6))

    def again(keep: int) -> str:
        return load(connection, [folder], options=LoadOptions(keep=keep), now=lambda: TODAY + next(clock)).version

    names = [again(keep=2) for _ in range(4)]
    assert names == [f"2026-11-24-{number}" for number in (1, 2, 3, 4)]
    assert set(states(client)) == set(names[1:])
    versions.rollback(client, names[1])
    assert again(keep=1) == "2026-11-24-5"
    assert states(client) == {"2026-11-24-5": "live", "2026-11-24-2": "previous"}
    again(keep=0)
    assert states(client) == {"2026-11-24-6": "live"}
    with pytest.raises(LoadFailed, match=r"--to 2026-11-24-2: there is no such complete version .*; there is none"):
        versions.rollback(client, "2026-11-24-2")
