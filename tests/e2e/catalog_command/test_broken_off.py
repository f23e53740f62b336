"""Loads that are killed, interrupted or overtaken: the live version is whole, and nothing stays behind."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import CONTAINERS, PRODUCTS, Owner, products_index
from api.catalog.loading import versions
from api.catalog.loading.errors import LoadFailed
from api.catalog.loading.load import LoadOptions, load
from tests.contract.shop import DEFINITIONS
from tests.e2e.catalog_command.shops import (
    MANY,
    command,
    live,
    next_of,
    started,
    states,
    unfinished,
    write_folder,
    write_many,
)
from tests.waiting import until

pytestmark = pytest.mark.e2e


def indexed(client: Elasticsearch) -> int:
    """Documents that the version that is loading has taken; -1 where there is none."""
    loading = [version.name for version in versions.every(client) if version.meta.state == "loading"]
    loading = [name for name in loading if states(client).get(name) == "loading"]
    if not loading:
        return -1
    found = client.options(ignore_status=404).indices.stats(index=products_index(loading[0]), metric=["indexing"])
    entry = found.body.get("_all", {}).get("primaries", {})
    return int(entry.get("indexing", {}).get("index_total", -1))


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_killed_load_leaves_the_old_version_and_the_next_one_cleans_up(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    path = write_many(tmp_path / "many.csv")
    chance = random.Random(47)
    broken_off = 0
    moments = [0, *(chance.randrange(1, MANY) for _ in range(3)), MANY]
    for moment in moments:
        before = live(client)
        count = client.count(index=PRODUCTS)["count"]
        with started(connection, tmp_path, "load", path.name) as process:
            until(lambda at=moment: indexed(client) >= at or process.poll() is not None)  # type: ignore[misc]
            process.kill()
            process.wait()
        now_live = live(client)
        if now_live == before:  # else it was done before the signal came
            assert client.count(index=PRODUCTS)["count"] == count
            assert client.count(index=CONTAINERS)["count"] == len(DEFINITIONS)
            broken_off += "broken off" in states(client).values()
    assert broken_off >= 3
    said: list[str] = []
    broken = [name for name, state in states(client).items() if state == "broken off"]
    loaded = load(connection, [path], say=said.append)
    assert said == [f"version {name} was broken off: it is deleted" for name in broken]
    assert live(client) == loaded.version
    assert client.count(index=PRODUCTS)["count"] == MANY
    assert set(states(client).values()) == {"live", "previous"}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_load_deletes_what_is_unfinished(
    connection: Connection, client: Elasticsearch, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    before = live(client)
    path = write_many(tmp_path / "many.csv")
    with started(connection, tmp_path, "load", path.name) as process:
        until(lambda: indexed(client) > 0)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"racksort: version {next_of(before)} is unfinished; it is deleted" in err
    assert "Traceback" not in err
    assert live(client) == before
    assert list(states(client)) == [before]


def test_a_second_load_is_refused_while_the_first_lives(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "shop")
    other = unfinished(client, Owner(host="loader-7", pid=1234), time.time() - 20)
    _, err = command(connection, tmp_path, "load", folder, expect=2)
    assert err.startswith(f"racksort: process 1234 on loader-7 is loading version {other}, last seen 2")
    assert len(err.splitlines()) == 1
    assert states(client) == {other: "loading"}


@pytest.mark.parametrize(
    ("owner", "age"),
    [(Owner(host="loader-7", pid=1234), 61.0), (Owner(host=versions.this_process().host, pid=2**22 + 1), 0.0)],
)
def test_what_nobody_loads_any_more_is_deleted(
    connection: Connection, client: Elasticsearch, tmp_path: Path, owner: Owner, age: float
) -> None:
    other = unfinished(client, owner, time.time() - age)
    assert states(client) == {other: "broken off"}
    loaded = load(connection, [write_folder(tmp_path / "shop")])
    assert list(states(client)) == [loaded.version]


def test_of_two_loads_that_begin_at_once_the_later_gives_way(
    connection: Connection, client: Elasticsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.catalog.loading.load.clear", lambda *_arguments: None)  # it had seen nothing yet
    other = unfinished(client, Owner(host="loader-7", pid=1234), time.time())
    with pytest.raises(LoadFailed, match=f"is loading version {other}"):
        load(connection, [write_folder(tmp_path / "shop")])
    assert states(client) == {other: "loading"}


@pytest.mark.slow
def test_a_load_whose_version_is_deleted_ends_and_leaves_nothing(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    before = live(client)
    path = write_many(tmp_path / "many.csv")
    with started(connection, tmp_path, "load", path.name) as process:
        until(lambda: indexed(client) > 0)
        versions.delete(client, next_of(before))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].endswith("was deleted meanwhile, by another load or a person: run it again")
    assert list(states(client)) == [before]
    assert not client.indices.exists(index=products_index(next_of(before)))


@pytest.mark.slow
def test_a_loading_version_shows_signs_of_life(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    path = write_many(tmp_path / "many.csv")
    containers = write_folder(tmp_path / "shop") / "containers.json"
    seen: set[float] = set()

    def look(_stage: str, _fraction: float) -> None:
        def changed() -> bool:
            seen.update(version.meta.changed_at for version in versions.every(client))
            return len(seen) >= 3

        until(changed)

    load(connection, [path], containers=containers, options=LoadOptions(pulse_s=0.01), report=look)
    assert len(seen) >= 3
