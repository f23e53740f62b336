"""What the live version of the catalog is: its containers' definitions, its categories, its moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.extras import Extras
from api.catalog.elastic.schema import FIELD_TYPES, PRODUCTS, SCHEMA_VERSION, Meta, meta_of
from api.catalog.elastic.searches import Searches
from api.catalog.files import Definition
from api.errors import CatalogDenied, CatalogInvalid, CatalogRefused, CatalogUnavailable
from ensemble import contract

_log = logging.getLogger(__name__)

_PAGE: Final = 1_000
_PAUSE_S: Final = 0.5
"""Until an Elasticsearch that doesn't answer is asked again."""
_NEEDED: Final = ("product_id", "category_id", "available", *contract.OFFER, "boost")
_LOAD: Final = "load it again with `racksort catalog load`"
_definition: Final = TypeAdapter(Definition)


@dataclass(frozen=True, slots=True, eq=False)
class Shop:
    """One version of the catalog, as its readers see it."""

    index: str
    """Index behind the products' alias."""
    meta: Meta
    definitions: Mapping[str, Definition]
    """By container, in the order of display."""
    mapping: Mapping[str, Any]
    extras: Extras
    """What it can tell the shop's rules."""

    def same_as(self, other: Shop) -> bool:
        """Whether nothing has changed that could turn a refused question into a good one."""
        return self.index == other.index and self.mapping == other.mapping and self.definitions == other.definitions


async def read(searches: Searches) -> Shop:
    """Read the live version.

    Raises:
        CatalogUnavailable: Elasticsearch can't say now.
        CatalogInvalid: it isn't a catalog that ``racksort catalog load`` made.
    """
    index, mapping = _only(_decoded(await searches.mapping()))
    meta = meta_of(mapping)
    if meta is None or meta.schema_version != SCHEMA_VERSION:
        raise CatalogInvalid(f"Elasticsearch: {index} isn't a catalog of this version of racksort: {_LOAD}")
    properties = mapping.get("properties", {})
    for field in _NEEDED:
        kind = properties.get(field, {}).get("type")
        if kind != FIELD_TYPES[field]:
            raise CatalogInvalid(
                f"Elasticsearch: {index}: field {field!r} is {kind or 'missing'}, not {FIELD_TYPES[field]}: {_LOAD}"
            )
    return Shop(index, meta, await _definitions(searches), properties, Extras.of(meta, properties))


async def read_patiently(searches: Searches, connection: Connection, patience_s: float) -> Shop:
    """The live version, as soon as Elasticsearch answers.

    Raises:
        CatalogInvalid: it doesn't within ``patience_s``, or has no catalog that can be served.
    """
    give_up_at = time.monotonic() + patience_s
    waiting = False
    while True:
        try:
            return await read(searches)
        except (CatalogDenied, CatalogRefused) as error:
            raise CatalogInvalid(f"{', '.join(connection.urls)}: {error}") from None
        except CatalogUnavailable as error:
            if time.monotonic() >= give_up_at:
                raise CatalogInvalid(
                    f"{', '.join(connection.urls)}: {error}; start Elasticsearch, or set ELASTICSEARCH_URL"
                ) from None
            if not waiting:
                _log.warning("waiting for %s (%s)", ", ".join(connection.urls), error)
            waiting = True
            await asyncio.sleep(_PAUSE_S)


async def _definitions(searches: Searches) -> dict[str, Definition]:
    definitions: dict[str, Definition] = {}
    after: list[Any] | None = None
    while True:
        search: dict[str, Any] = {"size": _PAGE, "sort": ["position", "container_id"], "track_total_hits": True}
        if after is not None:
            search["search_after"] = after
        answer = _decoded(await searches.containers(search))
        try:
            if answer["timed_out"] or answer["_shards"]["failed"]:
                raise CatalogUnavailable("Elasticsearch answers only in part")
            hits, total = answer["hits"]["hits"], answer["hits"]["total"]["value"]
            for hit in hits:
                entry = _definition.validate_python(hit["_source"]["definition"])
                definitions[entry.container_id] = entry
            after = hits[-1]["sort"] if hits else None
        except (KeyError, TypeError) as error:
            raise CatalogUnavailable(f"Elasticsearch's answer isn't a list of containers ({error})") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise CatalogInvalid(
                f"Elasticsearch: container {hit.get('_id')!r}: {first['loc']}: {first['msg']}: {_LOAD}"
            ) from None
        if len(hits) == _PAGE and after:
            continue
        if total != len(definitions):
            raise CatalogUnavailable(f"Elasticsearch's answer has {len(definitions)} containers, not {total}")
        if not definitions:
            raise CatalogInvalid(f"Elasticsearch: the live catalog has no containers: {_LOAD}")
        return definitions


def _only(answer: Any) -> tuple[str, Mapping[str, Any]]:
    """The one index that an alias stands for."""
    if not isinstance(answer, dict) or len(answer) != 1:
        names = ", ".join(answer) if isinstance(answer, dict) else "nothing"
        raise CatalogInvalid(f"Elasticsearch: alias {PRODUCTS} must point at one index, not at {names}: {_LOAD}")
    (index, content), *_ = answer.items()
    mapping = content.get("mappings") if isinstance(content, dict) else None
    if not isinstance(mapping, dict):
        raise CatalogUnavailable(f"Elasticsearch doesn't say what {index} holds")
    return index, mapping


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CatalogUnavailable(f"Elasticsearch's answer can't be read ({error})") from None
