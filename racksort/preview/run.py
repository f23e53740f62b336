"""The whole preview: catalog, Triton, replay, page."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from api.app import open_catalog
from api.catalog import files
from api.errors import AdapterError, StartupError
from api.metrics import Metrics
from api.rules.document import Document
from api.settings import Settings
from api.types import Query
from ensemble.errors import RacksortError
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from racksort.commands.prepare import ensure_catalog
from racksort.preview import page, requests
from racksort.preview.replay import Result, replay
from racksort.releasing import with_live_release

_DESCRIBED_BY = ("leaf_category", "brand", "package_size")
"""Columns of the catalog that tell a person which product it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to preview."""

    before: Document
    after: Document
    now: float
    """Unix time."""
    requests: Path | None
    """File to replay; None generates."""
    count: int
    seed: int
    repository: Path


def run(settings: Settings, plan: Plan, out: Path, *, title: str) -> Result:
    """Replay the requests and write the page at ``out``.

    Raises:
        RacksortError: a request can't be answered, or a file can't be read or written.
    """
    if settings.catalog == "embedded":
        ensure_catalog(settings.catalog_dir)
    try:
        settings = with_live_release(settings, plan.repository)
        queries = asyncio.run(_queries(settings, plan))
        with ExitStack() as stack:
            if "triton" not in settings.model_fields_set:
                _say(f"starting Triton on release {settings.release}")
                options = TritonOptions(repository=plan.repository, releases=(settings.release,))
                server = stack.enter_context(EmbeddedTriton(options))
                settings = settings.model_copy(update={"triton": server.address})
            result = asyncio.run(replay(settings, plan.before, plan.after, queries, now=plan.now))
    except StartupError:
        raise
    except AdapterError as error:
        raise RacksortError(str(error)) from error
    _write(out, page.rendered(title, result, plan.after, _names(settings, result)))
    return result


async def _queries(settings: Settings, plan: Plan) -> list[Query]:
    if plan.requests is not None:
        return requests.read(plan.requests, plan.count)
    catalog = await open_catalog(settings, Metrics())
    try:
        return requests.generated(await catalog.containers(), plan.count, plan.seed)
    finally:
        await catalog.close()


def _names(settings: Settings, result: Result) -> dict[int, str]:
    """What the products of changed pages are called, where the catalog is a folder."""
    if settings.catalog != "embedded":
        return {}
    products = files.read(settings.catalog_dir).products
    columns = [name for name in _DESCRIBED_BY if products.schema.get(name) == pl.String]
    shown = {product for each in result.changed() for product in (*each.before.tolist(), *each.after.tolist())}
    found = products.filter(pl.col("product_id").is_in(list(shown))).select("product_id", *columns)
    return {row[0]: ", ".join(text for text in row[1:] if text) for row in found.iter_rows()}


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RacksortError(f"{out}: can't be written ({error.strerror}): name another file with --out") from error


def _say(text: str) -> None:
    print(f"racksort: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command line's own voice
