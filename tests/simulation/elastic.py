"""An Elasticsearch in memory behind the client's interface: it answers, delays, fails, hangs and lies by schedule."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson
from elastic_transport import ApiError, ApiResponseMeta, ConnectionTimeout, HttpHeaders, NodeConfig
from elastic_transport import ConnectionError as Unreachable

from tests.simulation import stock
from tests.simulation.faults import Fault, Schedule
from tests.simulation.stock import Product
from tests.simulation.virtual_loop import VirtualTimeLoop

_USUAL_S: Final = 0.004
_REFUSED_S: Final = 0.0005
"""Until a connection is refused."""
_SPREAD: Final = 0.4
"""Standard deviation of the logarithm of an answer's time."""
_ERRORS: Final = (
    (429, "es_rejected_execution_exception"),
    (500, "null_pointer_exception"),
    (503, "search_phase_execution_exception"),
    (400, "query_shard_exception"),
    (401, "security_exception"),
    (404, "index_not_found_exception"),
)
_NODE: Final = NodeConfig("http", "elasticsearch", 9200)
_EMPTY_IN_A_ROW: Final = 2
"""Empty answers that must not be believed; a third one would be."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the client returns."""

    body: bytes


@dataclass(frozen=True, slots=True)
class _Found:
    hits: list[dict[str, Any]]
    total: int


class Elasticsearch:
    """Stands for ``AsyncElasticsearch``."""

    def __init__(self, loop: VirtualTimeLoop, schedule: Schedule, switches: list[float], rng: random.Random) -> None:
        """An index of ``stock``.

        Args:
            loop: whose time it lives in; it begins now.
            schedule: what goes wrong, and when.
            switches: moments, in seconds since the beginning, at which the next version becomes the live one.
            rng: draws delays and mistakes.
        """
        self._loop = loop
        self._began = loop.time()
        self._schedule = schedule
        self._switches = switches
        self._rng = rng
        self._empty: dict[str, int] = {}
        self._answered: set[str] = set()
        self.empties = True
        """Whether it may answer that nothing is there; where the pool before has expired, nobody could doubt that."""
        self.timeout_s = 1.0
        """Of the client."""
        self.in_flight = 0
        self.malformed = False
        """Whether hits were spoilt, which are left out without a word."""
        self.closed = False

    def asynchronous(self, *, request_timeout: float, **_: Any) -> Elasticsearch:
        """As ``Connection`` does: the client."""
        self.timeout_s = request_timeout
        return self

    def live(self, seconds: float) -> int:
        """The live version, so many seconds since the beginning."""
        return sum(at <= seconds for at in self._switches)

    async def close(self) -> None:
        """As the client does."""
        self.closed = True

    async def perform_request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],  # noqa: ARG002 - the client's signature
        body: Mapping[str, Any] | None = None,
    ) -> Response:
        """As the client does: answer, or raise what it raises."""
        self.in_flight += 1
        try:
            return await asyncio.wait_for(self._answer(method, target, body or {}), self.timeout_s)
        except TimeoutError:
            raise ConnectionTimeout("Connection timed out") from None
        finally:
            self.in_flight -= 1

    async def _answer(self, method: str, target: str, body: Mapping[str, Any]) -> Response:
        began = self._loop.time() - self._began
        phase = self._schedule.at(began)
        fault = phase.fault if phase is not None and self._rng.random() < phase.share else None
        if fault is Fault.DOWN:
            await asyncio.sleep(_REFUSED_S)
            raise Unreachable("Connection refused")
        if fault is Fault.HANGING:
            await asyncio.Event().wait()
        slower = phase.factor if phase is not None and fault is Fault.SLOW else 1.0
        await asyncio.sleep(_USUAL_S * slower * math.exp(self._rng.gauss(0.0, _SPREAD)))
        now = self._loop.time() - self._began
        ending = self._schedule.at(now)
        if ending is not None and ending.fault is Fault.DOWN and ending.start > began:
            raise Unreachable("Server disconnected")
        if fault is Fault.FAILING:
            raise self._error()
        answer = self._honest(method, target, body, self.live(now))
        if fault is Fault.PARTIAL and "hits" in answer:
            answer = self._part(answer)
        if fault is Fault.LYING:
            return Response(self._lie(answer, target, body))
        self._answered.add(_question(target, body))
        return Response(orjson.dumps(answer))

    def _error(self) -> ApiError:
        status, kind = self._rng.choice(_ERRORS)
        cause = {"error": {"root_cause": [{"type": kind, "reason": "simulated"}]}}
        meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.0, _NODE)
        return ApiError("simulated", meta, orjson.dumps(cause))

    def _honest(self, method: str, target: str, body: Mapping[str, Any], version: int) -> dict[str, Any]:
        path = target.partition("?")[0]
        if path.endswith("/_mapping"):
            return stock.mapping(version)
        if path.startswith("/racksort-containers/"):
            entries = stock.definitions(version)
            return _result(
                [{"_source": {"definition": each}, "sort": [at, ""]} for at, each in enumerate(entries)], len(entries)
            )
        if path.endswith("/_pit"):
            return {"id": f"point-{version}"} if method == "POST" else {"succeeded": True}
        pit_id = body.get("pit", {}).get("id")
        if pit_id is not None:
            version = int(re.sub("[^0-9]", "", pit_id))
        found = _search(version, body)
        answer = _result(found.hits, found.total if body.get("track_total_hits", True) else None)
        return answer if pit_id is None else answer | {"pit_id": pit_id}

    def _part(self, answer: dict[str, Any]) -> dict[str, Any]:
        kept = [hit for hit in answer["hits"]["hits"] if self._rng.random() < 0.7]
        flaw = self._rng.choice(({"timed_out": True}, {"_shards": {"failed": 1}}))
        return answer | {"hits": answer["hits"] | {"hits": kept}} | flaw

    def _lie(self, answer: dict[str, Any], target: str, body: Mapping[str, Any]) -> bytes:
        """The answer, spoilt in a way that can be noticed."""
        rng, encoded = self._rng, orjson.dumps(answer)
        if "hits" not in answer or rng.random() < 0.3:
            whole = rng.choice(
                (b"", b"null", b"[]", b"<html>", b"{}", b'"\xff', encoded[: rng.randrange(len(encoded))])
            )
            return whole if whole != encoded else b""
        hits: list[Any] = orjson.loads(orjson.dumps(answer["hits"]["hits"]))
        kind = rng.choice(
            ("lost", "more", "uncounted", "repeated", "malformed", "all malformed", "not a number", "empty")
        )
        inner = answer["hits"]
        if kind == "uncounted":
            return orjson.dumps(answer | {"hits": {"hits": hits}})
        if kind == "empty":
            return self._nothing(answer, _question(target, body), encoded)
        if not hits or "fields" not in hits[0]:
            return b"{}"
        at = rng.randrange(len(hits))
        if kind == "lost":
            del hits[at]
        elif kind == "more":
            hits.append(hits[at])
        elif kind == "repeated":
            hits[at] = hits[0]
            self.malformed = True
        elif kind == "not a number":
            text = orjson.dumps(answer | {"hits": inner | {"hits": hits}})
            return re.sub(rb'"boost":\[[^\]]*\]', b'"boost":[NaN]', text, count=1)
        else:
            self.malformed = True
            for hit in hits if kind == "all malformed" else [hits[at]]:
                name, value = rng.choice(
                    (("product_id", ["12"]), ("product_id", [-5]), ("product_id", []), ("offer", 1), ("boost", [1e300]))
                )
                hit["fields"] = (
                    {**hit["fields"], "category_id": "none"} if name == "offer" else {**hit["fields"], name: value}
                )
        return orjson.dumps(answer | {"hits": inner | {"hits": hits}})

    def _nothing(self, answer: dict[str, Any], question: str, encoded: bytes) -> bytes:
        """An answer without hits that looks right: only of questions whose answer is known, and not too often."""
        count = self._empty.get(question, 0)
        known = self.empties and question in self._answered and question.startswith("list")
        if not known or count >= _EMPTY_IN_A_ROW:
            self._empty[question] = 0
            return encoded
        self._empty[question] = count + 1
        return orjson.dumps(answer | {"hits": {"hits": [], "total": {"value": 0}}})


