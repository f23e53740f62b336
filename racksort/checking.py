"""A document of rules, checked against the catalog that the settings name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from api.app import open_catalog
from api.errors import CatalogUnavailable, Fault
from api.metrics import Metrics
from api.rules.check import check
from api.rules.document import Document, read
from api.settings import Settings
from ensemble.errors import RacksortError


def checked(file: Path, settings: Settings) -> tuple[Document, tuple[Fault, ...]]:
    """The document, and warnings where the catalog is at hand.

    Raises:
        RulesInvalid: it can't be applied.
        CatalogInvalid, RacksortError: the catalog can't be read or asked.
    """
    document = read(file)
    given = "catalog_dir" in settings.model_fields_set
    if settings.catalog == "embedded" and not (given or (settings.catalog_dir / "catalog.json").exists()):
        return document, ()
    try:
        return document, asyncio.run(_warnings(document, settings, str(file)))
    except CatalogUnavailable as error:
        raise RacksortError(f"{', '.join(settings.connection.urls)}: {error}: try again") from error


async def _warnings(document: Document, settings: Settings, where: str) -> tuple[Fault, ...]:
    catalog = await open_catalog(settings, Metrics(), for_rules=True, warm=False)
    try:
        return (await check(document, catalog, where)).warnings
    finally:
        await catalog.close()
