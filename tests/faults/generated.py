"""Requests of all kinds, by seed: right ones, slips of the pen, and malice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from urllib.parse import quote

METHODS = ("GET",) * 12 + ("HEAD", "POST", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
CONTAINERS = (
    *("deals", "deals", "deals", "a%2Fb%20%C3%BC", "empty", "large", "nothing"),
    *("..", "%00", "%ff%fe", "%", "%zz", "deals%0d%0a"),
)
PATHS = (
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/v1/containers",
    "/v1/containers/",
    "/",
    "/v1",
    "//",
)
PARAMETERS = (
    *("customer_id", "limit", "category", "customer_id", "limit", "explain", "why_not", "visitor_id", "recent"),
    *("Customer_ID", "", "x", "limit%00", "%ff"),
)
ODD = (
    "",
    "0",
    "1",
    "-1",
    "7",
    "100",
    "101",
    "1e3",
    "1_0",
    "%207",
    "%D9%A7",
    "NaN",
    "null",
    "true",
    "%00",
    "%ff",
    "%",
    "soft-drinks",
    "5:0.5,7:3",
)
HUGE = (str(2**63 - 1), str(2**63), "9" * 400, "0" * 5_000 + "7")
HEADER_NAMES = (b"accept", b"x-request-id", b"traceparent", b"range", b"if-none-match", b"cookie", b"x-forwarded-for")
CONTENT_TYPES = (b"application/json",) * 6 + (
    b"text/plain",
    b"application/json; charset=utf-8",
    b"",
    b"\xff",
    b"a/b;;;",
)
STRINGS = ("", "deals", "\x00", "\u202e", "ü", "\U0001f600", "x" * 300, "'; --", "__proto__", "{{7*7}}")


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    target: str
    """Path and query string, percent-encoded."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunks: tuple[int, ...] = field(default=())
    """Where the body is cut into parts."""

    def parts(self) -> list[bytes]:
        """The body as it comes in."""
        cuts = (0, *self.chunks, len(self.body))
        return [self.body[start:end] for start, end in pairwise(cuts)]

    def wire(self) -> bytes:
        """The request in bytes, its body chunked where it is cut."""
        head = [f"{self.method} {self.target} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n".encode("ascii")]
        head += [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"content-length"]
        if self.chunks:
            body = [b"%x\r\n%b\r\n" % (len(part), part) for part in self.parts() if part]
            return b"".join([*head, b"transfer-encoding: chunked\r\n\r\n", *body, b"0\r\n\r\n"])
        return b"".join([*head, b"content-length: %d\r\n\r\n" % len(self.body), self.body])


def generated(seed: int) -> Request:
    """The request of a seed, the same each time."""
    random = Random(seed)
    method = random.choice(METHODS)
    headers = tuple((random.choice(HEADER_NAMES), _header_value(random)) for _ in range(random.randrange(4)))
    if method == "POST" or random.random() < 0.05:
        body = _body(random)
        headers += ((b"content-type", random.choice(CONTENT_TYPES)),)
        if random.random() < 0.7:
            headers += ((b"content-length", b"%d" % len(body)),)
        cuts = sorted(random.randrange(len(body) + 1) for _ in range(random.choice((0, 0, 1, 5, 50))))
        target = "/v1/rank" if random.random() < 0.9 else _target(random)
        return Request(method, target, headers, body, tuple(cuts))
    return Request(method, _target(random), headers)


def _target(random: Random) -> str:
    if random.random() < 0.2:
        path = random.choice(PATHS)
    elif random.random() < 0.1:
        path = "/" + "/".join(quote(_noise(random), safe="") for _ in range(random.randrange(5)))
    else:
        path = f"/v1/containers/{random.choice(CONTAINERS)}/products"
    if random.random() < 0.2:
        return path
    if random.random() < 0.6:
        limit = random.choice(("", "&limit=5", "&limit=100"))
        return f"{path}?customer_id={random.randrange(10**6)}{limit}"
    pairs = [f"{random.choice(PARAMETERS)}{random.choice(('=', '=', '=', '', '=='))}{_value(random)}" for _ in range(4)]
    return path + "?" + random.choice("&&&;").join(pairs[: random.randrange(5)])


def _value(random: Random) -> str:
    return (
        random.choice((random.choice(ODD), random.choice(HUGE), quote(_noise(random))))
        if random.random() < 0.9
        else "x" * 5_000
    )


def _noise(random: Random) -> bytes:
    return random.randbytes(random.choice((1, 3, 20, 100)))


def _header_value(random: Random) -> bytes:
    return bytes(random.choice(range(0x21, 0x7F)) for _ in range(random.choice((0, 1, 10, 200))))


def _body(random: Random) -> bytes:
    kind = random.random()
    if kind < 0.05:
        return random.randbytes(random.choice((0, 1, 100, 5_000)))
    if kind < 0.08:
        return random.choice((b"[", b'{"a":', b'[{"a":')) * random.choice((10, 1_000, 20_000))
    if kind < 0.1:
        return bytes(random.choice((1, 1_000))) + b"{}"
    asked: object = {"product_ids": random.sample(range(1, 3_000), random.choice((1, 3, 30, 200)))}
    if random.random() < 0.5:
        asked = _spoilt(random, asked)
    text = json.dumps(asked).encode()
    if random.random() < 0.05:  # a byte is wrong
        place = random.randrange(len(text))
        text = text[:place] + random.randbytes(1) + text[place + 1 :]
    return text


def _spoilt(random: Random, asked: object) -> object:
    assert isinstance(asked, dict)
    for _ in range(random.randrange(1, 4)):
        name = random.choice(("customer_id", "limit", "recent", "product_ids", "explain", "why_not", "no such field"))
        asked[name] = random.choice(
            (_json(random, 3), random.randrange(1, 100), [_event(random)] * random.randrange(3))
        )
    return asked


def _event(random: Random) -> object:
    return {"product_id": random.choice((1, 5, 2**63, "1", None)), "age_days": random.choice((0, 0.5, -1, 1e308, "x"))}


def _json(random: Random, depth: int) -> object:
    simple = (None, True, 0, -1, 7, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"), random.choice(STRINGS))
    if depth == 0 or random.random() < 0.5:
        return random.choice(simple)
    if random.random() < 0.5:
        return [_json(random, depth - 1) for _ in range(random.choice((0, 1, 3, 120)))]
    return {random.choice(STRINGS): _json(random, depth - 1) for _ in range(random.choice((0, 1, 30)))}
