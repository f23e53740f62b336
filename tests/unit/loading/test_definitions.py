"""Containers are held against the fields that their filters and sort keys name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from api.catalog.files import Definition
from api.catalog.loading.definitions import check, documents
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


def test_an_id_that_occurs_twice_is_named() -> None:
    with pytest.raises(CatalogInvalid, match="container_id 'all' occurs twice"):
        check(PATH, [definition(), definition()], FIELDS)


def test_a_document_has_the_definition_as_it_was_written() -> None:
    entry = {"container_id": "b", "title": "B", "kind": "list", "filter": {"price": {"lte": 1}}, "size": 3}
    _, document = documents(PATH, [definition(), Definition.model_validate(entry)])
    assert document.name == "b"
    assert orjson.loads(document.body) == {"position": 1, "container_id": "b", "definition": entry}
