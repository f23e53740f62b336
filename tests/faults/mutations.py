"""Answers of Elasticsearch as they should never come: pure functions, a strategy, and a server that sends them.

A mutation takes a search answer and a ``Random`` and gives the bytes to send instead. Those of its hits' fields that
a mutation breaks are fields that every product has: that ``category`` and ``excluded`` are absent is usual.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import web
from hypothesis import strategies as st
from yarl import URL

from tests.faults.proxy import in_thread

Answer = dict[str, Any]
NUMBERS: Final = ("product_id", "category_id", "price_ratio", "mailer", "display", "coupon", "boost")
"""Fields that every product has, of one number each."""

# JSON that ``json.dumps`` wouldn't write is carried through it in strings with these marks, and is bare afterwards.
_OPEN, _CLOSE = "\ue000", "\ue001"
_BARE: Final = re.compile(f'"{_OPEN}(.*?){_CLOSE}"', re.DOTALL)
_TWIN: Final = "\ue002"
"""Makes a key differ from the same key without it until the text is written."""


@dataclass(frozen=True)
class Mutation:
    """Changes the answer, and then the text that it makes; one of the two does nothing."""

    name: str
    change: Callable[[Answer, Random], None] = lambda _answer, _random: None
    """Is given a copy."""
    write: Callable[[bytes, Random], bytes] = lambda text, _random: text
    needs_hits: bool = False
    last: bool = False
    """Whether it leaves nothing that another one could change."""
    harmless: bool = False
    """Whether the answer means the same as before, so that a client must take it as that."""

    def __call__(self, answer: Answer, random: Random) -> bytes:
        """The bytes to send instead.

        Raises:
            ValueError: the answer has no hits, and they are what this mutation is about.
        """
        if not self.fits(answer):
            raise ValueError(f"{self.name} needs an answer that has hits")
        changed = copy.deepcopy(answer)
        self.change(changed, random)
        return self.write(written(changed), random)

    def fits(self, answer: Answer) -> bool:
        """Whether it can be done to this answer."""
        return not self.needs_hits or bool(_hits(answer))


def mutate(answer: Answer, random: Random) -> tuple[bytes, str]:
    """What to send instead, and the mutation's name; joined by ``+`` where up to three came together."""
    changed = copy.deepcopy(answer)
    done: list[Mutation] = []
    for last in (*[False] * random.choice((0, 0, 0, 1, 2)), True):
        fitting = [each for each in MUTATIONS.values() if each not in done and each.fits(changed)]
        done.append(random.choice([each for each in fitting if last or not each.last]))
        done[-1].change(changed, random)
    text = written(changed)
    for mutation in done:
        text = mutation.write(text, random)
    return text, "+".join(mutation.name for mutation in done)


def harmless(name: str) -> bool:
    """Whether an answer with this mutation, or these, means the same as without."""
    return all(MUTATIONS[each].harmless for each in name.split("+"))


def written(answer: Answer) -> bytes:
    """An answer as Elasticsearch would write it."""
    text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False).replace(_TWIN, "")
    return _BARE.sub(lambda match: str(json.loads(f'"{match[1]}"')), text).encode()


def _bare(text: str) -> str:
    return f"{_OPEN}{text}{_CLOSE}"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _hits(answer: Answer) -> list[Answer]:
    """Those that have fields; empty for whatever isn't the usual answer."""
    hits = answer.get("hits")
    inner = hits.get("hits") if isinstance(hits, dict) else None
    return [hit for hit in _list(inner) if isinstance(hit, dict) and isinstance(hit.get("fields"), dict)]


# ------------------------------------------------------------------------------------------------------------------
# Values of fields


def _of_a_field(name: str, make: Callable[[Random], Any], *fields: str) -> Mutation:
    """One of ``fields`` of one hit becomes what ``make`` makes."""

    def change(answer: Answer, random: Random) -> None:
        random.choice(_hits(answer))["fields"][random.choice(fields or NUMBERS)] = make(random)

    return Mutation(name, change, needs_hits=True)


def _first(fields: Answer, name: str) -> Any:
    return next(iter(_list(fields.get(name))), 1)


def _missing_field(answer: Answer, random: Random) -> None:
    fields = random.choice(_hits(answer))["fields"]
    fields.pop(random.choice([name for name in NUMBERS if name in fields] or NUMBERS), None)


def _two_values(answer: Answer, random: Random) -> None:
    fields = random.choice(_hits(answer))["fields"]
    name = random.choice(NUMBERS)
    fields[name] = [_first(fields, name), random.randrange(1, 100)]


def _unlisted(answer: Answer, random: Random) -> None:
    fields = random.choice(_hits(answer))["fields"]
    name = random.choice(NUMBERS)
    fields[name] = _first(fields, name)


