"""Who asks for what, and when: requests drawn from the seed, and a client that speaks ASGI."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tests.simulation import stock

_TIMEOUTS: Final = (5, 10, 20, 30, 50, 80, 150, 300, 500, 2_000)
_WRONG: Final[tuple[tuple[str, bytes, bytes, tuple[tuple[bytes, bytes], ...], int], ...]] = (
    ("GET", b"/v1/containers/nowhere/products", b"", (), 404),
    ("GET", b"/v1/containers/deals/products", b"category=toys", (), 404),
    ("GET", b"/v1/containers/deals/products", b"limit=0", (), 422),
    ("GET", b"/v1/containers/deals/products", b"customer_id=x", (), 422),
    ("GET", b"/v1/containers/deals/products", b"custmer_id=5", (), 422),
    ("GET", b"/v1/containers/deals/products", b"", ((b"x-timeout-ms", b"soon"),), 422),
    ("POST", b"/v1/containers/deals/products", b"", (), 405),
    ("POST", b"/v1/rank", b"", ((b"content-type", b"application/json"),), 422),
    ("POST", b"/v1/rank", b"", ((b"content-type", b"text/plain"),), 415),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    number: int
    at: float
    """Seconds since the beginning."""
    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    refusal: int | None = None
    """The status that it must be answered with, where it is wrong in itself."""
    container: str = ""
    """Empty where it brings ``products``."""
    category: str | None = None
    customer: int | None = None
    limit: int = 24
    timeout_ms: int | None = None
    products: tuple[int, ...] = ()
    leaves_after: float | None = None
    """Seconds until the client goes away, where it does."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Many requests at once."""

    start: float
    seconds: float
    rate: float
    """Requests a second."""


@dataclass(slots=True)
class Client:
    """One client's connection: asks once, keeps what it is sent."""

    asked: Asked
    disconnected: bool = False
    """Whether it has gone away, under the name that uvicorn gives it."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    _body_read: bool = False

    def scope(self) -> dict[str, Any]:
        """What ASGI says of the request."""
        asked = self.asked
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": asked.method,
            "scheme": "http",
            "path": asked.path.decode(),
            "raw_path": asked.path,
            "query_string": asked.query,
            "root_path": "",
            "headers": [(b"host", b"adapter"), *asked.headers],
            "client": ("127.0.0.1", 1),
            "server": ("adapter", 80),
        }

    async def receive(self) -> dict[str, Any]:
        """The body, once; then that nothing comes any more."""
        if self._body_read or self.disconnected:
            return {"type": "http.disconnect"}
        self._body_read = True
        return {"type": "http.request", "body": self.asked.body, "more_body": False}


def drawn(draw: random.Random, times: list[float], *, plain: float) -> list[Asked]:
    """A request for each of ``times``; from ``plain`` seconds on only such as can be answered in full."""
    return [_request(draw, number, at, simple=at >= plain) for number, at in enumerate(times)]


def arrivals(draw: random.Random, rates: list[tuple[float, float]], bursts: list[Burst], until: float) -> list[float]:
    """Moments of a Poisson process.

    Args:
        draw: where chance comes from.
        rates: from when on how many come a second, beside the bursts; in order, the first from 0.
        bursts: more, on top.
        until: the end, seconds.
    """
    spans = [
        (start, end, rate) for (start, rate), end in zip(rates, [*(at for at, _ in rates[1:]), until], strict=True)
    ]
    spans += [(burst.start, burst.start + burst.seconds, burst.rate) for burst in bursts]
    times = []
    for start, end, rate in spans:
        at = start + draw.expovariate(rate)
        while at < end:
            times.append(at)
            at += draw.expovariate(rate)
    return sorted(times)


def _request(draw: random.Random, number: int, at: float, *, simple: bool) -> Asked:
    chance = draw.random()
    timeout_ms = None
    if draw.random() < 0.4:
        timeout_ms = draw.choice((50, 80, 500)) if simple else draw.choice(_TIMEOUTS)
    headers = () if timeout_ms is None else ((b"x-timeout-ms", b"%d" % timeout_ms),)
    leaves_after = None if simple or draw.random() > 0.05 else draw.expovariate(1 / 0.02)
    customer = draw.choice((None, 0, draw.randint(1, stock.CUSTOMERS), draw.randint(1, 20), draw.randint(1, 20)))
    limit = draw.choice((1, 5, 24, 24, 24, 50, 100))
    if chance < 0.04 and not simple:
        method, path, query, more, status = draw.choice(_WRONG)
        return Asked(number, at, method, path, query, more, refusal=status, body=b"{" if b"rank" in path else b"")
    if chance < 0.12:
        return _rank(draw, number, at, headers, customer, timeout_ms, leaves_after)
    rare = draw.random()
    container = draw.choice(stock.FILLED)
    if rare < 0.04:
        container = stock.EMPTY
    elif rare < 0.14 and not simple:
        container = draw.choice(stock.SOMETIMES)
    category = None if simple or draw.random() < 0.8 else draw.choice(list(stock.CATEGORIES))
    query = "&".join(
        f"{name}={value}"
        for name, value in (("customer_id", customer), ("limit", limit), ("category", category))
        if value is not None
    )
    return Asked(
        number,
        at,
        "GET",
        b"/v1/containers/%s/products" % container.encode(),
        query.encode(),
        headers,
        container=container,
        category=category,
        customer=customer,
        limit=limit,
        timeout_ms=timeout_ms,
        leaves_after=leaves_after,
    )


def _rank(
    draw: random.Random,
    number: int,
    at: float,
    headers: tuple[tuple[bytes, bytes], ...],
    customer: int | None,
    timeout_ms: int | None,
    leaves_after: float | None,
) -> Asked:
    known = sorted(stock.by_id(draw.randrange(stock.VERSIONS)))
    products = draw.sample(known, draw.randint(1, 20)) + [10**9 + draw.randrange(5)] * (draw.random() < 0.3)
    body = {"product_ids": products} | ({} if customer is None else {"customer_id": customer})
    return Asked(
        number,
        at,
        "POST",
        b"/v1/rank",
        b"",
        (*headers, (b"content-type", b"application/json")),
        orjson.dumps(body),
        customer=customer,
        limit=len(products),
        timeout_ms=timeout_ms,
        products=tuple(products),
        leaves_after=leaves_after,
    )
