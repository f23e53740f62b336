"""What a load is made of: files of products, definitions, and what belongs to the catalog as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from elasticsearch import Elasticsearch

from api.catalog.elastic.schema import ATTRIBUTES, Meta
from api.catalog.files import DEFAULTS, Definition, products_file, read_definitions, read_header
from api.catalog.loading import columns, definitions
from api.catalog.loading.errors import LoadFailed
from api.catalog.loading.versions import every, live_of
from api.errors import CatalogInvalid


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A catalog that is about to be loaded, its definitions checked."""

    products: tuple[Path, ...]
    kinds: dict[str, str]
    """Field types of the products' columns."""
    definitions: tuple[Definition, ...]
    containers: Path
    """Where the definitions come from, for messages."""
    meta: Meta


def read(client: Elasticsearch, files: Sequence[Path], containers: Path | None) -> Source:
    """Look at everything but the rows.

    Args:
        client: has the live version, whose containers are kept where only products are given.
        files: one catalog folder, or files of products.
        containers: file of definitions that replaces the folder's or the live version's.

    Raises:
        CatalogInvalid: a file is missing or doesn't fit its schema.
        LoadFailed: there are no definitions.
    """
    folders = [path for path in files if path.is_dir()]
    if folders and len(files) > 1:
        raise CatalogInvalid(f"{folders[0]}: is a catalog folder: load it alone, or give files of products only")
    return _of_folder(folders[0], containers) if folders else _of_files(client, files, containers)


def _of_folder(folder: Path, containers: Path | None) -> Source:
    header = read_header(folder)
    path = containers or folder / "containers.json"
    meta = Meta(
        now_day=header.now_day,
        now_week=header.now_week,
        categories=header.categories,
        source=header.source or folder.name,
    )
    return _checked((products_file(folder),), read_definitions(path), path, meta)


def _of_files(client: Elasticsearch, files: Sequence[Path], containers: Path | None) -> Source:
    live = live_of(every(client))
    names = ", ".join(path.name for path in files)
    meta = Meta(source=names)
    if live is not None:
        kept = live.meta
        meta = Meta(now_day=kept.now_day, now_week=kept.now_week, categories=kept.categories, source=names)
    if containers is not None:
        return _checked(tuple(files), read_definitions(containers), containers, meta)
    if live is None:
        raise LoadFailed("there is no live version whose containers could be kept: give --containers, or a folder")
    return _checked(tuple(files), definitions.of_version(client, live.name), Path(live.name), meta)


def _checked(products: tuple[Path, ...], entries: tuple[Definition, ...], path: Path, meta: Meta) -> Source:
    kinds = columns.of_files(products)
    if meta.categories and "category" not in kinds:
        raise CatalogInvalid(
            f"{products[0]}: text column 'category' is missing, but the catalog names categories: add it"
        )
    definitions.check(path, entries, dict.fromkeys(DEFAULTS, "float") | kinds)
    meta = msgspec.structs.replace(meta, attributes=[name for name in ATTRIBUTES if name in kinds])
    return Source(products, kinds, entries, path, meta)