def _text_for_number(answer: Answer, random: Random) -> None:
    fields = random.choice(_hits(answer))["fields"]
    name = random.choice(NUMBERS)
    fields[name] = [str(_first(fields, name))]


def _nested(random: Random) -> str:
    depth = random.choice((200, 2_000, 100_000))
    inner, outer = random.choice((("[", "]"), ('{"a":', "}")))
    return _bare(inner * depth + "1" + outer * depth)


_FIELDS: Final = (
    Mutation("missing_field", _missing_field, needs_hits=True),
    _of_a_field("null_field", lambda _: None),
    _of_a_field("null_value", lambda _: [None]),
    _of_a_field("empty_field", lambda _: []),
    Mutation("two_values", _two_values, needs_hits=True),
    Mutation("unlisted_value", _unlisted, needs_hits=True),
    Mutation("text_for_number", _text_for_number, needs_hits=True),
    _of_a_field("number_for_text", lambda random: [random.randrange(100)], "category"),
    _of_a_field("bool_for_number", lambda random: [random.random() < 0.5]),
    _of_a_field("text_for_bool", lambda random: [random.choice(("true", "false", ""))], "excluded"),
    _of_a_field("object_value", lambda _: [{"value": 1}]),
    _of_a_field("object_field", lambda _: {"0": 1}),
    _of_a_field("list_of_lists", lambda _: [[1]]),
    _of_a_field("bare_nan", lambda _: [_bare("NaN")]),
    _of_a_field("bare_infinity", lambda random: [_bare(random.choice(("Infinity", "-Infinity")))]),
    _of_a_field("huge_float", lambda random: [_bare(random.choice(("1e400", "-1e400", "1e39")))]),
    _of_a_field("huge_integer", lambda random: [random.choice((2**63, 2**70, -(2**63) - 1))], *NUMBERS[:2]),
    _of_a_field("negative_id", lambda random: [-random.randrange(1, 2**40)], *NUMBERS[:2]),
    _of_a_field("zero_id", lambda _: [0], "product_id"),
    _of_a_field("fractional_id", lambda random: [random.randrange(100) + 0.5], *NUMBERS[:2]),
    _of_a_field("deep_field", _nested),
)


# ------------------------------------------------------------------------------------------------------------------
# The rest of the answer


def _no_fields(answer: Answer, random: Random) -> None:
    del random.choice(_hits(answer))["fields"]


def _null_hit(answer: Answer, random: Random) -> None:
    hits = answer["hits"]["hits"]
    hits[hits.index(random.choice(_hits(answer)))] = None


def _repeated_product(answer: Answer, random: Random) -> None:
    hits = answer["hits"]["hits"]
    hits.insert(random.randrange(len(hits) + 1), copy.deepcopy(random.choice(_hits(answer))))
    if isinstance(answer["hits"].get("total"), dict):
        answer["hits"]["total"]["value"] += 1


def _low_total(answer: Answer, random: Random) -> None:
    answer["hits"]["total"] = {"value": random.randrange(len(answer["hits"]["hits"])), "relation": "eq"}


def _without(*path: str) -> Callable[[Answer, Random], None]:
    def change(answer: Answer, _random: Random) -> None:
        for key in path[:-1]:
            answer = answer[key]
        answer.pop(path[-1], None)

    return change


def _with(make: Callable[[Random], Any], *path: str) -> Callable[[Answer, Random], None]:
    def change(answer: Answer, random: Random) -> None:
        for key in path[:-1]:
            answer = answer.setdefault(key, {})
        answer[path[-1]] = make(random)

    return change


def _failed_shards(answer: Answer, _random: Random) -> None:
    answer["_shards"] = {
        "total": 2,
        "successful": 1,
        "skipped": 0,
        "failed": 1,
        "failures": [
            {"shard": 1, "index": "products", "reason": {"type": "node_disconnected_exception", "reason": "-"}}
        ],
    }


def _no_sort(answer: Answer, random: Random) -> None:
    random.choice(_hits(answer)).pop("sort", None)


def _sort_length(answer: Answer, random: Random) -> None:
    hit = random.choice(_hits(answer))
    sort = _list(hit.get("sort"))
    hit["sort"] = random.choice((sort[:-1], [*sort, 1], []))


def _unknown_keys(answer: Answer, random: Random) -> None:
    value: Any = random.choice((None, 1, "new in 9.9", [], {"nested": [1.5, None, {"deeper": True}]}))
    places = [answer, answer.get("_shards"), answer.get("hits"), *_hits(answer)]
    places += [hit["fields"] for hit in _hits(answer)]
    for place in places:
        if isinstance(place, dict) and random.random() < 0.7:
            place["unknown"] = value
    answer["profile"] = value


