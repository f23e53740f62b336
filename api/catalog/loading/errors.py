"""What keeps the catalog in Elasticsearch from being changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from elastic_transport import ApiError, TransportError

from api.catalog.elastic.connection import Connection, explained, remedy
from api.errors import StartupError

_PRIVILEGES: Final = (
    "give the API key the privileges all on racksort-*, and monitor and manage_index_templates of the cluster"
)


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
        reason = explained(error)
        mend = _PRIVILEGES if "security_exception" in reason and "401" not in reason else remedy(error)
        where = ", ".join(connection.urls)
        raise LoadFailed(f"Elasticsearch at {where}: {reason}" + (f": {mend}" if mend else "")) from error
