"""The routes of events, and what the models are given on the next page."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from api.errors import SettingsInvalid
from api.events.intake import AHEAD_S
from api.settings import Settings
from ensemble import contract
from tests.unit.api.conftest import UNHURRIED, Adapter, running_adapter

DEALS = "/v1/containers/deals/products"
ROUTE = "/v1/events"


def event(event_id: str = "a", product_id: int = 5, kind: str = "purchase", **more: Any) -> dict[str, Any]:
    owner = {} if "visitor_id" in more else {"customer_id": 7}
    return {"event_id": event_id, "kind": kind, "product_id": product_id, **owner, **more}


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


async def posted(adapter: Adapter, *events: dict[str, Any], route: str = ROUTE) -> dict[str, Any]:
    answer = await adapter.client.post(route, json={"events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def seen(adapter: Adapter, query: str) -> list[tuple[int, float]]:
    """What the models were given as recent: product and age in days."""
    answer = await adapter.client.get(f"{DEALS}?{query}")
    assert answer.json()["degraded"] is False
    return last_seen(adapter)


def last_seen(adapter: Adapter) -> list[tuple[int, float]]:
    tensors = adapter.ensemble.calls[-1].tensors()
    products = tensors[contract.RECENT_PRODUCT_ID.name][0].tolist()
    ages = tensors[contract.RECENT_AGE.name][0].tolist()
    return [(product, round(age, 2)) for product, age in zip(products, ages, strict=True) if product]


async def test_the_next_page_reflects_what_was_posted(adapter: Adapter) -> None:
    body = await posted(adapter, event("a", 5, at=ago(1)), event("b", 6), event("c", 8, "view"))
    assert body == {"accepted": 3, "duplicates": 0, "expired": 0, "degraded": False, "degraded_reasons": []}
    assert await seen(adapter, "customer_id=7") == [(6, 0.0), (5, 1.0)]
    assert await seen(adapter, "customer_id=8") == []
    assert await seen(adapter, "") == []


async def test_what_was_posted_twice_counts_once(adapter: Adapter) -> None:
    await posted(adapter, event("a", 5, at=ago(1)))
    assert (await posted(adapter, event("a", 5), event("b", 6)))["duplicates"] == 1
    assert await seen(adapter, "customer_id=7") == [(6, 0.0), (5, 1.0)]


async def test_ones_own_products_are_ranked_by_it_too(adapter: Adapter) -> None:
    await posted(adapter, event("a", 5))
    await adapter.client.post("/v1/rank", json={"customer_id": 7, "product_ids": [1, 2]})
    assert last_seen(adapter) == [(5, 0.0)]


async def test_an_explanation_is_of_the_page_that_knows_what_was_bought(adapter: Adapter) -> None:
    await posted(adapter, event("a", 5))
    assert await seen(adapter, "customer_id=7&explain=true") == [(5, 0.0)]


async def test_the_request_itself_can_say_what_was_bought(adapter: Adapter) -> None:
    assert await seen(adapter, "recent=5:2,6:0.5") == [(6, 0.5), (5, 2.0)]
    await posted(adapter, event("a", 8, at=ago(1)))
    assert await seen(adapter, "customer_id=7&recent=5:2,6:0.5") == [(6, 0.5), (8, 1.0), (5, 2.0)]


async def test_a_scroll_takes_up_what_was_bought_meanwhile_with_its_next_window(adapter: Adapter) -> None:
    route = "/v1/containers/grid/products?customer_id=7&limit=100"
    page = (await adapter.client.get(route)).json()
    await posted(adapter, event("a", 5))
    calls = len(adapter.ensemble.calls)
    while len(adapter.ensemble.calls) == calls:
        page = (await adapter.client.get(f"{route}&cursor={page['next_cursor']}")).json()
    assert last_seen(adapter) == [(5, 0.0)]


async def test_a_visitors_events_become_the_customers_at_login(adapter: Adapter) -> None:
    await posted(adapter, event("a", 5, visitor_id="v-1"))
    assert await seen(adapter, "visitor_id=v-1") == [(5, 0.0)]
    assert await seen(adapter, "customer_id=7") == []
    for accepted in (1, 0):
        answer = await adapter.client.post(f"{ROUTE}/merge", json={"visitor_id": "v-1", "customer_id": 7})
        assert answer.status_code == 200
        assert answer.json()["accepted"] == accepted
    assert await seen(adapter, "customer_id=7") == [(5, 0.0)]
    assert await seen(adapter, "visitor_id=v-1") == []


async def test_events_that_the_models_tables_know_already_arent_told_again() -> None:
    async with running_adapter(UNHURRIED) as adapter:
        adapter.ensemble.history_until = datetime.now(UTC).timestamp() / 86_400 - 2
        watched = adapter.services.lanes.live.ensemble
        await watched.history_until_day()
        await posted(adapter, event("a", 5, at=ago(3)), event("b", 6, at=ago(1)))
        assert await seen(adapter, "customer_id=7") == [(6, 1.0)]


async def test_an_event_older_than_the_time_to_live_is_counted_and_left_out(adapter: Adapter) -> None:
    body = await posted(adapter, event("a", 5, at=ago(15)), event("b", 6))
    assert (body["accepted"], body["expired"]) == (1, 1)
    assert await seen(adapter, "customer_id=7") == [(6, 0.0)]
    assert adapter.metric("racksort_events_total", kind="purchase", outcome="expired") == 1
    assert adapter.metric("racksort_events_accepted_total") == 1


async def test_a_clock_that_is_a_little_ahead_does_no_harm(adapter: Adapter) -> None:
    await posted(adapter, event("a", 5, at=ago(-(AHEAD_S - 60) / 86_400)))
    assert await seen(adapter, "customer_id=7") == [(5, 0.0)]


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (event("a b"), "events.1.event_id", "pattern"),
        (event("a" * 65), "events.1.event_id", "pattern"),
        (event(kind="bought"), "events.1.kind", "'purchase', 'add_to_cart' or 'view'"),
        (event(product_id=0), "events.1.product_id", "greater than 0"),
        (event(customer_id=0), "events.1.customer_id", "greater than or equal to 1"),
        (event(customer_id=7, visitor_id="v"), "events.1", "either customer_id or visitor_id"),
        (event(customer_id=None), "events.1", "either customer_id or visitor_id"),
        (event(visitor_id="v\n"), "events.1.visitor_id", "pattern"),
        (event(at="2026-11-25"), "events.1.at", "2026-11-25T18:30:00Z"),
        (event(at="2026-11-25T18:30:00"), "events.1.at", "time zone"),
        (event(at=1_764_000_000), "events.1.at", "ISO 8601"),
        (event(at=ago(-1)), "events.1.at", "in the future"),
        (event(quantity=2), "events.1.quantity", "not permitted"),
    ],
)
async def test_a_wrong_event_is_named_and_none_is_kept(
    adapter: Adapter, wrong: dict[str, Any], field: str, words: str
) -> None:
    answer = await adapter.client.post(ROUTE, json={"events": [event("good"), wrong]})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["field"] == field
    assert words in fault["message"]
    assert await seen(adapter, "customer_id=7") == []
    assert adapter.metric("racksort_events_total", kind="purchase", outcome="taken") == 0


@pytest.mark.parametrize("events", [[], [event(str(number)) for number in range(1_001)]])
async def test_a_request_brings_1_to_1000_events(adapter: Adapter, events: list[dict[str, Any]]) -> None:
    answer = await adapter.client.post(ROUTE, json={"events": events})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "events"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("visitor_id=a%20b", "visitor_id"),
        ("visitor_id=" + "a" * 65, "visitor_id"),
        ("recent=5", "1029743:0.5"),
        ("recent=5:-1", "1029743:0.5"),
        ("recent=0:1", "1029743:0.5"),
        ("recent=5:1e3", "1029743:0.5"),
        ("recent=5:1,", "1029743:0.5"),
        ("recent=" + ",".join(["5:1"] * 101), "more than 100"),
    ],
)
async def test_wrong_parameters_are_named(adapter: Adapter, query: str, words: str) -> None:
    answer = await adapter.client.get(f"{DEALS}?{query}")
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_events_outlive_the_process_where_a_folder_is_given(tmp_path: Path) -> None:
    settings = UNHURRIED.model_copy(update={"events_dir": tmp_path})
    async with running_adapter(settings) as adapter:
        await posted(adapter, event("a", 5))
        assert adapter.metric("racksort_event_owners") == 1
    async with running_adapter(settings) as adapter:
        assert await seen(adapter, "customer_id=7") == [(5, 0.0)]


async def test_where_events_are_off_there_are_no_routes() -> None:
    async with running_adapter(UNHURRIED.model_copy(update={"events": "off"})) as adapter:
        assert (await adapter.client.post(ROUTE, json={"events": [event()]})).status_code == 404
        assert await seen(adapter, "customer_id=7&recent=5:1") == [(5, 1.0)]


def test_a_shared_store_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKSORT_EVENTS", "valkey")
    with pytest.raises(SettingsInvalid, match="RACKSORT_VALKEY_URL isn't set"):
        Settings.load()
    monkeypatch.setenv("RACKSORT_VALKEY_URL", "http://user:hunter2@host:1")
    with pytest.raises(SettingsInvalid, match="RACKSORT_VALKEY_URL: isn't an address") as refused:
        Settings.load()
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("RACKSORT_VALKEY_URL", "redis://user:hunter2@host:1/0")
    assert "hunter2" not in repr(Settings.load())


async def kept(adapter: Adapter, owner: str) -> list[str]:
    answer = await adapter.client.get(f"/v1/{owner}/events")
    assert answer.status_code == 200, answer.text
    return [each["event_id"] for each in answer.json()["events"]]


async def test_what_is_kept_is_told_newest_first_and_deleted_on_request(adapter: Adapter) -> None:
    at = (datetime.now(UTC) - timedelta(seconds=1)).replace(microsecond=123_000)
    await posted(adapter, event("old", at=ago(1)), event("new", 2**63 - 1, "view", at=at.isoformat()))
    await posted(adapter, event("theirs", visitor_id="v:1"), event("another", customer_id=8))
    (newest, *_), owner = (await adapter.client.get("/v1/customers/7/events")).json()["events"], "customers/7"
    assert datetime.fromisoformat(newest.pop("at")) == at
    assert newest == {"event_id": "new", "kind": "view", "product_id": 2**63 - 1}
    assert await kept(adapter, owner) == ["new", "old"]
    assert (await adapter.client.delete(f"/v1/{owner}/events")).json() == {"deleted": 2}
    assert await kept(adapter, owner) == []
    assert await seen(adapter, "customer_id=7") == []
    assert (await adapter.client.delete(f"/v1/{owner}/events")).json() == {"deleted": 0}
    assert (await kept(adapter, "visitors/v:1"), await kept(adapter, "customers/8")) == (["theirs"], ["another"])
    assert (await adapter.client.delete("/v1/visitors/v%3A1/events")).json() == {"deleted": 1}
    assert await kept(adapter, "visitors/v:1") == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("customers/0", "customer_id"),
        ("customers/1_0", "customer_id"),
        ("customers/9223372036854775808", "customer_id"),
        ("customers/%C3%BC", "customer_id"),
        ("visitors/a%20b", "visitor_id"),
        ("visitors/" + "a" * 65, "visitor_id"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_whose_events_is_checked(adapter: Adapter, path: str, field: str, method: str) -> None:
    answer = await adapter.client.request(method, f"/v1/{path}/events")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


def copied(folder: Path) -> Path:
    """The events' files as they are on disk now."""
    copy = folder / "copy"
    copy.mkdir()
    for file in folder.glob("events.sqlite3*"):
        shutil.copy(file, copy)
    return copy


async def test_what_was_deleted_does_not_come_back_from_the_disk(tmp_path: Path) -> None:
    settings = UNHURRIED.model_copy(update={"events_dir": tmp_path})
    async with running_adapter(settings) as adapter:
        await posted(adapter, event("a"), event("b", customer_id=8))
        assert (await adapter.client.delete("/v1/customers/7/events")).json() == {"deleted": 1}
        copy = copied(tmp_path)  # while the process lives: as after its crash
    with contextlib.closing(sqlite3.connect(copy / "events.sqlite3")) as database:
        assert database.execute("SELECT owner FROM owners").fetchall() == [("c:8",)]


async def test_a_store_that_is_down_says_so_to_who_asks_for_events() -> None:
    settings = UNHURRIED.model_copy(
        update={"events": "valkey", "valkey_url": SecretStr("redis://127.0.0.1:1/0"), "events_timeout_ms": 200}
    )
    async with running_adapter(settings) as adapter:
        for method in ("GET", "DELETE"):
            answer = await adapter.client.request(method, "/v1/customers/7/events")
            assert answer.status_code == 503
            assert answer.json()["type"].endswith("events-unavailable")
            assert "retry-after" in answer.headers
