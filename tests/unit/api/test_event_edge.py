"""``POST /v1/events`` has two ways in: the bare endpoint, and the ordinary route with its schema. Both answer alike."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api import schemas
from api.errors import InvalidParameter
from api.event_edge import of_schema, posted
from tests.unit.api.conftest import Adapter

BARE, ORDINARY = "/v1/events", "/v1/%65vents"
GOOD = {"event_id": "a", "kind": "view", "product_id": 5, "customer_id": 7, "at": "2026-11-25T18:30:00.123456Z"}
NUMBERS = st.sampled_from([1, 0, -1, 2**63 - 1, 2**63, 1.0, 1.5, True, None, "7", [7]])
TEXTS = st.one_of(
    st.sampled_from(["v-1", "", "v\n", "a b", "a" * 64, "a" * 65, "ü", "\x00", None, 7]), st.text(max_size=4)
)
KINDS = st.sampled_from(["view", "purchase", "add_to_cart", "VIEW", "", None, 1])
MOMENTS = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
    st.sampled_from(
        [
            "2026-11-25",
            "2026-11-25T18:30Z",
            "20261125T183000+0100",
            "2026-11-25T18:30:00",
            "2026-W48-3T18Z",
            "now",
            "",
            None,
            5,
        ]
    ),
)
FIELDS = st.fixed_dictionaries(
    {"event_id": TEXTS, "kind": KINDS, "product_id": NUMBERS},
    optional={"customer_id": NUMBERS, "visitor_id": TEXTS, "at": MOMENTS, "more": NUMBERS},
)
NEARLY = st.tuples(st.just(GOOD), st.sampled_from([*GOOD, "visitor_id"]), FIELDS).map(
    lambda drawn: drawn[0] | {name: value for name, value in drawn[2].items() if name == drawn[1]}
)


def of_the_schema(content: bytes) -> list[Any] | None:
    """What the schema makes of a body, None where it refuses it."""
    try:
        return [of_schema(event) for event in schemas.EventsRequest.model_validate_json(content).events]
    except ValidationError:
        return None


def of_the_endpoint(content: bytes) -> list[Any] | None:
    try:
        return list(posted(content))
    except InvalidParameter:
        return None


@given(st.lists(st.one_of(st.just(GOOD), NEARLY, FIELDS), max_size=3))
def test_what_is_taken_in_one_pass_is_what_the_schema_takes(events: list[Any]) -> None:
    content = json.dumps({"events": events}).encode()
    assert of_the_endpoint(content) == of_the_schema(content)


@given(st.binary(max_size=4), st.integers(0, 200), st.integers(0, 8))
def test_the_same_holds_for_bytes_that_are_changed(change: bytes, at: int, length: int) -> None:
    content = json.dumps({"events": [GOOD]}).encode()
    content = content[:at] + change + content[at + length :]
    assert of_the_endpoint(content) == of_the_schema(content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"events": [{"event_id": "a", "event_id": "b", "kind": "view", "product_id": 1, "customer_id": 1}]}',
        b'{"events": [], "events": [{"event_id": "b", "kind": "view", "product_id": 1, "customer_id": 1}]}',
        b'{"events": [{"event_id": "b", "kind": "view", "product_id": "x", "product_id": 1, "customer_id": 1}]}',
        b'\xef\xbb\xbf{"events": [{"event_id": "b", "kind": "view", "product_id": 1, "customer_id": 1}]}',
        b'{"events": [{"event_id": "\\ud800", "kind": "view", "product_id": 1, "customer_id": 1}]}',
        b'{"events": ' + b"[" * 100_000,
        b"",
        b"null",
    ],
)
def test_the_same_holds_for_json_that_is_odd(content: bytes) -> None:
    assert of_the_endpoint(content) == of_the_schema(content)


def told(answer: httpx.Response) -> tuple[int, str | None, str | None, bytes]:
    return answer.status_code, answer.headers.get("content-type"), answer.headers.get("retry-after"), answer.content


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"events": [GOOD | {"at": None}]}},
        {"json": {"events": [GOOD]}},
        {"json": {"events": [GOOD | {"at": "2126-11-25T18:30:00Z"}]}},
        {"json": {"events": [GOOD | {"kind": "bought"}, GOOD | {"product_id": 0}]}},
        {"json": {"events": [], "more": 1}},
        {"json": {"events": [GOOD] * 1_001}},
        {"json": {f"field-{number}": 1 for number in range(100)}},
        {"content": b"{", "headers": {"content-type": "application/json; charset=utf-8"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"content": b"{}"},
        {"content": b" " * 2_000_000, "headers": {"content-type": "application/json"}},
        {"content": b"{}", "headers": {"content-type": "application/json", "content-length": "9" * 30}},
    ],
)
async def test_both_ways_answer_alike(adapter: Adapter, request_: dict[str, Any]) -> None:
    first = await adapter.client.post(BARE, **request_)
    second = await adapter.client.post(ORDINARY, **request_)
    if first.status_code == 200:  # both ways lead to one store: what the first has brought, the second brings again
        assert (first.json()["duplicates"], second.json()["duplicates"]) == (0, first.json()["accepted"])
        assert first.json().keys() == second.json().keys()
        assert told(first)[:3] == told(second)[:3]
        assert told(await adapter.client.post(BARE, **request_)) == told(second)
    else:
        assert told(first) == told(second)
        assert adapter.metric("racksort_problems_total", route="events", status=str(first.status_code)) == 2


async def test_a_body_in_parts_is_one_body_and_a_caller_who_goes_gets_no_answer(adapter: Adapter) -> None:
    content = json.dumps({"events": [GOOD | {"at": None}]}).encode()
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": BARE,
        "raw_path": BARE.encode(),
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    def receiving(*messages: dict[str, Any]) -> Any:
        left = list(messages)

        async def receive() -> dict[str, Any]:
            return left.pop(0)

        return receive

    begun = {"type": "http.request", "body": content[:9], "more_body": True}
    await adapter.app(scope, receiving(begun, {"type": "http.disconnect"}), send)
    assert sent == []
    await adapter.app(scope, receiving(begun, {"type": "http.request", "body": content[9:]}), send)
    assert json.loads(sent[1]["body"])["accepted"] == 1


async def test_another_method_is_refused_as_everywhere(adapter: Adapter) -> None:
    assert told(await adapter.client.put(BARE)) == told(await adapter.client.put(ORDINARY))
    assert (await adapter.client.put(BARE)).status_code == 405
