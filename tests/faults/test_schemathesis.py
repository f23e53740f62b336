"""What Schemathesis makes of the OpenAPI document: no 5xx, no answer that the document doesn't describe, right requests
accepted and wrong ones refused.

``SCHEMATHESIS_REQUESTS`` says how many requests (10,000 where it isn't set). A failure shows the request as a line for
curl.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any, Final

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.faults.edge import server_process

REQUESTS: Final = int(os.environ.get("SCHEMATHESIS_REQUESTS", "10000"))
BATCH: Final = 1_000
"""Requests of one search of hypothesis, which remembers all it has tried."""


def whole(value: Any) -> Any:
    """The same without fractions of zero: JSON Schema calls 5.0 an integer, but ids never go through a float here."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: whole(part) for name, part in value.items()}
        case list():
            return [whole(part) for part in value]
    return value


def beyond_schemas(case: Case) -> bool:
    """Whether something in it may be wrong that no schema can say: which cursors are good, what lies in the future,
    which parameters don't go together.
    """
    query, events = case.query or {}, case.body.get("events") if isinstance(case.body, dict) else None
    timed = any(isinstance(each, dict) and each.get("at") is not None for each in events or ())
    return "cursor" in query or {"customer_id", "visitor_id"} <= query.keys() or timed


def cases(url: str) -> st.SearchStrategy[Case]:
    """Requests to all operations, as the document wants them and as it doesn't."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    wrong = schema.include(path_regex="products|rank")
    return st.one_of(
        schema.as_strategy(),
        wrong.as_strategy(),
        wrong.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )


def ask(url: str) -> Counter[tuple[str, int]]:
    """Send the requests; how often each route and status came."""
    answers: Counter[tuple[str, int]] = Counter()
    strategy = cases(url)
    with requests.Session() as session:

        def check(case: Case) -> None:
            case.body = whole(case.body)
            answer = case.call(url, session)
            excluded: list[Any] = []
            if beyond_schemas(case):
                excluded.append(positive_data_acceptance)
            if "events" in case.path:  # nor which moments are past
                excluded.append(positive_data_acceptance)
            if answer.status_code == 431:  # a refusal too, but not one that the check knows
                excluded.append(negative_data_rejection)
            case.validate_response(answer, excluded_checks=excluded)
            answers[case.path, answer.status_code] += 1

        for batch in range(-(-REQUESTS // BATCH)):
            search = hypothesis.settings(
                max_examples=min(BATCH, REQUESTS - batch * BATCH),
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            hypothesis.seed(batch)(search(hypothesis.given(strategy)(check)))()
    return answers


@pytest.mark.slow
@pytest.mark.timeout(7_200)
async def test_the_adapter_does_what_its_document_says() -> None:
    async with server_process() as server:
        answers = await asyncio.to_thread(ask, f"http://127.0.0.1:{server.port}")
    print(f"{answers.total()} requests: {dict(sorted(answers.items()))}")  # noqa: T201 - figures for people
    assert answers.total() >= REQUESTS * 0.99
    for route in ("/v1/containers/{container_id}/products", "/v1/rank"):
        assert answers[route, 200] > REQUESTS * 0.01, "a generator of which everything is refused shows nothing"
        assert answers[route, 422] > REQUESTS * 0.01
