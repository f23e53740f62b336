from __future__ import annotations

import copy
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web
from elasticsearch import Elasticsearch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.mutations import (
    MUTATIONS,
    Answer,
    Mutated,
    MutatingProxy,
    answers,
    harmless,
    mutate,
    mutated_answers,
    mutating_proxy,
    written,
)
from tests.faults.proxy import in_thread

COMPATIBLE = "application/vnd.elasticsearch+json;compatible-with=9"
ANSWER: Answer = {
    "took": 3,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {
        "total": {"value": 2, "relation": "eq"},
        "hits": [
            {
                "fields": {
                    "product_id": [product_id],
                    "category_id": [1],
                    "price_ratio": [0.5],
                    "mailer": [0.25],
                    "display": [0.125],
                    "coupon": [0.75],
                    "boost": [2.5],
                    "category": ["SOFT DRINKS"],
                },
                "sort": [9.0, product_id],
            }
            for product_id in (7, 8)
        ],
    },
}
EMPTY: Answer = ANSWER | {"hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}
INVALID = {"bare_nan", "bare_infinity", "truncated", "trailing_text", "html", "empty_body", "invalid_utf8"}
"""What JSON (RFC 8259) forbids."""
SEEDS = range(20)
few = settings(max_examples=20, deadline=None)
"""Enough for each of fifty mutations."""
each_mutation = pytest.mark.parametrize("name", list(MUTATIONS))


def strictly(body: bytes) -> Any:
    """As RFC 8259 has it.

    Raises:
        ValueError: it isn't JSON.
    """

    def forbidden(constant: str) -> Any:
        raise ValueError(constant)

    return json.loads(body.decode(), parse_constant=forbidden)


def once(name: str, seed: int = 0) -> Any:
    """What the usual answer is after one mutation."""
    return strictly(MUTATIONS[name](ANSWER, Random(seed)))


def fields_of(answer: Any) -> list[dict[str, Any]]:
    return [hit["fields"] for hit in answer["hits"]["hits"]]


def as_meant(answer: Answer, body: bytes) -> Any:
    """What the bytes say of that which the answer said: its keys, without others."""

    def known(before: Any, after: Any) -> Any:
        if isinstance(before, dict):
            return {key: known(value, after[key]) for key, value in before.items()}
        if isinstance(before, list):
            return [known(*pair) for pair in zip(before, after, strict=True)]
        return after

    return known(answer, strictly(body))


@each_mutation
def test_each_is_a_pure_function_of_answer_and_seed_and_changes_something(name: str) -> None:
    before = copy.deepcopy(ANSWER)
    for seed in SEEDS:
        body = MUTATIONS[name](ANSWER, Random(seed))
        assert before == ANSWER
        assert body == MUTATIONS[name](ANSWER, Random(seed))
        assert body != written(ANSWER) or name == "other_order"


@each_mutation
def test_each_gives_valid_json_unless_that_is_its_fault(name: str) -> None:
    for seed in SEEDS:
        body = MUTATIONS[name](ANSWER, Random(seed))
        if name in INVALID:
            with pytest.raises(ValueError, match=r"."):
                strictly(body)
        else:
            try:
                strictly(body)
            except RecursionError:
                assert name in {"deep_json", "deep_field"}


@each_mutation
@few
@given(answer=answers(), seed=st.integers(0, 2**32))
def test_those_that_are_harmless_mean_the_same_and_others_dont(name: str, answer: Answer, seed: int) -> None:
    if not MUTATIONS[name].fits(answer):
        with pytest.raises(ValueError, match="needs an answer that has hits"):
            MUTATIONS[name](answer, Random(seed))
    elif harmless(name):
        assert as_meant(answer, MUTATIONS[name](answer, Random(seed))) == answer
    else:
        try:
            same = written(strictly(MUTATIONS[name](answer, Random(seed)))) == written(answer)
        except (ValueError, RecursionError):
            same = False
        assert not same or name.startswith("twin_")


def test_of_every_kind_there_are_mutations() -> None:
    assert {name for name in MUTATIONS if harmless(name)} == {"unknown_keys", "other_order", "spaced"}
    assert {name for name, mutation in MUTATIONS.items() if mutation.fits(EMPTY)} >= INVALID - {
        "bare_nan",
        "bare_infinity",
    }


def test_only_fields_that_every_product_has_go_missing() -> None:
    missing = set()
    for seed in range(200):
        for before, after in zip(fields_of(ANSWER), fields_of(once("missing_field", seed)), strict=True):
            missing |= before.keys() - after.keys()
    assert missing == {"product_id", "category_id", "price_ratio", "mailer", "display", "coupon", "boost"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("null_field", None),
        ("null_value", [None]),
        ("empty_field", []),
        ("object_value", [{"value": 1}]),
        ("object_field", {"0": 1}),
        ("list_of_lists", [[1]]),
        ("zero_id", [0]),
    ],
)
def test_values_become_what_the_name_says(name: str, expected: object) -> None:
    assert sum(value == expected for fields in fields_of(once(name)) for value in fields.values()) == 1


