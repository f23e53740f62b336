"""What keeps the catalog in Elasticsearch from being changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from elasticsearch import ApiError, TransportError

from api.catalog.elastic.connection import Connection, explained, remedy
from api.errors import StartupError

_PRIVILEGES: Final = (
    "give the API key the privileges all on racksort-*, and monitor and manage_index_templates of the cluster"
)
_BLOCKED: Final = "cluster_block_exception"


class LoadFailed(StartupError):  # noqa: N818 - the name says what happened
    """The catalog in Elasticsearch can't be changed as asked. The live version is whole."""


@contextmanager
def told(connection: Connection) -> Iterator[None]:
    """Say what Elasticsearch answered, in one line.

    Raises:
        LoadFailed: it couldn't be reached, or refused.
    """
    try:
        yield
    except (ApiError, TransportError) as error:
        mend = _remedy(error)
        where = ", ".join(connection.urls)
        raise LoadFailed(f"Elasticsearch at {where}: {explained(error)}" + (f": {mend}" if mend else "")) from error


def _remedy(error: ApiError | TransportError) -> str | None:
    """What whoever loads has to mend: a key that is known may do too little, unless a block forbids it to everybody."""
    if isinstance(error, ApiError) and error.meta.status == HTTPStatus.FORBIDDEN:
        return None if error.error == _BLOCKED else _PRIVILEGES
    return remedy(error)
