"""Which versions there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from api.catalog.elastic.schema import CONTAINERS, PRODUCTS, containers_index, products_index
from api.catalog.loading.versions import Version, every, is_loading


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version, for people."""

    version: str
    state: str
    """``live``, ``previous``, ``loading`` or ``broken off``."""
    products: int
    containers: int
    bytes: int
    """Of the primary shards."""
    changed_at: float
    """Unix time of the completion; while loading, of the last sign of life."""
    source: str


def status(client: Elasticsearch, now: float) -> list[VersionStatus]:
    """All versions, the newest first."""
    found = every(client)
    if not found:
        return []
    # By pattern, because an index may be deleted meanwhile.
    answer = client.indices.stats(index=[f"{PRODUCTS}-*", f"{CONTAINERS}-*"], metric=["docs", "store"])
    sizes: dict[str, Any] = {index: entry["primaries"] for index, entry in answer["indices"].items()}
    return [_status(version, sizes, now) for version in reversed(found)]


def _status(version: Version, sizes: dict[str, Any], now: float) -> VersionStatus:
    parts = [sizes.get(index) or {} for index in (products_index(version.name), containers_index(version.name))]
    products, containers = (part.get("docs", {}).get("count", 0) for part in parts)
    size = sum(part.get("store", {}).get("size_in_bytes", 0) for part in parts)
    return VersionStatus(
        version.name,
        _state(version, now),
        products,
        containers,
        size,
        version.meta.changed_at,
        version.meta.source,
    )


def _state(version: Version, now: float) -> str:
    if version.live:
        return "live"
    if version.meta.state == "complete":
        return "previous"
    return "loading" if is_loading(version.meta, now) else "broken off"
