"""What the log says of answers: a whole adapter on fakes."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from api.errors import EnsembleUnavailable
from api.resilience.limiter import Outcome, Priority
from api.settings import Settings
from api.telemetry.log_format import JsonFormatter
from tests.unit.api.conftest import UNHURRIED, running_adapter

DEALS = "/v1/containers/deals/products"
ACCESS = "racksort.access"


def with_settings(**settings: Any) -> Settings:
    return Settings(**UNHURRIED.model_dump(exclude_unset=True) | settings)


def lines(caplog: pytest.LogCaptureFixture, logger: str) -> list[dict[str, Any]]:
    return [json.loads(JsonFormatter().format(each)) for each in caplog.records if each.name == logger]


async def test_a_degraded_reason_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with running_adapter(with_settings()) as adapter:
        adapter.ensemble.failure = EnsembleUnavailable("no server")
        answers = [await adapter.client.get(DEALS, headers={"x-request-id": f"r-{each}"}) for each in range(30)]
    assert all(answer.json()["degraded"] for answer in answers)
    assert [answer.headers["x-request-id"] for answer in answers] == [f"r-{each}" for each in range(30)]
    (told,) = lines(caplog, "racksort.answers")
    assert told["message"] == "answers are degraded: ensemble_unavailable"
    assert (told["request_id"], told["left_out"]) == ("r-0", 0)


async def test_the_next_line_says_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    import random

    from api.problems import BUSY
    from api.telemetry.answer_log import EVERY_S, AnswerLog

    now = [50.0]
    log = AnswerLog(0.0, clock=lambda: now[0], rng=random.Random(1))
    for _ in range(1_000):
        log.refused("products", BUSY, None, None)
    now[0] += EVERY_S
    log.refused("products", BUSY, None, None)
    assert [each["left_out"] for each in lines(caplog, "racksort.answers")] == [0, 999]


async def test_mistakes_of_ours_have_a_traceback_and_the_id_that_was_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with running_adapter(with_settings()) as adapter:
        adapter.shelf.broken = RuntimeError("a mistake")
        hot = await adapter.client.get(DEALS)
        again = await adapter.client.get(DEALS)
        adapter.shelf.broken = KeyError("another")
        ordinary = await adapter.client.get("/v1/containers")
    assert [each.status_code for each in (hot, again, ordinary)] == [500, 500, 500]
    told = [each for each in lines(caplog, "racksort.answers") if "traceback" in each]
    assert [each["request_id"] for each in told] == [hot.headers["x-request-id"], ordinary.headers["x-request-id"]]
    assert "RuntimeError: a mistake" in told[0]["traceback"]


async def test_sampled_answers_have_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_adapter(with_settings(access_log_sample=1.0)) as adapter:
        answer = await adapter.client.get(DEALS, params={"customer_id": 7, "limit": 5})
        await adapter.client.get("/v1/containers/nowhere/products")
    page, refusal = lines(caplog, ACCESS)
    assert page["request_id"] == answer.headers["x-request-id"]
    assert {name: page[name] for name in ("route", "status", "container_id", "source", "release", "products")} == {
        "route": "products",
        "status": 200,
        "container_id": "deals",
        "source": "ensemble",
        "release": "personalize_v1",
        "products": 5,
    }
    assert page["pool_ms"] + page["queue_ms"] + page["ensemble_ms"] <= page["total_ms"] + 0.01
    assert (refusal["message"], refusal["status"], refusal["problem"]) == ("refused", 404, "unknown-container")


async def test_reranked_pages_have_lines_like_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asked = {"product_ids": [3, 1, 2], "customer_id": 7}
    async with running_adapter(with_settings(access_log_sample=1.0)) as adapter:
        plain = await adapter.client.post("/v1/rank", json=asked)
        explained = await adapter.client.post("/v1/rank", json=asked | {"explain": True})
        adapter.ensemble.failure = EnsembleUnavailable("no server")
        degraded = await adapter.client.post("/v1/rank", json=asked, headers={"x-request-id": "r-1"})
    assert degraded.json()["degraded"]
    told = [(each["route"], each["status"], each["source"], each["products"]) for each in lines(caplog, ACCESS)]
    assert told == [("rank", 200, "ensemble", 3), ("explain", 200, "ensemble", 3), ("rank", 200, "popularity", 3)]
    ids = [each["request_id"] for each in lines(caplog, ACCESS)]
    assert ids == [each.headers["x-request-id"] for each in (plain, explained, degraded)]
    (line,) = lines(caplog, "racksort.answers")
    assert (line["message"], line["request_id"]) == ("answers are degraded: ensemble_unavailable", "r-1")


async def test_refusals_of_every_route_are_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with running_adapter(with_settings()) as adapter:
        adapter.shelf.unavailable = True
        unavailable = [await adapter.client.get("/v1/products?ids=1") for _ in range(3)]
        adapter.shelf.unavailable = False
        ranker = adapter.services.pipeline._ranker
        permits = [ranker._limiter.acquire(Priority.FIRST_PAGE) for _ in range(ranker._limiter.limit)]
        ranker._busy = lambda: True
        busy = await adapter.client.post("/v1/rank", json={"product_ids": [1, 2]})
        for permit in permits:
            assert permit is not None
            permit.release(Outcome.IGNORED)
    assert [each.status_code for each in (*unavailable, busy)] == [503, 503, 503, 429]
    told = [(each["message"], each["route"], each["request_id"]) for each in lines(caplog, "racksort.answers")]
    assert told == [
        ("requests are refused: 503 catalog-unavailable", "other", unavailable[0].headers["x-request-id"]),
        ("requests are refused: 429 too-many-requests", "rank", busy.headers["x-request-id"]),
    ]


async def test_answers_that_are_no_pages_are_sampled_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    event = {"event_id": "a", "kind": "view", "product_id": 5, "customer_id": 7}
    async with running_adapter(with_settings(access_log_sample=1.0)) as adapter:
        answers = [
            await adapter.client.post("/v1/events", json={"events": [event]}),
            await adapter.client.post("/v1/events/merge", json={"visitor_id": "v", "customer_id": 7}),
            await adapter.client.get("/v1/containers"),
            await adapter.client.delete("/v1/containers"),
        ]
        for path in ("/livez", "/readyz", "/metrics", "/nowhere"):
            await adapter.client.get(path)
    told = lines(caplog, ACCESS)
    assert [(each["message"], each["route"], each["status"]) for each in told] == [
        ("answered", "events", 200),
        ("answered", "events", 200),
        ("answered", "containers", 200),
        ("refused", "containers", 405),
    ]
    assert [each["request_id"] for each in told] == [each.headers["x-request-id"] for each in answers]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/events", {"events": [{"event_id": "a", "kind": "view", "product_id": 5, "customer_id": 7}]}),
        ("/v1/events/merge", {"visitor_id": "v", "customer_id": 7}),
    ],
)
async def test_events_that_only_this_process_holds_are_told(
    path: str, asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    nobody = "redis://127.0.0.1:9/0"  # discard: nobody listens
    async with running_adapter(with_settings(events="valkey", valkey_url=nobody)) as adapter:
        answer = await adapter.client.post(path, json=asked)
    assert answer.json()["degraded_reasons"] == ["events_unavailable"]
    (line,) = lines(caplog, "racksort.answers")
    assert line["message"] == "answers are degraded: events_unavailable"
    assert line["request_id"] == answer.headers["x-request-id"]


async def test_plain_answers_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_adapter(with_settings()) as adapter:
        answer = await adapter.client.get(DEALS)
        echoed = await adapter.client.get(DEALS, headers={"x-request-id": "mine"})
        livez = await adapter.client.get("/livez", headers={"x-request-id": "probe"})
    assert "x-request-id" not in answer.headers
    assert echoed.headers["x-request-id"] == "mine"
    assert livez.headers["x-request-id"] == "probe"
    assert not lines(caplog, "racksort.answers")
    assert not lines(caplog, ACCESS)
