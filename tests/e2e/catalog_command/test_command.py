"""What ``racksort catalog`` says, and when it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.loading.errors import LoadFailed
from api.catalog.loading.load import load
from tests.e2e.catalog_command.shops import (
    command,
    good,
    held,
    live,
    next_of,
    states,
    write_folder,
    write_lines,
)

pytestmark = pytest.mark.e2e


def test_the_command_says_what_it_did(connection: Connection, client: Elasticsearch, tmp_path: Path) -> None:
    write_folder(tmp_path / "shop")
    out, err = command(connection, tmp_path, "load", "shop", "--to", "elasticsearch")
    first = live(client)
    assert out.startswith(f"version {first} is live: 8 products in ")
    assert out.endswith("; there was none before\n")
    assert "racksort:" not in err
    out, _ = command(connection, tmp_path, "load", "shop", "--json")
    facts = json.loads(out)
    second = live(client)
    assert facts.pop("seconds") > 0
    assert facts.pop("documents_per_s") > 0
    assert facts == {"version": second, "documents": 8, "bad_rows": 0, "previous": first}

    out, _ = command(connection, tmp_path, "status", "--json")
    shown = json.loads(out)
    assert [(each["version"], each["state"]) for each in shown] == [(second, "live"), (first, "previous")]
    assert {(each["products"], each["containers"], each["source"]) for each in shown} == {(8, 7, "the small shop")}
    assert all(each["bytes"] > 0 for each in shown)
    out, _ = command(connection, tmp_path, "status")
    assert out.splitlines()[0].split() == [
        "version",
        "state",
        "products",
        "containers",
        "bytes",
        "changed",
        "at",
        "source",
    ]
    assert len(out.splitlines()) == 3

    out, _ = command(connection, tmp_path, "rollback")
    assert out == f"version {first} is live; before, it was {second}\n"
    _, err = command(connection, tmp_path, "rollback", expect=2)
    assert err == f"racksort: there is no version before {first} to go back to: load one\n"
    out, _ = command(connection, tmp_path, "rollback", "--to", second, "--json")
    assert json.loads(out) == {"version": second, "previous": first}
    assert live(client) == second

    (tmp_path / "prices.csv").write_text("product_id,price_ratio\n7,0.5\n99,0.5\n")
    _, err = command(connection, tmp_path, "update", "prices.csv", expect=2)
    assert err.splitlines() == [
        "racksort: prices.csv:3: the live version has no product 99: load the catalog again with it",
        (
            "racksort: bad rows: 1, where --max-bad allows 0: mend those that var/bad-rows.jsonl lists, or raise "
            "--max-bad (products updated before: 1)"
        ),
    ]
    out, _ = command(connection, tmp_path, "update", "prices.csv", "--max-bad", "1")
    assert out.startswith(f"version {second}: 1 products updated in ")
    assert out.endswith(", bad rows left out: 1 (var/bad-rows.jsonl)\n")


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["shop", "one.jsonl"], "shop: is a catalog folder: load it alone"),
        (["none.csv"], "none.csv: can't be read"),
        (["shop", "--containers", "none.json"], "none.json: can't be read"),
    ],
)
def test_what_can_t_be_loaded_is_one_line_and_changes_nothing(
    connection: Connection, client: Elasticsearch, tmp_path: Path, files: list[str], line: str
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    before = live(client)
    _, err = command(connection, tmp_path, "load", *files, expect=2)
    assert err.startswith(f"racksort: {line}")
    assert len(err.splitlines()) == 1
    assert live(client) == before
    assert list(states(client)) == [before]


def test_without_a_catalog_each_command_says_so(connection: Connection, tmp_path: Path) -> None:
    out, _ = command(connection, tmp_path, "status")
    assert out == "Elasticsearch has no catalog: load one with `racksort catalog load`\n"
    (tmp_path / "p.csv").write_text("product_id,price\n1,1\n")
    for arguments in (["rollback"], ["update", "p.csv"]):
        _, err = command(connection, tmp_path, *arguments, expect=2)
        assert err == "racksort: Elasticsearch has no live catalog: load one with `racksort catalog load`\n"


def test_a_source_that_refuses_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    nowhere = Connection(("http://127.0.0.1:9",))
    with pytest.raises(LoadFailed, match=r"Elasticsearch at http://127\.0\.0\.1:9: can't be reached"):
        load(nowhere, [tmp_path])


def test_one_bad_row_more_than_allowed_keeps_the_old_version(
    connection: Connection, client: Elasticsearch, tmp_path: Path
) -> None:
    load(connection, [write_folder(tmp_path / "shop")])
    before = live(client)
    write_lines(tmp_path / "p.jsonl", [good(1), good(0), good(2), good(-1)])
    _, err = command(connection, tmp_path, "load", "p.jsonl", "--max-bad", "1", expect=2)
    assert [line.partition(": ")[2] for line in err.splitlines() if line.startswith("racksort:")] == [
        "p.jsonl:2: column 'product_id' holds 0: 1 is the lowest allowed",
        "p.jsonl:4: column 'product_id' holds -1: 1 is the lowest allowed",
        f"version {next_of(before)} is unfinished; it is deleted",
        "bad rows: 2, where --max-bad allows 1: mend those that var/bad-rows.jsonl lists, or raise --max-bad",
    ]
    assert live(client) == before
    assert list(states(client)) == [before]
    out, _ = command(connection, tmp_path, "load", "p.jsonl", "--max-bad", "2", "--bad-rows", "here.jsonl", "--json")
    facts = json.loads(out)
    assert (facts["documents"], facts["bad_rows"], facts["bad_rows_file"]) == (2, 2, "here.jsonl")
    assert held(client).keys() == {1, 2}
    assert len((tmp_path / "here.jsonl").read_text().splitlines()) == 2
