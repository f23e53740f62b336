"""Explanations of the real models: the explained order is the served order, and scores are what the release blends."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.app import create_app
from api.catalog.embedded import EmbeddedCatalog
from api.settings import Settings
from ensemble.ranking import RankingSettings
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SETTINGS = RankingSettings.load(REPOSITORY / "ranking" / "1" / "settings.json")


@asynccontextmanager
async def client(catalog: Path, triton_address: str) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to an adapter in this process, in front of the real Triton."""
    settings = Settings(
        triton=triton_address,
        catalog_dir=catalog,
        deadline_ms=20_000,
        max_deadline_ms=20_000,
        call_timeout_ms=20_000,
        slow_call_ms=20_000,
    )
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://adapter") as client,
    ):
        await app.state.services.readiness.ready.wait()
        yield client


async def get(client: httpx.AsyncClient, container: str, **parameters: object) -> dict[str, Any]:
    answer = await client.get(f"/v1/containers/{container}/products", params=parameters)  # type: ignore[arg-type]
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 200, body
    assert body["source"] == "ensemble"
    return body


async def test_the_explained_order_is_the_served_order(catalog_dir: Path, triton_address: str) -> None:
    draw = random.Random(7)
    moved = 0
    async with client(catalog_dir, triton_address) as asking:
        containers = [each["container_id"] for each in (await asking.get("/v1/containers")).json()["containers"]]
        for _ in range(300):
            container, asked = (
                draw.choice(containers),
                {"customer_id": draw.randrange(2_500), "limit": draw.randint(1, 100)},
            )
            plain = await get(asking, container, **asked)
            explained = await get(asking, container, explain="true", **asked)
            assert [each["product_id"] for each in explained["explanations"]] == plain["product_ids"]
            assert explained["product_ids"] == plain["product_ids"]
            assert [each["position"] for each in explained["explanations"]] == list(
                range(1, len(plain["product_ids"]) + 1)
            )
            for each in explained["explanations"]:
                moved += each["position"] != each["score_rank"]
                parts = sum(each["components"].values()) + each["boost"] + SETTINGS.bias
                assert each["score"] == pytest.approx(parts, abs=1e-5)
                assert each["bias"] == pytest.approx(SETTINGS.bias, abs=1e-5)
    if SETTINGS.category_discount < 1:
        assert moved > 100, "category diversity moves many products, and explanations show it"
    else:
        assert moved == 0, "without a rule the order is that of scores"


async def test_components_are_the_models_outputs_times_the_weights(catalog_dir: Path, triton_address: str) -> None:
    from tritonclient.grpc import InferenceServerClient, InferInput

    from ensemble import contract

    pool = await EmbeddedCatalog.open(catalog_dir).pool("popular")
    async with client(catalog_dir, triton_address) as asking:
        body = await get(asking, "popular", customer_id=1, limit=100, explain="true")
    now_day = json.loads((catalog_dir / "catalog.json").read_text())["now_day"]
    count = pool.product_id.size
    tensors = {
        contract.CUSTOMER_ID: np.array([[1]], np.int64),
        contract.PRODUCT_ID: pool.product_id[None],
        contract.CATEGORY_ID: pool.category_id[None],
        contract.OFFERS: pool.offer[None],
        contract.RECENT_PRODUCT_ID: np.zeros((1, contract.RECENT), np.int64),
        contract.RECENT_AGE: np.zeros((1, contract.RECENT), np.float32),
        contract.CONTEXTS: np.array([[now_day, 0]], np.float32),
    }
    said = {}
    with InferenceServerClient(triton_address) as server:
        for model in contract.ONNX_MODELS:
            inputs = []
            for spec in model.inputs:
                tensor = InferInput(spec.name, list(tensors[spec].shape), spec.wire_type)
                tensor.set_data_from_numpy(tensors[spec])
                inputs.append(tensor)
            answer = server.infer(model.name, inputs)
            said |= {spec.name: answer.as_numpy(spec.name)[0] for spec in model.outputs}
    said["affinity"] = said["affinity"] * said["affinity_weight"]
    said["demand"] = said["demand"] * said["demand_weight"]
    assert count >= len(body["explanations"]) > 50
    steeper = 0
    for each in body["explanations"]:
        at = each["retrieval_rank"] - 1
        assert pool.product_id[at] == each["product_id"]
        weighted = {name: float(said[name][at]) * getattr(SETTINGS, name) for name in contract.COMPONENTS}
        blend = sum(weighted.values()) + SETTINGS.bias
        weighted["preference"] += (SETTINGS.tail_slope - 1) * max(blend - SETTINGS.tail_from, 0)
        steeper += blend > SETTINGS.tail_from
        assert each["components"] == pytest.approx(weighted, abs=2e-4)
    assert steeper > 0


async def test_places_beyond_the_page_are_those_of_the_whole_order(catalog_dir: Path, triton_address: str) -> None:
    async with client(catalog_dir, triton_address) as asking:
        order = (await get(asking, "popular", customer_id=3, limit=100))["product_ids"]
        for place in (1, 10, 11, 40, 77, 100):
            why = (await get(asking, "popular", customer_id=3, limit=10, why_not=order[place - 1]))["why_not"]
            assert why["position"] == place
            assert why["reason"] == ("shown" if place <= 10 else "ranked_low")
