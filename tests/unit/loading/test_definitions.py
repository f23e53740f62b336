"""Containers are held against the fields that their filters and sort keys name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.catalog.files import Definition
from api.catalog.loading.definitions import check, documents, of_version
from api.catalog.loading.errors import LoadFailed
from api.errors import CatalogInvalid

PATH = Path("containers.json")
FIELDS = {"brand": "keyword", "price": "float", "first_week": "short", "available": "boolean", "added": "date"}


def definition(**changes: Any) -> Definition:
    return Definition.model_validate({"container_id": "all", "title": "All", "kind": "grid"} | changes)


@pytest.mark.parametrize(
    "condition",
    [
        {"brand": "A"},
        {"brand": ["A", "B"]},
        {"price": {"gt": 1, "lte": 2.5}},
        {"price": [1, 2.5]},
        {"first_week": 3},
        {"available": True},
    ],
)
def test_a_filter_that_fits_is_taken(condition: dict[str, Any]) -> None:
    check(PATH, [definition(filter=condition, sort=[{"field": "added"}])], FIELDS)


@pytest.mark.parametrize(
    "condition",
    [
        {"brand": 1},
        {"brand": {"gt": 1}},
        {"brand": ["A", 1]},
        {"price": "cheap"},
        {"price": True},
        {"price": [1, "2"]},
        {"available": 1},
        {"available": {"gte": 1}},
        {"added": "2026-01-01"},
    ],
)
def test_a_filter_that_doesn_t_fit_names_container_and_field(condition: dict[str, Any]) -> None:
    (field,) = condition
    with pytest.raises(CatalogInvalid, match=f"container 'all': its filter of '{field}' doesn't fit the column's type"):
        check(PATH, [definition(filter=condition)], FIELDS)


@pytest.mark.parametrize("change", [{"filter": {"colour": "red"}}, {"sort": [{"field": "colour"}]}])
def test_a_field_that_isn_t_there_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(CatalogInvalid, match="container 'all' uses 'colour', but the products have no such column"):
        check(PATH, [definition(**change)], FIELDS)


@pytest.mark.parametrize("change", [{"filter": {"boost": {"gt": 0}}}, {"sort": [{"field": "boost", "order": "desc"}]}])
def test_boost_is_refused_as_elasticsearch_holds_another_one(change: dict[str, Any]) -> None:
    with pytest.raises(
        CatalogInvalid, match=r"json: container 'all' uses 'boost', which Elasticsearch can't .*no -inf: "
    ):
        check(PATH, [definition(**change)], FIELDS | {"boost": "float"})


def test_an_id_that_occurs_twice_is_named() -> None:
    with pytest.raises(CatalogInvalid, match="container_id 'all' occurs twice"):
        check(PATH, [definition(), definition()], FIELDS)


class Containers:
    """Stands for a client: answers one search after the other."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = iter(answers)

    def search(self, **_search: Any) -> dict[str, Any]:
        return next(self._answers)


def page(names: Iterable[int], total: int, *, timed_out: bool = False, failed: int = 0) -> dict[str, Any]:
    hits = [
        {
            "_source": {"definition": {"container_id": str(name), "title": "T", "kind": "grid"}},
            "sort": [name, str(name)],
        }
        for name in names
    ]
    return {"timed_out": timed_out, "_shards": {"failed": failed}, "hits": {"hits": hits, "total": {"value": total}}}


def test_the_containers_of_a_version_are_all_read() -> None:
    client = Containers(page(range(1_000), 1_001), page([1_000], 1_001))
    found = of_version(client, "2026-11-24-1")  # type: ignore[arg-type]
    assert [entry.container_id for entry in found] == [str(name) for name in range(1_001)]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (page([1], 1, timed_out=True), "the containers of 2026-11-24-1 come only in part: load later"),
        (page([1], 1, failed=1), "the containers of 2026-11-24-1 come only in part: load later"),
        (page([1], 2), "of the containers of 2026-11-24-1 1 come, not 2: load later"),
        (page([], 2), "of the containers of 2026-11-24-1 0 come, not 2: load later"),
    ],
)
def test_containers_that_come_in_part_aren_t_copied(answer: dict[str, Any], line: str) -> None:
    with pytest.raises(LoadFailed, match=f"^{line}, or give --containers$"):
        of_version(Containers(answer), "2026-11-24-1")  # type: ignore[arg-type]


def test_a_document_has_the_definition_as_it_was_written() -> None:
    entry = {"container_id": "b", "title": "B", "kind": "list", "filter": {"price": {"lte": 1}}, "size": 3}
    _, document = documents(PATH, [definition(), Definition.model_validate(entry)])
    assert document.name == "b"
    assert orjson.loads(document.body) == {"position": 1, "container_id": "b", "definition": entry}
