"""A container's definition as a search: the same products in the same order as the embedded catalog finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from api.catalog.details import FIELDS
from api.catalog.elastic.schema import EXCLUDED
from api.catalog.files import Bounds, Definition
from ensemble import contract

CATEGORY: Final = "category"
BRAND: Final = "brand"
_DOCVALUES: Final = ("product_id", "category_id", *contract.OFFER, "boost", EXCLUDED)


def pool_search(
    definition: Definition,
    categories: Sequence[str] | None,
    *,
    size: int,
    timeout_ms: int,
    with_category: bool = False,
    further: Sequence[str] = (),
) -> dict[str, Any]:
    """The first page of a container's products, best first.

    Missing values come last and ties are broken by the lower id, so that the order is total and ``search_after`` can go
    on from any product.

    Args:
        definition: what the container shows.
        categories: names of the categories to narrow it to; None for all.
        size: products of the page.
        timeout_ms: after which Elasticsearch answers with what it has.
        with_category: whether each product's category is asked for as well.
        further: more fields that are asked for.
    """
    conditions: list[dict[str, Any]] = [{"term": {"available": True}}]
    conditions += [_condition(field, wanted) for field, wanted in definition.filter.items()]
    if categories is not None:
        conditions.append({"terms": {CATEGORY: list(categories)}})
    sort: list[dict[str, Any]] = [
        {key.field: {"order": key.order, "missing": "_last"}} for key in definition.sort if key.field != "product_id"
    ]
    ids = next((key.order for key in definition.sort if key.field == "product_id"), "asc")
    return {
        **_columns(dict.fromkeys((*_DOCVALUES, *([CATEGORY] if with_category else []), *further))),
        "query": {"bool": {"filter": conditions}},
        "sort": [*sort, {"product_id": {"order": ids}}],
        "size": size,
        "track_total_hits": True,
        "timeout": f"{timeout_ms}ms",
    }


def lookup_search(product_ids: Sequence[int], *, timeout_ms: int, further: Sequence[str] = ()) -> dict[str, Any]:
    """The given products, whether they can be shown or not, in no order, with ``further`` fields."""
    return _by_id((*_DOCVALUES, *further), product_ids, timeout_ms)


def details_search(product_ids: Sequence[int], *, timeout_ms: int) -> dict[str, Any]:
    """The same with what describes the products. A field that the index doesn't have is left out of the hits."""
    return _by_id(("product_id", *FIELDS), product_ids, timeout_ms)


def brands_search(names: Sequence[str], *, timeout_ms: int) -> dict[str, Any]:
    """One product of each brand that is among ``names``."""
    return {
        **_columns((BRAND,)),
        "query": {"bool": {"filter": [{"terms": {BRAND: list(names)}}]}},
        "collapse": {"field": BRAND},
        "size": len(names),
        "timeout": f"{timeout_ms}ms",
    }


def _by_id(fields: Sequence[str], product_ids: Sequence[int], timeout_ms: int) -> dict[str, Any]:
    return {
        **_columns(fields),
        "query": {"bool": {"filter": [{"terms": {"product_id": list(product_ids)}}]}},
        "sort": ["_doc"],
        "size": len(product_ids),
        "track_total_hits": True,
        "timeout": f"{timeout_ms}ms",
    }


def _columns(names: Iterable[str]) -> dict[str, Any]:
    """Only doc values: neither the documents nor their ids are read."""
    return {"_source": False, "stored_fields": "_none_", "docvalue_fields": list(names)}


def _condition(field: str, wanted: Any) -> dict[str, Any]:
    if isinstance(wanted, Bounds):
        return {"range": {field: wanted.model_dump(exclude_none=True)}}
    return {"terms": {field: wanted}} if isinstance(wanted, list) else {"term": {field: wanted}}