def _other_order(answer: Answer, random: Random) -> None:
    for place in (answer, answer.get("hits"), *_hits(answer), *(hit["fields"] for hit in _hits(answer))):
        if isinstance(place, dict):
            items = list(place.items())
            random.shuffle(items)
            place.clear()
            place.update(items)


def _twin_keys(answer: Answer, random: Random) -> None:
    """The same key twice, with another value: RFC 8259 leaves open which one counts."""
    fields = random.choice(_hits(answer))["fields"]
    fields["product_id" + _TWIN] = [random.randrange(1, 1_000)]


def _twin_hits(answer: Answer, _random: Random) -> None:
    answer["hits" + _TWIN] = {"total": {"value": 0, "relation": "eq"}, "hits": []}


_ENVELOPE: Final = (
    Mutation("no_hits", _without("hits"), last=True),
    Mutation("null_hits", _with(lambda _: None, "hits"), last=True),
    Mutation("list_for_hits", _with(lambda _: [], "hits"), last=True),
    Mutation("no_inner_hits", _without("hits", "hits"), needs_hits=True, last=True),
    Mutation("null_inner_hits", _with(lambda _: None, "hits", "hits"), needs_hits=True, last=True),
    Mutation("object_for_inner_hits", _with(lambda _: {"0": {}}, "hits", "hits"), needs_hits=True, last=True),
    Mutation("null_hit", _null_hit, needs_hits=True),
    Mutation("no_fields", _no_fields, needs_hits=True),
    Mutation("repeated_product", _repeated_product, needs_hits=True),
    Mutation("no_total", _without("hits", "total"), needs_hits=True),
    Mutation("low_total", _low_total, needs_hits=True),
    Mutation("text_for_total", _with(lambda _: "7", "hits", "total"), needs_hits=True),
    Mutation("timed_out", _with(lambda _: True, "timed_out")),
    Mutation("no_timed_out", _without("timed_out")),
    Mutation("failed_shards", _failed_shards),
    Mutation("no_shards", _without("_shards")),
    Mutation("no_sort", _no_sort, needs_hits=True),
    Mutation("sort_length", _sort_length, needs_hits=True),
    Mutation("twin_keys", _twin_keys, needs_hits=True),
    Mutation("twin_hits", _twin_hits, needs_hits=True),
    Mutation("unknown_keys", _unknown_keys, harmless=True),
    Mutation("other_order", _other_order, harmless=True),
)


# ------------------------------------------------------------------------------------------------------------------
# The text

_HTML: Final = b"""<html>\r\n<head><title>502 Bad Gateway</title></head>\r
<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"""


def _truncated(text: bytes, random: Random) -> bytes:
    text = text.rstrip()  # without its last blanks alone it would still be whole
    return text[: random.randrange(1, max(len(text), 2))]


def _invalid_utf8(text: bytes, random: Random) -> bytes:
    """Within a string, where JSON itself is still in order: 0xFF is in no UTF-8, and 0xC3 needs another after it."""
    at = random.choice([match.end() for match in re.finditer(rb'"(?=[^",:{}\[\]]*")', text)] or [len(text)])
    return text[:at] + random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80")) + text[at:]


def _deep(_text: bytes, random: Random) -> bytes:
    depth = random.choice((200, 2_000, 100_000))
    return b"[" * depth + b"]" * depth


def _other_json(_text: bytes, random: Random) -> bytes:
    return random.choice((b"null", b"[]", b"{}", b"0", b'""', b"true"))


def _spaced(text: bytes, random: Random) -> bytes:
    """Blanks around all that isn't within a string."""
    blank = random.choice((b" ", b"\t", b"\r\n"))
    return re.sub(rb'"(?:[^"\\]|\\.)*"|[,:{}\[\]]', lambda match: blank + match[0] + blank, text)


_TEXT: Final = (
    Mutation("truncated", write=_truncated, last=True),
    Mutation("trailing_text", write=lambda text, random: text + random.choice((b"}", b"{}", b"\0", text)), last=True),
    Mutation("html", write=lambda _text, _random: _HTML, last=True),
    Mutation("empty_body", write=lambda _text, _random: b"", last=True),
    Mutation("deep_json", write=_deep, last=True),
    Mutation("other_json", write=_other_json, last=True),
    Mutation("invalid_utf8", write=_invalid_utf8, last=True),
    Mutation("spaced", write=_spaced, harmless=True),
)

MUTATIONS: Final[Mapping[str, Mutation]] = {each.name: each for each in (*_FIELDS, *_ENVELOPE, *_TEXT)}