def test_numbers_and_texts_are_swapped() -> None:
    types = {
        name: {
            type(value[0] if isinstance(value, list) else value)
            for seed in range(100)
            for before, after in zip(fields_of(ANSWER), fields_of(once(name, seed)), strict=True)
            for key, value in after.items()
            if value != before.get(key)
        }
        for name in ("text_for_number", "number_for_text", "bool_for_number", "text_for_bool", "unlisted_value")
    }
    assert types == {
        "text_for_number": {str},
        "number_for_text": {int},
        "bool_for_number": {bool},
        "text_for_bool": {str},
        "unlisted_value": {int, float},
    }


def test_ids_leave_their_range() -> None:
    def ids(name: str) -> set[float]:
        found = {
            fields[key][0]
            for seed in range(100)
            for fields in fields_of(once(name, seed))
            for key in ("product_id", "category_id")
        }
        return found - {1, 7, 8}

    assert all(each < 0 for each in ids("negative_id"))
    assert all(each % 1 == 0.5 for each in ids("fractional_id"))
    assert ids("huge_integer") == {2**63, 2**70, -(2**63) - 1}


def test_what_json_cant_say_is_bare_in_the_text() -> None:
    bodies = {name: {MUTATIONS[name](ANSWER, Random(seed)) for seed in range(100)} for name in MUTATIONS}
    assert all(b"[NaN]" in body for body in bodies["bare_nan"])
    assert {b"[-Infinity]" in body for body in bodies["bare_infinity"]} == {True, False}
    assert all(b"[Infinity]" in body or b"[-Infinity]" in body for body in bodies["bare_infinity"])
    assert any(b"[1e400]" in body for body in bodies["huge_float"])
    assert math.isinf(float("1e400"))


def test_a_repeated_product_is_there_twice_and_counted() -> None:
    answer = once("repeated_product")
    ids = [fields["product_id"][0] for fields in fields_of(answer)]
    assert len(ids) == len(set(ids)) + 1 == answer["hits"]["total"]["value"]


def test_twin_keys_are_twice_in_the_text_with_different_values() -> None:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        repeated.extend(key for key in set(keys) if keys.count(key) > 1)
        return dict(found)

    for name, key in (("twin_keys", "product_id"), ("twin_hits", "hits")):
        repeated: list[str] = []
        json.loads(MUTATIONS[name](ANSWER, Random(0)), object_pairs_hook=pairs)
        assert repeated == [key]


@pytest.mark.parametrize("decode", [json.loads, msgspec.json.decode])
def test_some_are_nested_deeper_than_decoders_go(decode: Any) -> None:
    for name in ("deep_json", "deep_field"):
        bodies = [MUTATIONS[name](ANSWER, Random(seed)) for seed in range(20)]
        decode(min(bodies, key=len))
        with pytest.raises(RecursionError):
            decode(max(bodies, key=len))


@settings(deadline=None)
@given(mutated=mutated_answers())
def test_mutated_answers_name_what_was_done(mutated: Mutated) -> None:
    names = mutated.name.split("+")
    assert 1 <= len(set(names)) == len(names) <= 3
    assert set(names) <= MUTATIONS.keys()
    if harmless(mutated.name):
        assert as_meant(mutated.answer, mutated.body) == mutated.answer
    if names[-1] in INVALID:
        with pytest.raises(ValueError, match=r"."):
            strictly(mutated.body)


