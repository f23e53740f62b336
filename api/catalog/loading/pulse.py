"""A loading version's sign of life."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec
from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch, NotFoundError

from api.catalog.elastic.schema import Meta
from api.catalog.loading.errors import LoadFailed
from api.catalog.loading.versions import put_meta

INTERVAL_S: Final = 15.0
_TIMEOUT_S: Final = 5.0
"""Of one sign, which isn't tried again before the next: whoever ends the load waits for the one that is under way."""


class Pulse:
    """Writes the time into a version's meta data every now and then, beside whatever takes long.

    A sign that is under way at the end is awaited: it must not come after the meta data that say "complete".

    Args:
        client: its own calls may run beside others'.
        version: the version that is loading.
        meta: its meta data.
        now: Unix time.
        interval_s: time between two signs.
    """

    def __init__(
        self,
        client: Elasticsearch,
        version: str,
        meta: Meta,
        now: Callable[[], float],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._client = client.options(request_timeout=_TIMEOUT_S, max_retries=0)
        self._version = version
        self._meta = meta
        self._now = now
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="racksort-pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """See that the version is still there.

        Raises:
            LoadFailed: somebody has deleted it.
        """
        if self._lost:
            raise LoadFailed(
                f"version {self._version} was deleted while it was loading, by another load that took this one for "
                "broken off, or by a person: load again"
            )

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                put_meta(self._client, self._version, msgspec.structs.replace(self._meta, changed_at=self._now()))
            except NotFoundError:
                self._lost = True
                return
            except (ApiError, TransportError):
                continue  # the load itself finds out whether that lasts
