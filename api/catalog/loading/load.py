"""Loads a catalog as a new version, verifies it and makes it live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection, explained
from api.catalog.elastic.schema import FIELD_TYPES, Meta, containers_index, products_index
from api.catalog.loading import columns, definitions, documents, versions
from api.catalog.loading.bad_rows import BadRow, BadRows, Say
from api.catalog.loading.bulk import BULK, BulkOptions, send
from api.catalog.loading.checks import check
from api.catalog.loading.defaults import BAD_ROWS
from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed, told
from api.catalog.loading.pulse import INTERVAL_S, Pulse
from api.catalog.loading.rows import CHUNK_ROWS, chunks
from api.catalog.loading.seen import Seen
from api.catalog.loading.sources import Source, read
from api.catalog.loading.verify import Sample, verify

Report = Callable[[str, float], None]
"""Takes a stage's label and the fraction of it that is done (0..1)."""

_LOADING: Final = "loading products"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a catalog is loaded."""

    max_bad: int = 0
    """Rows that may be left out because they are bad."""
    bad_rows: Path = BAD_ROWS
    """JSON-lines file that lists them, where there are any."""
    keep: int = 1
    """Older versions that stay, to go back to."""
    chunk_rows: int = CHUNK_ROWS
    bulk: BulkOptions = BULK
    pulse_s: float = INTERVAL_S


DEFAULT: Final = LoadOptions()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did."""

    version: str
    documents: int
    bad_rows: int
    seconds: float
    previous: str | None
    """The version that was live before."""

    @property
    def documents_per_s(self) -> float:
        """Over the whole load."""
        return self.documents / max(self.seconds, 1e-9)


def load(
    connection: Connection,
    files: Sequence[Path],
    *,
    containers: Path | None = None,
    options: LoadOptions = DEFAULT,
    report: Report = lambda _stage, _fraction: None,
    say: Say = lambda _line: None,
    now: Callable[[], float] = time.time,
) -> Loaded:
    """Load ``files`` as a new version and make it live. Until then, and if anything fails, the live version serves.

    Args:
        connection: how to reach Elasticsearch.
        files: one catalog folder, or files of products.
        containers: file of definitions; the folder's, or the live version's, where not given.
        options: how.
        report: takes progress.
        say: takes lines for a person.
        now: Unix time.

    Raises:
        CatalogInvalid: a file is missing or doesn't fit its schema.
        LoadFailed: too many rows are bad, another load runs, or Elasticsearch can't take it.
    """
    started = now()
    with told(connection), connection.synchronous() as client:
        clear(client, now(), say)
        source = read(client, files, containers)
        versions.put_templates(client)
        meta = msgspec.structs.replace(source.meta, owner=versions.this_process(), changed_at=now())
        further = {name: kind for name, kind in source.kinds.items() if name not in FIELD_TYPES}
        version = versions.begin(client, datetime.fromtimestamp(now(), UTC).date(), further, meta)
        try:
            _refuse_earlier(client, version, now())
            with Pulse(client, version, meta, now, options.pulse_s) as pulse:
                sample, bad_rows = _fill(client, version, source, options, report, say, pulse)
            _complete(client, version, meta, sample, now)
        except BaseException:
            failed = versions.withdraw(client, version)
            say(f"version {version} is unfinished; " + ("the next load deletes it" if failed else "it is deleted"))
            raise
        try:
            before = versions.live_of(versions.every(client))
            versions.make_live(client, version)
        except BaseException:
            say(f"version {version} is complete, but perhaps not live: `racksort catalog status` tells")
            raise
        was_live = before.name if before is not None else None
        _delete_older(client, version, was_live, options.keep, say)
    return Loaded(version, sample.offered, bad_rows, now() - started, was_live)


def clear(client: Elasticsearch, now: float, say: Say) -> None:
    """Delete versions that were never finished.

    Raises:
        LoadFailed: one of them is being loaded right now.
    """
    for version in versions.every(client):
        if versions.is_loading(version.meta, now):
            raise LoadFailed(_busy(version, now))
        if version.meta.state == "loading" and not version.live:
            versions.delete(client, version.name)
            say(f"version {version.name} was broken off: it is deleted")


def _delete_older(client: Elasticsearch, version: str, was_live: str | None, keep: int, say: Say) -> None:
    """Delete older versions but ``keep`` of them. The load has succeeded, whatever becomes of this."""
    try:
        for old in versions.previous(versions.every(client), was_live)[keep:]:
            versions.delete(client, old.name)
    except (ApiError, TransportError) as error:
        say(f"version {version} is live, but older ones can't be deleted ({explained(error)}): the next load does it")
    except BaseException:
        say(f"version {version} is live; the next load deletes the older ones")
        raise


def _refuse_earlier(client: Elasticsearch, version: str, now: float) -> None:
    """Of two loads that began at the same moment, the one whose version has the lower name goes on."""
    for other in versions.every(client):
        if other.name == version:
            return
        if versions.is_loading(other.meta, now):
            raise LoadFailed(_busy(other, now))


def _busy(version: versions.Version, now: float) -> str:
    owner = version.meta.owner
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
    return (
        f"{who} is loading version {version.name}, last seen {max(now - version.meta.changed_at, 0.0):.0f} s ago: wait "
        f"until it has ended; {versions.SILENCE_S:.0f} s after its last sign of life it counts as broken off"
    )


def _fill(
    client: Elasticsearch, version: str, source: Source, options: LoadOptions, report: Report, say: Say, pulse: Pulse
) -> tuple[Sample, int]:
    """Send everything and see that it is there; returns a sample of what was sent, and how many rows were bad."""
    index = products_index(version)
    sample, rows = Sample(), 0

    def products(bad: BadRows) -> Iterator[Document]:
        nonlocal rows
        seen = Seen()
        sizes = [path.stat().st_size for path in source.products]
        for number, path in enumerate(source.products):
            for chunk in chunks(path, options.chunk_rows):
                pulse.check()
                rows += chunk.rows
                checked = check(chunk, columns.KNOWN | source.kinds, columns.REQUIRED, seen)
                bad.add(checked.bad)
                yield from documents.whole(checked, path)
                report(_LOADING, (sum(sizes[:number]) + chunk.done * sizes[number]) / max(sum(sizes), 1))

    with BadRows(options.bad_rows, options.max_bad, say) as bad:
        for document, refusal in send(client, index, "index", products(bad), options.bulk):
            if refusal is None:
                sample.offer(document)
            else:
                bad.add([BadRow(document.path, document.line, f"Elasticsearch refuses it: {refusal}: mend the row")])
    if not sample.offered:
        raise LoadFailed(f"{source.products[0]}: holds no product that can be shown: nothing was changed")
    if rows != sample.offered + bad.count:
        raise LoadFailed(f"of {rows} rows {sample.offered} were loaded and {bad.count} are bad: a mistake of racksort")
    for document, refusal in send(
        client,
        containers_index(version),
        "index",
        definitions.documents(source.containers, source.definitions),
        options.bulk,
    ):
        if refusal is not None:
            raise LoadFailed(f"{source.containers}: container {document.name!r} is refused: {refusal}")
    verify(client, index, sample, FIELD_TYPES | source.kinds)
    client.indices.refresh(index=containers_index(version))
    pulse.check()
    return sample, bad.count


def _complete(client: Elasticsearch, version: str, meta: Meta, sample: Sample, now: Callable[[], float]) -> None:
    client.indices.put_settings(index=products_index(version), settings={"refresh_interval": None})
    complete = msgspec.structs.replace(meta, state="complete", products=sample.offered, changed_at=now(), owner=None)
    versions.put_meta(client, version, complete)
