"""Brings a finished generation into Elasticsearch as a new version, from where other machines pull it.

Requests never ask Elasticsearch for a list: with the ensemble down, that would be thousands of searches a second on a
cluster that takes hundreds, at the worst of all moments.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import orjson
from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection, explained
from api.catalog.loading.bulk import BULK, BulkOptions, send
from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed, told
from api.catalog.loading.verify import Sample
from api.fallback import index, layout
from api.fallback.check import verify
from api.fallback.index import Meta, Version
from api.fallback.store import Generation

Report = Callable[[int, int], None]
"""Takes the customers that are sent and all of them."""
Say = Callable[[str], None]
"""Takes a line for whoever watches."""

_PULSE_S: Final = 30.0
"""Between two signs of life."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did."""

    index: str
    customers: int
    seconds: float
    bytes: int
    """Of the index, once the alias had moved; merges may change it later."""
    bytes_per_customer: float
    previous: str | None
    """The index that was live before."""


def publish(
    connection: Connection,
    folder: Path,
    *,
    keep: int = 1,
    bulk: BulkOptions = BULK,
    report: Report = lambda _done, _all: None,
    say: Say = lambda _line: None,
    now: Callable[[], float] = time.time,
) -> Published:
    """Send the current generation of the store at ``folder``, verify it and make it the live version.

    Args:
        connection: Elasticsearch.
        folder: of the store.
        keep: older versions that stay.
        bulk: how documents are sent.
        report: told every now and then.
        say: told what happens to versions other than the new one.
        now: Unix time.

    Raises:
        FallbackInvalid: the store is missing or damaged.
        LoadFailed: Elasticsearch can't be reached or refuses. The live version stays what it was.
    """
    generation = verify(folder)
    started = now()
    with told(connection), connection.synchronous() as client:
        index.put_template(client)
        _clear(client, now(), say)
        meta = Meta(
            customers=generation.header.customers,
            header_digest=layout.digest(layout.encode_header(generation.header)),
            changed_at=now(),
            owner=index.this_process(),
        )
        name = index.begin(client, datetime.fromtimestamp(now(), UTC).date(), meta)
        try:
            _fill(client, name, generation, meta, bulk, report, now)
            client.indices.put_settings(index=name, settings={"refresh_interval": None})
            complete = msgspec.structs.replace(meta, state="complete", changed_at=now(), owner=None)
            index.put_meta(client, name, complete)
        except BaseException:
            _withdraw(client, name, say)
            raise
        before = index.live(client)
        try:
            index.make_live(client, name)
        except BaseException:
            say(f"{name} is complete, but perhaps not live: publish again to be sure")
            raise
        _delete_older(client, name, before, keep, say)
        size = client.indices.stats(index=name, metric=["store"])["_all"]["primaries"]["store"]["size_in_bytes"]
    customers = generation.header.customers
    was_live = before.index if before is not None else None
    return Published(name, customers, now() - started, size, size / max(customers, 1), was_live)


def _fill(
    client: Elasticsearch,
    name: str,
    generation: Generation,
    meta: Meta,
    bulk: BulkOptions,
    report: Report,
    now: Callable[[], float],
) -> None:
    """Send everything and see that it is there."""
    customers = generation.header.customers
    sample, sign = Sample(), now() + _PULSE_S
    for sent, (document, refusal) in enumerate(send(client, name, "index", _documents(generation), bulk), 1):
        if refusal is not None:
            raise LoadFailed(f"{name}: document {document.name} is refused: {refusal}")
        sample.offer(document)
        if sent % bulk.documents == 0:
            report(min(sent, customers), customers)
            if now() >= sign:
                sign = now() + _PULSE_S
                _show_life(client, name, msgspec.structs.replace(meta, changed_at=now()))
    report(customers, customers)
    client.indices.refresh(index=name)
    count = client.count(index=name)["count"]
    if count != customers + 1:
        raise LoadFailed(f"{name} has {count} documents, but {customers + 1} were sent: publish again")
    answer = client.mget(index=name, ids=[document.name for document in sample.chosen])
    for document, entry in zip(sample.chosen, answer["docs"], strict=True):
        if entry.get("_source") != orjson.loads(document.body):
            raise LoadFailed(f"{name}: document {document.name} isn't what was sent: publish again")


def _documents(generation: Generation) -> Iterator[Document]:
    """The header, then the customers in ascending order, so that those who are read together lie together."""
    header = b'{"header":%b}' % msgspec.json.encode(generation.header)
    yield Document(index.HEADER_ID, header, generation.folder / layout.HEADER, 1)
    path, size = generation.folder / layout.LISTS, generation.record
    for row, customer_id in enumerate(memoryview(generation.customers).cast("q")):
        record = base64.b64encode(generation.lists[row * size : (row + 1) * size])
        yield Document(str(customer_id), b'{"customer_id":%d,"record":"%b"}' % (customer_id, record), path, row + 1)


def _show_life(client: Elasticsearch, name: str, meta: Meta) -> None:
    try:
        index.put_meta(client.options(request_timeout=5, max_retries=0), name, meta)
    except (ApiError, TransportError):
        return  # the next documents find out whether that lasts


def _clear(client: Elasticsearch, now: float, say: Say) -> None:
    """Delete versions that were never finished, but for those that another process is filling."""
    for version in index.every(client):
        if version.meta.state == "publishing" and not version.live and not version.is_publishing(now):
            client.indices.delete(index=version.index, ignore_unavailable=True)
            say(f"{version.index} was broken off: it is deleted")


def _withdraw(client: Elasticsearch, name: str, say: Say) -> None:
    """Delete an unfinished version as well as it can be done now."""
    try:
        client.options(request_timeout=10, max_retries=1).indices.delete(index=name, ignore_unavailable=True)
    except (ApiError, TransportError):
        say(f"{name} is unfinished; the next publication deletes it")
    else:
        say(f"{name} is unfinished; it is deleted")


def _delete_older(client: Elasticsearch, name: str, before: Version | None, keep: int, say: Say) -> None:
    """Delete older versions but ``keep`` of them. The publication has succeeded, whatever becomes of this."""
    try:
        complete = [each for each in index.every(client) if each.meta.state == "complete" and each.index != name]
        complete.sort(key=lambda each: (before is None or each.index != before.index, -each.meta.changed_at))
        for version in complete[keep:]:
            client.indices.delete(index=version.index, ignore_unavailable=True)
    except (ApiError, TransportError) as error:
        say(f"{name} is live, but older ones can't be deleted ({explained(error)}): the next publication does it")