def _question(target: str, body: Mapping[str, Any]) -> str:
    """Which pool a search is for; ``list`` where it is a container's whole pool on one page."""
    if not target.startswith("/racksort-products/_search") or "pit" in body or "size" not in body:
        return "other"
    department, categories, ids = _conditions(body)
    return "other" if categories is not None or ids is not None else f"list {department}"


def _conditions(body: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...] | None, tuple[int, ...] | None]:
    department = categories = ids = None
    for condition in body["query"]["bool"]["filter"]:
        department = condition.get("term", {}).get("department", department)
        terms = condition.get("terms", {})
        categories = tuple(terms["category"]) if "category" in terms else categories
        ids = tuple(terms["product_id"]) if "product_id" in terms else ids
    return department, categories, ids


def _search(version: int, body: Mapping[str, Any]) -> _Found:
    department, categories, ids = _conditions(body)
    if ids is not None:
        known = stock.by_id(version)
        found = [_hit(known[each], 0) for each in ids if each in known]
    else:
        found = _hits(version, department, categories)
    first = body["search_after"][0] + 1 if "search_after" in body else 0
    return _Found(found[first : first + body["size"]], len(found))


@cache
def _hits(version: int, department: str | None, categories: tuple[str, ...] | None) -> list[dict[str, Any]]:
    return [_hit(each, at) for at, each in enumerate(stock.matching(version, department, categories))]


def _hit(product: Product, at: int) -> dict[str, Any]:
    return {"fields": product.fields(), "sort": [at, product.product_id]}


def _result(hits: list[dict[str, Any]], total: int | None) -> dict[str, Any]:
    inner: dict[str, Any] = {"hits": hits} if total is None else {"hits": hits, "total": {"value": total}}
    return {"timed_out": False, "_shards": {"failed": 0}, "hits": inner}
