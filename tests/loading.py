"""Puts catalog folders into Elasticsearch as a user does."""

from __future__ import annotations

from pathlib import Path

from api.catalog.elastic.connection import Connection
from api.catalog.loading.load import load


def load_folder(connection: Connection, folder: Path) -> None:
    """Load ``folder`` as a new version and make it live."""
    load(connection, [folder])
