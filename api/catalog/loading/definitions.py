"""The containers of a version: checked against its products' fields, and as documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from elasticsearch import Elasticsearch
from pydantic import TypeAdapter, ValidationError

from api.catalog.elastic.schema import containers_index
from api.catalog.files import Bounds, Definition
from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed
from api.errors import CatalogInvalid

_NUMBERS = ("long", "integer", "short", "float", "double")
_BOOST = "boost"
_PAGE = 1_000


def check(path: Path, definitions: Sequence[Definition], fields: Mapping[str, str]) -> None:
    """See that each definition can be asked of products with ``fields``.

    ``boost`` can't be asked of Elasticsearch: of a product that is taken out it has 0 there, since JSON has no -inf
    (:mod:`api.catalog.loading.documents`), so that the product would be placed otherwise than in the embedded catalog.

    Raises:
        CatalogInvalid: an id occurs twice, a field isn't there or is ``boost``, or a filter compares what can't be
            compared.
    """
    seen: set[str] = set()
    for definition in definitions:
        name = definition.container_id
        if name in seen:
            raise CatalogInvalid(f"{path}: container_id {name!r} occurs twice: give each container its own")
        seen.add(name)
        for field in (*definition.filter, *(key.field for key in definition.sort)):
            if field not in fields:
                raise CatalogInvalid(
                    f"{path}: container {name!r} uses {field!r}, but the products have no such column: add it"
                )
            if field == _BOOST:
                raise CatalogInvalid(
                    f"{path}: container {name!r} uses 'boost', which Elasticsearch can't filter or sort by, as it has "
                    "no -inf: use another column; boost is added to the ranking score anyway"
                )
        for field, condition in definition.filter.items():
            if not _fits(condition, fields[field]):
                raise CatalogInvalid(
                    f"{path}: container {name!r}: its filter of {field!r} doesn't fit the column's type "
                    f"({fields[field]}): compare texts with texts and numbers with numbers"
                )


def _fits(condition: Any, kind: str) -> bool:
    if isinstance(condition, Bounds):
        return kind in _NUMBERS
    values = condition if isinstance(condition, list) else [condition]
    if kind in _NUMBERS:
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    types = {"keyword": str, "boolean": bool}
    return kind in types and all(isinstance(value, types[kind]) for value in values)


def documents(path: Path, definitions: Sequence[Definition]) -> Iterator[Document]:
    """One document for each container, in the order of display."""
    for position, definition in enumerate(definitions):
        entry = definition.model_dump(mode="json", exclude_unset=True)
        body = {"position": position, "container_id": definition.container_id, "definition": entry}
        yield Document(definition.container_id, orjson.dumps(body), path, position + 1)


def of_version(client: Elasticsearch, version: str) -> tuple[Definition, ...]:
    """The containers that a version has.

    Raises:
        LoadFailed: they can't be understood, or Elasticsearch doesn't give them all.
    """
    found: list[Any] = []
    after: list[Any] | None = None
    while True:
        answer = client.search(
            index=containers_index(version),
            size=_PAGE,
            sort=["position", "container_id"],
            search_after=after,
            track_total_hits=True,
        )
        page, total = answer["hits"]["hits"], answer["hits"]["total"]["value"]
        if answer["timed_out"] or answer["_shards"]["failed"]:
            raise LoadFailed(f"the containers of {version} come only in part: load later, or give --containers")
        found += [hit["_source"]["definition"] for hit in page]
        if len(page) < _PAGE:
            break
        after = page[-1]["sort"]
    if len(found) != total:
        raise LoadFailed(
            f"of the containers of {version} {len(found)} come, not {total}: load later, or give --containers"
        )
    try:
        return TypeAdapter(tuple[Definition, ...]).validate_python(found)
    except ValidationError as error:
        raise LoadFailed(
            f"the containers of {version} can't be copied ({error.errors()[0]['msg']}): give --containers"
        ) from error
