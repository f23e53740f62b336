"""The questions that the adapter asks Elasticsearch: one attempt each, in time, counted; answers as bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import orjson
from elastic_transport import ApiError, Serializer, TransportError

from api.catalog.elastic.connection import Connection, concerns_all, explained, remedy
from api.catalog.elastic.schema import CONTAINERS, PRODUCTS
from api.errors import CatalogDenied, CatalogRefused, CatalogUnavailable

_PARTS: Final = "timed_out,_shards.failed,hits.total.value,hits.max_score,hits.hits.fields,hits.hits.sort,pit_id"
"""Of answers. The score is null, but keeps an answer without hits apart from one that lost them on the way."""
_KEEP_ALIVE: Final = "10s"
"""Of a point in time, counted anew with each page."""
_SERVERS_SHARE: Final = 0.8
"""Share of a search's time after which Elasticsearch shall answer with what it has."""
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}

Observe = Callable[[str, float], None]
"""Learns the outcome of a question (``ok``, ``refused``, ``unavailable``) and the seconds it took."""


class Searches:
    """Asks Elasticsearch.

    Every method raises ``CatalogUnavailable`` where it can't be reached, is too late, overloaded or failing, in
    particular ``CatalogDenied`` where somebody has to mend that, and ``CatalogRefused`` where it refuses this one
    question.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_s: float,
        observe: Observe,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open a client, which connects with its first question.

        Args:
            connection: where Elasticsearch is.
            timeout_s: time limit of one question.
            observe: learns of each.
            clock: seconds.
        """
        self._client = connection.asynchronous(
            request_timeout=timeout_s, serializers={"application/json": _Undecoded(), "text/*": _Undecoded()}
        )
        self._observe = observe
        self._clock = clock
        self.timeout_ms: Final = max(1, round(timeout_s * _SERVERS_SHARE * 1e3))
        """For the searches themselves."""

    async def products(self, search: Mapping[str, Any]) -> bytes:
        """Search the live products, or the point in time that ``search`` names."""
        target = "/_search" if "pit" in search else f"/{PRODUCTS}/_search"
        return await self._ask("POST", f"{target}?{urlencode({'filter_path': _PARTS})}", search)

    async def containers(self, search: Mapping[str, Any]) -> bytes:
        """Search the live containers."""
        return await self._ask("POST", f"/{CONTAINERS}/_search", search)

    async def mapping(self) -> bytes:
        """The mapping of the live products, by index."""
        return await self._ask("GET", f"/{PRODUCTS}/_mapping")

    async def open_point_in_time(self) -> str:
        """A view of the live products in which nothing changes, so that pages fit together."""
        body = await self._ask("POST", f"/{PRODUCTS}/_pit?keep_alive={_KEEP_ALIVE}")
        try:
            return str(orjson.loads(body)["id"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise CatalogUnavailable(f"Elasticsearch opened no point in time ({error})") from None

    async def close_point_in_time(self, pit_id: str) -> None:
        """Let go of a view; it would end by itself soon."""
        with suppress(CatalogUnavailable):
            await self._ask("DELETE", "/_pit", {"id": pit_id})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> bytes:
        started = self._clock()
        try:
            answer = await self._client.perform_request(method, target, headers=_JSON, body=body)
        except (ApiError, TransportError) as error:
            mended_by = remedy(error)
            refused = not concerns_all(error)
            self._observe("refused" if refused else "unavailable", self._clock() - started)
            why = f"Elasticsearch: {explained(error)}"
            if mended_by is not None:
                raise CatalogDenied(f"{why}; {mended_by}") from None
            raise (CatalogRefused if refused else CatalogUnavailable)(why) from None
        self._observe("ok", self._clock() - started)
        return answer.body if isinstance(answer.body, bytes) else b""


def in_point(search: dict[str, Any], pit_id: str, after: list[Any] | None) -> dict[str, Any]:
    """``search`` within a point in time, from behind the product whose sort values are ``after``."""
    page = search | {"pit": {"id": pit_id, "keep_alive": _KEEP_ALIVE}}
    return page if after is None else page | {"search_after": after, "track_total_hits": False}


class _Undecoded(Serializer):
    """Bodies of answers as they come: who asked knows what to expect."""

    mimetype: ClassVar[str] = "application/json"

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: Any) -> bytes:
        return orjson.dumps(data)