# ------------------------------------------------------------------------------------------------------------------
# For hypothesis


class Mutated(NamedTuple):
    """A mutated answer."""

    answer: Answer
    """As it was."""
    body: bytes
    """As it is sent."""
    name: str


_ratios: Final = st.floats(0.0, 10.0, width=32)
_texts: Final = st.text(st.characters(codec="utf-8", exclude_characters=_OPEN + _CLOSE + _TWIN))


@st.composite
def answers(draw: st.DrawFn, most_hits: int = 20) -> Answer:
    """Answers as Elasticsearch really gives them, the empty one too."""
    found = draw(st.lists(st.integers(1, 2**63 - 1), max_size=most_hits, unique=True))
    hits = []
    for at, product_id in enumerate(found):
        fields = {name: [draw(_ratios)] for name in NUMBERS[2:]}
        fields |= {"product_id": [product_id], "category_id": [draw(st.integers(0, 2**31 - 1))]}
        fields |= draw(st.fixed_dictionaries({}, optional={"category": _of(_texts), "excluded": _of(st.booleans())}))
        hits.append({"fields": fields, "sort": [float(len(found) - at), product_id]})
    return {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": len(found) + draw(st.integers(0, 100)), "relation": "eq"}, "hits": hits},
    }


@st.composite
def mutated_answers(draw: st.DrawFn, of: st.SearchStrategy[Answer] | None = None) -> Mutated:
    """Answers, by default ``answers()``, after ``mutate``."""
    answer = draw(answers() if of is None else of)
    return Mutated(answer, *mutate(answer, draw(st.randoms(use_true_random=False))))


def _of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return values.map(lambda value: [value])


# ------------------------------------------------------------------------------------------------------------------
# A server that mutates another one's answers

_HOP_BY_HOP: Final = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_OWN: Final = {*_HOP_BY_HOP, "host", "content-length", "accept-encoding"}
"""Headers of a request that are of this connection alone; without Accept-Encoding, answers come as plain text."""


class MutatingProxy:
    """Forwards every request, and mutates successful answers of searches. Attributes may be set at any time."""

    def __init__(self, upstream: URL, session: aiohttp.ClientSession, random: Random, rate: float) -> None:
        self._upstream = upstream
        self._session = session
        self._random = random
        self._force: str | None = None
        self.url = ""
        self.rate = rate
        """The share of answers that is mutated."""
        self.requests = 0
        self.mutated: Counter[str] = Counter()
        """How often each mutation was sent."""

    @property
    def force(self) -> str | None:
        """The mutation that all answers get which it fits, whatever the rate.

        Raises:
            KeyError: when set to what isn't one of ``MUTATIONS``.
        """
        return self._force

    @force.setter
    def force(self, name: str | None) -> None:
        self._force = None if name is None else MUTATIONS[name].name

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        try:
            async with self._session.request(
                request.method,
                URL(str(self._upstream.origin()) + request.raw_path, encoded=True),
                headers=[(name, value) for name, value in request.headers.items() if name.lower() not in _OWN],
                data=await request.read() or None,
                skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent"),
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"no answer: {error}")
        if response.status == 200 and request.path.endswith("/_search"):
            body = self._maybe_mutated(body)
        answer = web.Response(status=response.status, reason=response.reason, body=body)
        for name, value in response.headers.items():
            if name.lower() not in {*_HOP_BY_HOP, "content-length", "content-encoding"}:
                answer.headers.add(name, value)
        return answer

    def _maybe_mutated(self, body: bytes) -> bytes:
        answer = json.loads(body)
        force = self._force
        if force is not None:
            if not MUTATIONS[force].fits(answer):
                return body
            text, name = MUTATIONS[force](answer, self._random), force
        elif self._random.random() < self.rate:
            text, name = mutate(answer, self._random)
        else:
            return body
        self.mutated[name] += 1
        return text


@contextmanager
def mutating_proxy(upstream_url: str, random: Random, rate: float = 1.0) -> Iterator[MutatingProxy]:
    """A ``MutatingProxy`` before the server at ``upstream_url``, on a thread of its own."""
    with in_thread(lambda: _serving(URL(upstream_url), random, rate)) as (_, proxy):
        yield proxy


@asynccontextmanager
async def _serving(upstream: URL, random: Random, rate: float) -> AsyncIterator[MutatingProxy]:
    patience = aiohttp.ClientTimeout(total=None)  # the client's own is what counts
    async with aiohttp.ClientSession(timeout=patience, cookie_jar=aiohttp.DummyCookieJar()) as session:
        proxy = MutatingProxy(upstream, session, random, rate)
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        # Bodies are passed on as they come, compressed ones too. Whoever gives up takes the forwarded request along.
        runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()
