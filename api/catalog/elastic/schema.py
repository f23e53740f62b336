"""What a catalog looks like in Elasticsearch: names, mappings and meta data, for those who write and those who read.

A version of the catalog is two indices of the same suffix, ``racksort-products-<date>-<n>`` and
``racksort-containers-<date>-<n>``. The aliases ``racksort-products`` and ``racksort-containers`` point at the live
version and move together, in one atomic call. What belongs to the catalog as a whole is in the products index'
``_meta``, so that it is whole or absent like the index itself.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Literal

import msgspec

PRODUCTS: Final = "racksort-products"
"""Alias of the live products index, and what the names of all of them start with."""
CONTAINERS: Final = "racksort-containers"
"""The same for the containers' definitions."""
SCHEMA_VERSION: Final = 1

META: Final = "racksort"
"""Key of :class:`Meta` in the mapping's ``_meta``."""

EXCLUDED: Final = "excluded"
"""Boolean field of a product whose boost is -inf, which JSON can't say."""

FIELD_TYPES: Final[dict[str, str]] = {
    "product_id": "long",
    "category_id": "integer",
    "leaf_category": "keyword",
    "category": "keyword",
    "department": "keyword",
    "brand": "keyword",
    "package_size": "keyword",
    "regular_price": "float",
    "price": "float",
    "price_ratio": "float",
    "mailer": "float",
    "display": "float",
    "coupon": "float",
    "popularity": "float",
    "trend": "float",
    "repeat_rate": "float",
    "first_week": "short",
    "first_seen_day": "float",
    "available": "boolean",
    "boost": "float",
    EXCLUDED: "boolean",
}
"""The columns of docs/catalog.md and their field types. Further columns get one after their own type."""

ATTRIBUTES: Final = ("brand", "repeat_rate", "first_seen_day", "first_week")
"""Columns that only the shop's rules need, beside ``category``."""

_CONTAINER_MAPPING: Final[dict[str, Any]] = {
    "dynamic": "strict",
    "properties": {
        "position": {"type": "integer"},
        "container_id": {"type": "keyword"},
        "definition": {"type": "object", "enabled": False},
    },
}
"""``definition`` is an entry of ``containers.json``, kept as it is; ``position`` its place in the order of display."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that fills a version."""

    host: str
    pid: int


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What belongs to a version as a whole."""

    schema_version: int = SCHEMA_VERSION
    now_day: float | None = None
    """The moment it describes, as days since 1970-01-01 UTC; None where it follows the wall clock."""
    now_week: int | None = None
    """The number of the week that begins at ``now_day``, in which ``first_week`` counts too."""
    categories: dict[str, list[str]] = {}
    """Slug -> names in the products' ``category`` field."""
    attributes: list[str] | None = None
    """Those of ``ATTRIBUTES`` that its files have; None in a version that an older racksort loaded."""
    source: str = ""
    """Where its data comes from."""
    state: Literal["loading", "complete"] = "loading"
    """``complete`` once everything is in and verified; only then can it become live."""
    products: int = 0
    """Documents it has, once complete."""
    changed_at: float = 0.0
    """Unix time of the last sign of life while loading, then of the completion."""
    owner: Owner | None = None


def version_name(day: date, number: int) -> str:
    """Suffix of a version's two indices, such as ``2026-11-24-3``."""
    return f"{day.isoformat()}-{number}"


def products_index(version: str) -> str:
    """The version's index of products."""
    return f"{PRODUCTS}-{version}"


def containers_index(version: str) -> str:
    """The version's index of containers."""
    return f"{CONTAINERS}-{version}"


def version_of(index: str) -> str:
    """The version that a products index belongs to."""
    return index.removeprefix(f"{PRODUCTS}-")


def products_mapping(further: dict[str, str], meta: Meta) -> dict[str, Any]:
    """Mapping of a products index; ``further`` gives the field types of columns beyond ``FIELD_TYPES``.

    Strict, so that a misspelt field is an error and not a new field.
    """
    properties = {name: {"type": kind} for name, kind in (FIELD_TYPES | further).items()}
    return {"dynamic": "strict", "_meta": {META: msgspec.to_builtins(meta)}, "properties": properties}


def containers_mapping() -> dict[str, Any]:
    """Mapping of a containers index."""
    return _CONTAINER_MAPPING


def meta_of(mapping: Any) -> Meta | None:
    """The meta data in a products index' mapping, or None where it isn't an index that racksort made."""
    try:
        return msgspec.convert(mapping["_meta"][META], Meta)
    except (KeyError, TypeError, msgspec.ValidationError):
        return None