def test_mutate_reaches_every_mutation_and_leaves_its_answer_alone() -> None:
    before = copy.deepcopy(ANSWER)
    names = [mutate(ANSWER, Random(seed))[1] for seed in range(3_000)]
    assert before == ANSWER
    assert {each for name in names for each in name.split("+")} == MUTATIONS.keys()
    assert any("+" in name for name in names)
    assert mutate(EMPTY, Random(5)) == mutate(EMPTY, Random(5))


class Upstream:
    """An Elasticsearch that has one answer, and tells what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.status = 200

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.raw_path, await request.read(), dict(request.headers)))
        headers = {"X-elastic-product": "Elasticsearch", "Content-Type": COMPATIBLE, "X-Opaque-Id": "a"}
        return web.Response(status=self.status, body=written(ANSWER), headers=headers)


@asynccontextmanager
async def serving() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield upstream
    finally:
        await runner.cleanup()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with in_thread(serving) as (_, upstream):
        yield upstream


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[MutatingProxy]:
    with mutating_proxy(upstream.url, Random(1)) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: MutatingProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url) as client:
        yield client


def test_requests_are_forwarded_as_they_came(upstream: Upstream, client: httpx.Client) -> None:
    headers = {"Content-Type": COMPATIBLE, "Content-Encoding": "gzip", "Authorization": "ApiKey x"}
    client.post("/a%2Fb/_search?q=%7B&q=2", content=b"\x1f\x8bnot unpacked", headers=headers)
    client.request("DELETE", "/_pit", content=b"{}")
    client.head("/")
    (method, path, body, seen), (*deletion, _), (*peek, unasked) = upstream.requests
    assert (method, path, body) == ("POST", "/a%2Fb/_search?q=%7B&q=2", b"\x1f\x8bnot unpacked")
    assert headers.items() <= {key.title(): value for key, value in seen.items()}.items() | headers.items()
    assert seen["Host"] == upstream.url.removeprefix("http://")
    assert deletion == ["DELETE", "/_pit", b"{}"]
    assert peek == ["HEAD", "/", b""]
    assert not {"Accept-Encoding", "Content-Type"} & unasked.keys()


def test_answers_keep_their_status_and_headers(client: httpx.Client, proxy: MutatingProxy) -> None:
    proxy.force = "html"
    response = client.get("/products/_search")
    assert response.status_code == 200
    assert response.headers["X-elastic-product"] == "Elasticsearch"
    assert response.headers.get_list("Content-Type") == [COMPATIBLE]
    assert response.headers["Content-Length"] == str(len(response.content))
    assert response.content.startswith(b"<html>")


def test_only_successful_answers_of_searches_are_mutated(
    upstream: Upstream, client: httpx.Client, proxy: MutatingProxy
) -> None:
    proxy.force = "truncated"
    assert client.get("/_cluster/health").content == written(ANSWER)
    assert client.get("/products/_search").content != written(ANSWER)
    upstream.status = 429
    response = client.get("/products/_search")
    assert (response.status_code, response.content) == (429, written(ANSWER))
    assert (proxy.requests, proxy.mutated) == (3, {"truncated": 1})


def test_the_rate_can_be_set_at_any_time(client: httpx.Client, proxy: MutatingProxy) -> None:
    def mutated(searches: int) -> int:
        before = proxy.mutated.total()
        for _ in range(searches):
            client.get("/_search")
        return proxy.mutated.total() - before

    assert mutated(20) == 20
    proxy.rate = 0.0
    assert mutated(20) == 0
    proxy.rate = 0.5
    assert 0 < mutated(60) < 60  # of one seed, so always the same
    proxy.force = "empty_body"
    assert mutated(5) == 5
    proxy.force, proxy.rate = None, 0.0
    assert client.get("/_search").json() == ANSWER


def test_a_mutation_that_isnt_one_is_refused(proxy: MutatingProxy) -> None:
    with pytest.raises(KeyError):
        proxy.force = "typo"
    assert proxy.force is None


def test_without_the_server_behind_it_a_gateway_error_is_sent(proxy: MutatingProxy) -> None:
    with mutating_proxy("http://127.0.0.1:1", Random(1)) as alone, httpx.Client(base_url=alone.url) as client:
        assert client.get("/_search").status_code == 502
    assert proxy.requests == 0


def test_elasticsearchs_own_client_takes_it_for_elasticsearch(proxy: MutatingProxy) -> None:
    with Elasticsearch(proxy.url) as client:
        proxy.force = "timed_out"
        assert client.search(index="products")["timed_out"] is True
