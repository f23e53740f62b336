"""Changes products of the live version in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import polars as pl
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import ATTRIBUTES, EXCLUDED, products_index
from api.catalog.loading import columns, documents, versions
from api.catalog.loading.bad_rows import BadRow, BadRows, Say
from api.catalog.loading.bulk import BULK, BulkOptions, send
from api.catalog.loading.checks import Checked, check
from api.catalog.loading.defaults import BAD_ROWS
from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed, told
from api.catalog.loading.rows import CHUNK_ROWS, chunks
from api.catalog.loading.seen import Seen

_ABSENT = "the live version has no product {}: load the catalog again with it"
_UNPRICED = "product {} gets a price, but has no regular price above 0: give regular_price or price_ratio"


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did."""

    version: str
    documents: int
    bad_rows: int
    seconds: float


def update(
    connection: Connection,
    files: Sequence[Path],
    *,
    max_bad: int = 0,
    bad_rows: Path = BAD_ROWS,
    bulk: BulkOptions = BULK,
    report: Callable[[str, float], None] = lambda _stage, _fraction: None,
    say: Say = lambda _line: None,
    now: Callable[[], float] = time.time,
) -> Updated:
    """Write the columns of ``files`` into the products that the live version has; what is missing stays as it is.

    A ``price`` without a ``price_ratio`` sets that too: min(1, price / regular price). A product that occurs again is a
    bad row, as when loading.

    Args:
        connection: how to reach Elasticsearch.
        files: files with ``product_id`` and other columns of the live version.
        max_bad: rows that may be left out because they are bad.
        bad_rows: JSON-lines file that lists them.
        bulk: how documents are sent.
        report: takes progress.
        say: takes lines for a person.
        now: Unix time.

    Raises:
        CatalogInvalid: a file can't be read or has a column that the live version hasn't.
        LoadFailed: there is no live version, or too many rows are bad. What was written before stays written.
    """
    started, changed = now(), 0
    with told(connection), connection.synchronous() as client, BadRows(bad_rows, max_bad, say) as bad:
        live = _live(client, say, now())
        index = products_index(live.name)
        fields = {name: kind for name, kind in live.fields.items() if name != EXCLUDED}
        given: set[str] = set()
        for path in files:
            given.update(columns.of_update(path, fields))

        def products() -> Iterator[Document]:
            seen = Seen()
            for number, path in enumerate(files):
                for chunk in chunks(path, CHUNK_ROWS):
                    checked = check(chunk, fields, ("product_id",), seen)
                    priced = _priced(client, index, checked, path)
                    bad.add(priced.bad)
                    yield from documents.changes(priced, path)
                    report("updating products", (number + chunk.done) / len(files))

        try:
            for document, refusal in send(client, index, "update", products(), bulk):
                if refusal is None:
                    changed += 1
                else:
                    bad.add([BadRow(document.path, document.line, _explained(document, refusal))])
        except LoadFailed as error:
            raise LoadFailed(f"{error} (products updated before: {changed})") from error
        _note_attributes(client, live, given)
        client.indices.refresh(index=index)
        current = versions.live_of(versions.every(client))
        if current is None or current.name != live.name:
            say(f"version {live.name} isn't live any more: the live one doesn't have these updates; update again")
    return Updated(live.name, changed, bad.count, now() - started)


def _live(client: Elasticsearch, say: Say, now: float) -> versions.Version:
    found = versions.every(client)
    live = versions.live_of(found)
    if live is None:
        raise LoadFailed("Elasticsearch has no live catalog: load one with `racksort catalog load`")
    for version in found:
        if versions.is_loading(version.meta, now):
            say(f"version {version.name} is being loaded and won't have these updates: update again when it is live")
    return live


def _note_attributes(client: Elasticsearch, live: versions.Version, given: AbstractSet[str]) -> None:
    """Adapters ask only for the columns that the version is said to have."""
    had = live.meta.attributes
    if had is None or given.isdisjoint(set(ATTRIBUTES).difference(had)):
        return
    have = [name for name in ATTRIBUTES if name in had or name in given]
    versions.put_meta(client, live.name, msgspec.structs.replace(live.meta, attributes=have))


def _explained(document: Document, refusal: str) -> str:
    if refusal.startswith("document_missing_exception"):
        return _ABSENT.format(document.name)
    return f"Elasticsearch refuses it: {refusal}: mend the row"


def _priced(client: Elasticsearch, index: str, checked: Checked, path: Path) -> Checked:
    """With ``price_ratio`` where a row changes the price and doesn't say the ratio."""
    frame = checked.frame
    if "price" not in frame.columns:
        return checked
    for name in ("price_ratio", "regular_price"):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=pl.Float32).alias(name))
    wanted = frame["price"].is_not_null() & frame["price_ratio"].is_null()
    asked = frame.filter(wanted & frame["regular_price"].is_null())["product_id"].to_list()
    known = _regular_prices(client, index, asked)
    fetched = pl.Series([known.get(product) for product in frame["product_id"].to_list()], dtype=pl.Float32)
    regular = frame["regular_price"].fill_null(fetched)
    impossible = wanted & ~(regular > 0).fill_null(value=False)
    absent = set(asked) - known.keys()
    reasons = [
        BadRow(path, line, (_ABSENT if product in absent else _UNPRICED).format(product))
        for line, product in zip(
            checked.lines[impossible.to_numpy()].tolist(),
            frame.filter(impossible)["product_id"].to_list(),
            strict=True,
        )
    ]
    ratio = pl.min_horizontal(pl.lit(1.0, dtype=pl.Float32), frame["price"] / regular)
    frame = frame.with_columns(pl.when(wanted).then(ratio).otherwise(frame["price_ratio"]).alias("price_ratio"))
    return replace(
        checked,
        frame=frame.filter(~impossible),
        lines=checked.lines[~impossible.to_numpy()],
        bad=sorted((*checked.bad, *reasons), key=lambda each: each.line),
    )


def _regular_prices(client: Elasticsearch, index: str, products: Sequence[int]) -> Mapping[int, float | None]:
    """Of the products that the index has."""
    if not products:
        return {}
    answer = client.mget(index=index, ids=[str(product) for product in products], source_includes=["regular_price"])
    return {int(entry["_id"]): entry["_source"].get("regular_price") for entry in answer["docs"] if entry.get("found")}
