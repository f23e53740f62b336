"""Files to load, the command that loads them, and what Elasticsearch has then."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import CONTAINERS, PRODUCTS, Meta, Owner, containers_index, version_of
from api.catalog.loading import versions
from api.catalog.loading.status import status
from racksort.cli import main
from tests.contract.shop import CATEGORIES, DEFINITIONS, NOW_DAY, NOW_WEEK
from tests.contract.shop import PRODUCTS as SHOP

MANY = 50_000
TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


def write_folder(folder: Path, suffix: str = "parquet") -> Path:
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame([asdict(product) for product in SHOP])
    if suffix == "csv":
        frame.write_csv(folder / "products.csv")
    else:
        frame.write_parquet(folder / "products.parquet")
    (folder / "containers.json").write_text(json.dumps([entry.as_json() for entry in DEFINITIONS]))
    header = {
        "schema_version": 1,
        "now_day": NOW_DAY,
        "now_week": NOW_WEEK,
        "source": "the small shop",
        "categories": CATEGORIES,
    }
    (folder / "catalog.json").write_text(json.dumps(header))
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_many(path: Path, price: float = 1.0) -> Path:
    """A file that takes a while."""
    ids = pl.Series("product_id", range(1, MANY + 1))
    frame = pl.DataFrame({"product_id": ids, "category_id": ids % 9, "available": True, "popularity": ids * 0.5})
    frame.with_columns(price=price, category=pl.lit("CHEESE"), department=pl.lit("DAIRY")).write_csv(path)
    return path


def good(product: int, **more: Any) -> dict[str, Any]:
    return {"product_id": product, "category_id": 1, "available": True, "category": "CHEESE", "department": "DAIRY",
            "popularity": 1.0, **more}  # fmt: skip


def held(client: Elasticsearch) -> dict[int, dict[str, Any]]:
    """What the live version has."""
    client.indices.refresh(index=PRODUCTS)
    hits = client.search(index=PRODUCTS, size=100)["hits"]["hits"]
    return {int(hit["_id"]): hit["_source"] for hit in hits}


def aliased(client: Elasticsearch) -> tuple[set[str], set[str]]:
    """Indices behind the two aliases, seen at one moment."""
    found = client.options(ignore_status=404).indices.get_alias(name=[PRODUCTS, CONTAINERS]).body
    indices = {index: set(entry["aliases"]) for index, entry in found.items() if isinstance(entry, dict)}
    products = {index for index, aliases in indices.items() if PRODUCTS in aliases}
    return products, {index for index, aliases in indices.items() if CONTAINERS in aliases}


def live(client: Elasticsearch) -> str:
    products, containers = aliased(client)
    (index,) = products
    assert containers == {containers_index(version_of(index))}
    return version_of(index)


def next_of(version: str) -> str:
    day, _, number = version.rpartition("-")
    return f"{day}-{int(number) + 1}"


def states(client: Elasticsearch) -> dict[str, str]:
    return {each.version: each.state for each in status(client, time.time())}


def unfinished(client: Elasticsearch, owner: Owner, changed_at: float) -> str:
    day = datetime(2026, 11, 23, tzinfo=UTC).date()
    return versions.begin(client, day, {}, Meta(owner=owner, changed_at=changed_at))


def environment(connection: Connection) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ELASTICSEARCH_", "RACKSORT_"))}
    return kept | {"ELASTICSEARCH_URL": connection.urls[0], "COLUMNS": "200"}


@contextmanager
def started(connection: Connection, folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command at work in ``folder``; a test that fails doesn't leave it behind."""
    with subprocess.Popen(
        [sys.executable, "-m", "racksort", "catalog", *map(str, arguments)],
        cwd=folder,
        env=environment(connection) | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def command(connection: Connection, folder: Path, *arguments: object, expect: int = 0) -> tuple[str, str]:
    """The command's output, and what it says on stderr; in this process, as starting another takes seconds."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        chdir(folder),
        patch.dict(os.environ, environment(connection), clear=True),
        patch.object(sys, "argv", ["racksort", "catalog", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    assert code == expect, err.getvalue()
    return out.getvalue(), err.getvalue()
