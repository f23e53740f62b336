"""The versions of the catalog in Elasticsearch: begun, completed, made live, deleted.

Everything here is one call that happens or doesn't, so that a process that is killed between two of them leaves the
live version whole.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from elasticsearch import BadRequestError, Elasticsearch

from api.catalog.elastic.schema import (
    CONTAINERS,
    PRODUCTS,
    Meta,
    Owner,
    containers_index,
    containers_mapping,
    meta_of,
    products_index,
    products_mapping,
    version_name,
    version_of,
)
from api.catalog.loading.errors import LoadFailed

SILENCE_S: Final = 60.0
"""After so long without a sign of life a loading version is given up."""

_SETTINGS: Final = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
_PRIORITY: Final = 200
_STRICT: Final = {"dynamic": "strict"}
_EXISTS: Final = "resource_already_exists_exception"


@dataclass(frozen=True, slots=True)
class Version:
    """One version, as Elasticsearch describes it."""

    name: str
    meta: Meta
    fields: Mapping[str, str]
    """Field types."""
    live: bool

    @property
    def order(self) -> tuple[str, int]:
        """By day and number."""
        day, _, number = self.name.rpartition("-")
        return day, int(number) if number.isdecimal() else 0


def every(client: Elasticsearch) -> list[Version]:
    """All versions, in the order of their names."""
    found = client.indices.get(index=f"{PRODUCTS}-*", features="aliases,mappings", expand_wildcards="all")
    versions = []
    for index, content in found.items():
        meta = meta_of(content["mappings"])
        if meta is not None:
            properties = content["mappings"].get("properties", {})
            fields = {name: entry.get("type", "object") for name, entry in properties.items()}
            versions.append(Version(version_of(index), meta, fields, PRODUCTS in content["aliases"]))
    return sorted(versions, key=lambda version: version.order)


def live_of(versions: list[Version]) -> Version | None:
    """The live one."""
    return next((version for version in versions if version.live), None)


def this_process() -> Owner:
    """The owner of what this process loads."""
    return Owner(host=socket.gethostname(), pid=os.getpid())


def is_loading(meta: Meta, now: float) -> bool:
    """Whether a process is filling the version at Unix time ``now``, as far as can be told from here."""
    if meta.state != "loading" or now - meta.changed_at > SILENCE_S:
        return False
    return meta.owner is None or meta.owner.host != socket.gethostname() or _runs(meta.owner.pid)


def _runs(pid: int) -> bool:
    """Whether another process has this id. What this process left unfinished, it doesn't fill any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def put_templates(client: Elasticsearch) -> None:
    """Create or update the index templates.

    They also keep an index that was deleted from coming back by a document that is sent to it late.
    """
    for name in (PRODUCTS, CONTAINERS):
        client.indices.put_index_template(
            name=name,
            index_patterns=[f"{name}-*"],
            priority=_PRIORITY,
            template={"settings": _SETTINGS, "mappings": _STRICT},
            allow_auto_create=False,
        )


def begin(client: Elasticsearch, day: date, further: Mapping[str, str], meta: Meta) -> str:
    """Create the indices of a new version, the next of its day; returns its name."""
    today = [version.order[1] for version in every(client) if version.order[0] == day.isoformat()]
    number = max(today, default=0) + 1
    mapping = products_mapping(dict(further), meta)
    while not _created(client, products_index(version_name(day, number)), mapping, {"refresh_interval": "-1"}):
        number += 1
    version = version_name(day, number)
    if not _created(client, containers_index(version), containers_mapping(), {}):
        raise LoadFailed(f"{containers_index(version)} has no {products_index(version)}: delete it and load again")
    return version


def _created(client: Elasticsearch, index: str, mapping: dict[str, Any], settings: dict[str, Any]) -> bool:
    try:
        client.indices.create(index=index, mappings=mapping, settings=_SETTINGS | settings)
    except BadRequestError as error:
        if error.error != _EXISTS:
            raise
        return False
    return True


def put_meta(client: Elasticsearch, version: str, meta: Meta) -> None:
    """Replace a version's meta data."""
    mapping = products_mapping({}, meta)
    client.indices.put_mapping(index=products_index(version), meta=mapping["_meta"])


def make_live(client: Elasticsearch, version: str) -> None:
    """Point both aliases at a version, in one call: readers see the old version or the new one."""
    actions: list[dict[str, Any]] = []
    for alias, index in ((PRODUCTS, products_index(version)), (CONTAINERS, containers_index(version))):
        actions.append({"remove": {"index": f"{alias}-*", "alias": alias, "must_exist": False}})
        actions.append({"add": {"index": index, "alias": alias}})
    client.indices.update_aliases(actions=actions)


def delete(client: Elasticsearch, version: str) -> None:
    """Delete a version that isn't live."""
    indices = [products_index(version), containers_index(version)]
    client.indices.delete(index=indices, ignore_unavailable=True)


def previous(versions: list[Version], was_live: str | None) -> list[Version]:
    """Complete versions that aren't live: first the one that was it until now, then the newest."""
    complete = [version for version in versions if version.meta.state == "complete" and not version.live]
    return sorted(complete, key=lambda version: (version.name != was_live, -version.meta.changed_at))


def rollback(client: Elasticsearch, to: str | None = None) -> tuple[str, str]:
    """Make an older version live: ``to``, else the newest that was completed before the live one.

    Returns:
        The version that is live now, and the one that was.

    Raises:
        LoadFailed: there is none, or ``to`` isn't one.
    """
    versions = every(client)
    current = live_of(versions)
    if current is None:
        raise LoadFailed("Elasticsearch has no live catalog: load one with `racksort catalog load`")
    others = previous(versions, None)
    if to is None:
        others = [version for version in others if version.meta.changed_at < current.meta.changed_at]
        if not others:
            raise LoadFailed(f"there is no version before {current.name} to go back to: load one")
        to = others[0].name
    elif to not in {version.name for version in others}:
        known = ", ".join(version.name for version in others) or "none"
        raise LoadFailed(f"--to {to}: there is no such complete version beside the live one; there is {known}")
    make_live(client, to)
    return to, current.name


def withdraw(client: Elasticsearch, version: str) -> Exception | None:
    """Delete an unfinished version as well as it can be done now; returns what went wrong."""
    try:
        delete(client.options(request_timeout=10, max_retries=1), version)
    except Exception as error:  # noqa: BLE001 - what made us withdraw it is said, and the next load deletes it
        return error
    return None
