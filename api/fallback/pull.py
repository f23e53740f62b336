"""Brings the live version of the precomputed lists from Elasticsearch into files that adapters map.

The alias is looked at once; everything is read from the one index that it named, which never changes any more, and
compared with the digests in its header before the files are switched to. So a newer version that becomes live meanwhile
is never mixed in. What was pulled before a break is kept, shard by shard.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch, NotFoundError

from api.catalog.elastic.connection import Connection, explained, remedy
from api.fallback import index, layout
from api.fallback.check import verify
from api.fallback.errors import FallbackInvalid
from api.fallback.index import Version
from api.fallback.layout import Header
from api.fallback.writer import GenerationWriter, Plan

Report = Callable[[int, int], None]
"""Takes the customers whose lists are here and all of them."""

_IDS: Final = 10_000
"""Of one answer, the most that Elasticsearch gives."""
_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Of the records in one answer, about."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did."""

    index: str
    generation: str
    """Folder of the files."""
    release: str
    created_at: float
    customers: int
    pulled: int
    """Customers whose lists came in this run; the others an earlier one brought, which was broken off."""
    seconds: float


def pull(
    connection: Connection,
    out: Path,
    *,
    report: Report = lambda _done, _all: None,
    clock: Callable[[], float] = time.monotonic,
) -> Pulled:
    """Make the live version in Elasticsearch the current generation of the store at ``out``.

    Does nothing where it is that already, and whole.

    Args:
        connection: Elasticsearch.
        out: folder of the store.
        report: told after every answer.
        clock: seconds.

    Raises:
        FallbackInvalid: there is no such version, it can't be had, or isn't what was published.
        FallbackBusy: another process writes to ``out``.
        OSError: ``out`` can't be written.
    """
    started = clock()
    with connection.synchronous() as client:
        with _told(connection):
            version = _live(client)
            header = _header(client, version)
        folder = _at_hand(out, header)
        pulled = 0
        if folder is None:
            with _told(connection):
                customers = _customers(client, version, header)
            folder, pulled = _write(connection, client, version, header, customers, out, report)
    return Pulled(
        version.index, str(folder), header.release, header.created_at, header.customers, pulled, clock() - started
    )


def _write(
    connection: Connection,
    client: Elasticsearch,
    version: Version,
    header: Header,
    customers: npt.NDArray[np.int64],
    out: Path,
    report: Report,
) -> tuple[Path, int]:
    """Fetch what is missing and switch to it; returns the generation's folder and the customers that were fetched."""
    plan = Plan(
        header.release,
        customers,
        tuple(header.containers),
        header.created_at,
        header.day,
        layout.encode_header(header),
        header.shard,
    )
    with GenerationWriter(out, plan) as writer:
        before = writer.done
        report(before, customers.size)
        record = layout.record_bytes(writer.sections)
        while (pending := writer.pending).size:
            with _told(connection):
                records = b"".join(_records(client, version, pending, record))
            writer.append_records(records)
            report(writer.done, customers.size)
        if writer.header != header:
            writer.discard()
            raise _damaged(version)
        return writer.publish(), customers.size - before


def _live(client: Elasticsearch) -> Version:
    version = index.live(client)
    if version is None:
        raise FallbackInvalid(
            "Elasticsearch has no precomputed lists: publish some with `racksort precompute --to elasticsearch`"
        )
    if version.meta.format != layout.FORMAT:
        raise FallbackInvalid(
            f"{version.index}: has precomputed lists of format {version.meta.format}, this racksort reads "
            f"{layout.FORMAT}: publish and pull with the same racksort"
        )
    return version


def _header(client: Elasticsearch, version: Version) -> Header:
    source = client.get(index=version.index, id=index.HEADER_ID)["_source"]
    try:
        header = msgspec.convert(source["header"], Header)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise _damaged(version) from error
    if layout.digest(layout.encode_header(header)) != version.meta.header_digest:
        raise _damaged(version)
    return header


def _at_hand(out: Path, header: Header) -> Path | None:
    """The store's current generation where it is the same and whole."""
    try:
        generation = verify(out)
    except FallbackInvalid:
        return None
    return generation.folder if generation.header == header else None


def _customers(client: Elasticsearch, version: Version, header: Header) -> npt.NDArray[np.int64]:
    """All ids, ascending."""
    pages: list[npt.NDArray[np.int64]] = []
    after = 0
    while True:
        hits = _search(client, version, {"gt": after}, _IDS, fields=[])
        if not hits:
            break
        pages.append(np.array([hit["sort"][0] for hit in hits], np.int64))
        after = int(pages[-1][-1])
    customers = np.concatenate(pages) if pages else np.empty(0, np.int64)
    if layout.digest(customers.astype("<i8").tobytes()) != header.customers_digest:
        raise _damaged(version)
    return customers


def _records(client: Elasticsearch, version: Version, customers: npt.NDArray[np.int64], record: int) -> Iterator[bytes]:
    """The customers' records, in their order."""
    size = min(max(_ANSWER_BYTES // max(record, 1), 1), _IDS)
    for first in range(0, customers.size, size):
        wanted = customers[first : first + size].tolist()
        hits = _search(client, version, {"gte": wanted[0], "lte": wanted[-1]}, size, fields=["record"])
        if [hit["sort"][0] for hit in hits] != wanted:
            raise _damaged(version)
        for hit in hits:
            try:
                found = base64.b64decode(hit["_source"]["record"], validate=True)
            except (KeyError, TypeError, binascii.Error) as error:
                raise _damaged(version) from error
            if len(found) != record:
                raise _damaged(version)
            yield found


def _search(
    client: Elasticsearch, version: Version, ids: dict[str, int], size: int, *, fields: list[str]
) -> list[dict[str, Any]]:
    """Documents of customers with ``ids``, ascending; a part of them is an error."""
    answer = client.search(
        index=version.index,
        query={"range": {"customer_id": ids}},
        sort=["customer_id"],
        size=size,
        source_includes=fields,
        source=bool(fields),
        track_total_hits=False,
        allow_partial_search_results=False,
        filter_path=["hits.hits.sort", "hits.hits._source"],
    )
    found: list[dict[str, Any]] = answer.body.get("hits", {}).get("hits", [])
    return found


def _damaged(version: Version) -> FallbackInvalid:
    return FallbackInvalid(
        f"{version.index}: isn't what was published (its digests differ): publish again with "
        "`racksort precompute --to elasticsearch`"
    )


@contextmanager
def _told(connection: Connection) -> Iterator[None]:
    """Say what Elasticsearch answered, in one line."""
    where = ", ".join(connection.urls)
    try:
        yield
    except NotFoundError as error:
        raise FallbackInvalid(
            f"Elasticsearch at {where}: the version was deleted while it was pulled ({explained(error)}): pull again"
        ) from error
    except (ApiError, TransportError) as error:
        mend = remedy(error)
        raise FallbackInvalid(
            f"Elasticsearch at {where}: {explained(error)}" + (f": {mend}" if mend else "")
        ) from error
