"""Precomputed lists in Elasticsearch: names, mapping, and the versions there are.

A version is one index ``racksort-precomputed-<date>-<n>``; the alias ``racksort-precomputed`` points at the live one.
It holds a document ``header`` and one for each customer, named by their id. What belongs to the whole is in the
mapping's ``_meta``, so that it is whole or absent like the index itself.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import msgspec
from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from api.fallback import layout

ALIAS: Final = "racksort-precomputed"
"""Of the live version, and what the names of all of them start with."""
HEADER_ID: Final = "header"
SILENCE_S: Final = 600.0
"""After so long without a sign of life a publication counts as broken off: a bulk request may be tried for minutes."""

_META: Final = "racksort"
_NAME: Final = re.compile(re.escape(ALIAS) + r"-(\d{4}-\d{2}-\d{2})-(\d+)")
_SETTINGS: Final = {
    "number_of_shards": 1,
    "auto_expand_replicas": "0-1",
    "codec": "best_compression",  # takes back what base64 adds
}
_PROPERTIES: Final[dict[str, Any]] = {
    "customer_id": {"type": "long"},
    "record": {"type": "binary"},
    "header": {"type": "object", "enabled": False},
}
_PRIORITY: Final = 200
_EXISTS: Final = "resource_already_exists_exception"


class Owner(msgspec.Struct, frozen=True):
    """The process that publishes a version."""

    host: str
    pid: int


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a version as a whole."""

    format: int = layout.FORMAT
    """Of the header and the records."""
    state: Literal["publishing", "complete"] = "publishing"
    """``complete`` once everything is in and verified; only then can it become live."""
    customers: int
    header_digest: str
    """``layout.digest`` of the header's file, which in turn has the digests of everything else."""
    changed_at: float
    """Unix time of the last sign of life while it is published, then of the completion."""
    owner: Owner | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version, as Elasticsearch describes it."""

    index: str
    meta: Meta
    live: bool

    def is_publishing(self, now: float) -> bool:
        """Whether a process is filling it at Unix time ``now``, as far as can be told from here."""
        if self.meta.state != "publishing" or now - self.meta.changed_at > SILENCE_S:
            return False
        owner = self.meta.owner
        return owner is None or owner.host != socket.gethostname() or _runs(owner.pid)


def every(client: Elasticsearch) -> list[Version]:
    """All versions, the newest first."""
    found = client.indices.get(index=f"{ALIAS}-*", features="aliases,mappings", expand_wildcards="all")
    versions = []
    for index, content in found.items():
        meta = _meta_of(content["mappings"])
        if meta is not None and _NAME.fullmatch(index):
            versions.append(Version(index, meta, ALIAS in content["aliases"]))
    return sorted(versions, key=lambda version: _order(version.index), reverse=True)


def live(client: Elasticsearch) -> Version | None:
    """The live version; None where there is none."""
    try:
        found = client.indices.get(index=ALIAS, features="aliases,mappings")
    except NotFoundError:
        return None
    for index, content in found.items():
        meta = _meta_of(content["mappings"])
        if meta is not None:
            return Version(index, meta, live=True)
    return None


def put_template(client: Elasticsearch) -> None:
    """Create or update the index template.

    It also keeps an index that was deleted from coming back by a document that is sent to it late.
    """
    client.indices.put_index_template(
        name=ALIAS,
        index_patterns=[f"{ALIAS}-*"],
        priority=_PRIORITY,
        template={"settings": _SETTINGS, "mappings": {"dynamic": "strict"}},
        allow_auto_create=False,
    )


def begin(client: Elasticsearch, day: date, meta: Meta) -> str:
    """Create the index of a new version, the next of its day; returns its name."""
    taken = [_order(version.index) for version in every(client)]
    number = max((number for taken_day, number in taken if taken_day == day.isoformat()), default=0)
    while True:
        number += 1
        index = f"{ALIAS}-{day.isoformat()}-{number}"
        try:
            client.indices.create(
                index=index,
                settings=_SETTINGS | {"refresh_interval": "-1"},
                mappings={"dynamic": "strict", "_meta": _built(meta), "properties": _PROPERTIES},
            )
        except BadRequestError as error:
            if error.error != _EXISTS:
                raise
        else:
            return index


def put_meta(client: Elasticsearch, index: str, meta: Meta) -> None:
    """Replace a version's meta data."""
    client.indices.put_mapping(index=index, meta=_built(meta))


def make_live(client: Elasticsearch, index: str) -> None:
    """Point the alias at a version, in one call: readers see the old version or the new one."""
    actions: list[dict[str, Any]] = [
        {"remove": {"index": f"{ALIAS}-*", "alias": ALIAS, "must_exist": False}},
        {"add": {"index": index, "alias": ALIAS}},
    ]
    client.indices.update_aliases(actions=actions)


def this_process() -> Owner:
    """The owner of what this process publishes."""
    return Owner(socket.gethostname(), os.getpid())


def _order(index: str) -> tuple[str, int]:
    named = _NAME.fullmatch(index)
    return (named[1], int(named[2])) if named else ("", 0)


def _built(meta: Meta) -> dict[str, Any]:
    return {_META: msgspec.to_builtins(meta)}


def _meta_of(mapping: Any) -> Meta | None:
    try:
        return msgspec.convert(mapping["_meta"][_META], Meta)
    except (KeyError, TypeError, msgspec.ValidationError):
        return None


def _runs(pid: int) -> bool:
    """Whether another process has this id. What this process left unfinished, it doesn't publish any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()
