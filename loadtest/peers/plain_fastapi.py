"""The usual way: a FastAPI route that runs the ONNX models in its own process, one request at a time.

Start it with the settings that its documentation recommends for throughput::

    uvicorn --factory loadtest.peers.plain_fastapi:create_app --workers 2 --loop uvloop --http httptools --no-access-log

It reads RACKSORT_PEER_CATALOG and RACKSORT_PEER_REPOSITORY. The route is ``async def``, because a thread pool costs
more than the models do; sessions have one thread, because two workers share two cores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fastapi import FastAPI, Query
from pydantic import BaseModel

from api.catalog.embedded import EmbeddedCatalog
from ensemble import contract
from ensemble.ranking import RankingSettings, rank


class Answer(BaseModel):
    """The adapter's answer, field by field."""

    container_id: str
    customer_id: int
    product_ids: list[int]
    release: str
    source: str
    degraded: bool


class InProcessEnsemble:
    """The release's three models and its ranking step, called directly."""

    def __init__(self, repository: Path, version: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._sessions = [
            ort.InferenceSession(repository / model.name / str(version) / "model.onnx", options)
            for model in contract.ONNX_MODELS
        ]
        self._settings = RankingSettings.load(repository / "ranking" / str(version) / "settings.json")

    def rank(self, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
        """Ranked product ids [B, N] of a batch of the contract's ensemble inputs."""
        scores: dict[str, npt.NDArray[Any]] = {}
        for model, session in zip(contract.ONNX_MODELS, self._sessions, strict=True):
            names = [tensor.name for tensor in model.outputs]
            feeds = {tensor.name: inputs[tensor.name] for tensor in model.inputs}
            scores |= dict(zip(names, session.run(names, feeds), strict=True))
        return rank(
            inputs["product_id"],
            inputs["category_id"],
            inputs["boost"],
            inputs["context"],
            scores["affinity"],
            scores["demand"],
            scores["preference"],
            scores["novelty"],
            self._settings,
            explain=False,
        ).product_id


def create_app() -> FastAPI:
    """The application; each worker loads its own models and catalog."""
    ensemble = InProcessEnsemble(Path(os.environ["RACKSORT_PEER_REPOSITORY"]))
    catalog = EmbeddedCatalog.open(Path(os.environ["RACKSORT_PEER_CATALOG"]))
    no_recent_products = np.zeros((1, contract.RECENT), np.int64)
    no_recent_ages = np.zeros((1, contract.RECENT), np.float32)
    app = FastAPI(title="plain FastAPI + ONNX Runtime")

    @app.get("/v1/containers/{container_id}/products")
    async def products(
        container_id: str,
        customer_id: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 24,
    ) -> Answer:
        pool = await catalog.pool(container_id)
        size = min(len(pool.product_id), contract.MAX_CANDIDATES)
        padding = contract.bucket_for(size) - size
        inputs = {
            "customer_id": np.array([[customer_id]], np.int64),
            "product_id": np.pad(pool.product_id[:size], (0, padding))[None],
            "category_id": np.pad(pool.category_id[:size], (0, padding))[None],
            "offer": np.pad(pool.offer[:size], ((0, padding), (0, 0)))[None],
            "boost": np.pad(pool.boost[:size], (0, padding))[None],
            "recent_product_id": no_recent_products,
            "recent_age": no_recent_ages,
            "context": np.array([[catalog.now_day, limit]], np.float32),
        }
        ranked = ensemble.rank(inputs)[0, : min(limit, size)]
        return Answer(
            container_id=container_id,
            customer_id=customer_id,
            product_ids=ranked.tolist(),
            release="personalize_v1",
            source="ensemble",
            degraded=False,
        )

    return app
