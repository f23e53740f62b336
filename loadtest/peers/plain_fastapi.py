"""The usual way: a FastAPI route that runs the ONNX models in its own process, one request at a time.

Start it with the settings that its documentation recommends for throughput::

    uvicorn --factory loadtest.peers.plain_fastapi:create_app --workers 2 --loop uvloop --http httptools --no-access-log

The route is ``async def``, because a thread pool costs more than the models do; sessions have one thread, because two
workers share two cores.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel

from loadtest.peers.shop import Ask, Shop, page


class Answer(BaseModel):
    """The adapter's answer, field by field."""

    container_id: str
    customer_id: int
    product_ids: list[int]
    release: str
    source: str
    degraded: bool


def create_app() -> FastAPI:
    """The application; each worker loads its own models and pools."""
    shop = Shop.from_environment()
    app = FastAPI(title="plain FastAPI + ONNX Runtime")

    @app.get("/v1/containers/{container_id}/products")
    async def products(
        container_id: str,
        customer_id: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 24,
    ) -> Answer:
        ask = Ask(container_id, customer_id, limit)
        return Answer(**page(ask, shop.rank([ask])[0]))

    return app
