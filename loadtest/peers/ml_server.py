"""MLServer with adaptive batching: ``python -m loadtest.peers.ml_server PORT`` in its own environment.

Settings: ``max_batch_size``, ``delay_ms`` (``max_batch_time``) and ``workers`` (``parallel_workers``; 0 runs the models
in the process that answers). Requests and answers are of the Open Inference Protocol, its only batched way: three
tensors of one element in, one tensor [1, limit] out.
"""

from __future__ import annotations

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from mlserver.utils import install_uvloop_event_loop

from ensemble.runtime import processes
from loadtest.peers.shop import Ask, Shop, settings


class RankingModel(MLModel):
    """Takes ``container_id``, ``customer_id`` and ``limit`` [B, 1] each, answers ``product_ids`` [B, limit]."""

    async def load(self) -> bool:
        """In each worker."""
        self._shop = Shop.from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """A batch."""
        columns = {each.name: each.data.root for each in payload.inputs}
        asks = [
            Ask(*values)
            for values in zip(columns["container_id"], columns["customer_id"], columns["limit"], strict=True)
        ]
        width = max(ask.limit for ask in asks)
        data = []
        for product_ids in self._shop.rank(asks):
            data += product_ids + [0] * (width - len(product_ids))
        output = ResponseOutput(name="product_ids", shape=[len(asks), width], datatype="INT64", data=data)
        return InferenceResponse(model_name=self.name, outputs=[output])


async def _serve(port: int) -> None:
    chosen = settings()
    _, grpc_port = processes.claim_ports((port, "MLServer"), (0, "MLServer's gRPC"))
    server = MLServer(
        Settings(
            host="127.0.0.1",
            http_port=port,
            grpc_port=grpc_port,
            metrics_endpoint=None,
            parallel_workers=chosen["workers"],
            debug=False,
            gzip_enabled=False,
            load_models_at_startup=True,
        )
    )
    model = ModelSettings(
        name="ranking",
        implementation="loadtest.peers.ml_server.RankingModel",
        max_batch_size=chosen["max_batch_size"],
        max_batch_time=chosen["delay_ms"] / 1e3,
    )
    await server.start([model])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(_serve(int(sys.argv[1])))
