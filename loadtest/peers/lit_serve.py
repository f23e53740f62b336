"""LitServe with dynamic batching: ``python -m loadtest.peers.lit_serve PORT`` in its own environment.

Settings: ``max_batch_size``, ``delay_ms`` (how long a batch may wait), ``workers`` (processes with models), ``servers``
(processes that answer HTTP) and ``fast_queue`` (ZeroMQ between them, as its documentation advises for high load).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import litserve

from loadtest.peers.shop import Ask, Shop, page, settings


class RankingApi(litserve.LitAPI):
    """Takes ``{"container_id", "customer_id", "limit"}``, answers as the adapter does."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """In each worker."""
        self._shop = Shop.from_environment()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # a type here would become FastAPI's
        """One request's JSON."""
        return Ask(request["container_id"], request["customer_id"], request["limit"])

    def batch(self, inputs: Sequence[Ask]) -> Sequence[Ask]:
        """Requests are stacked by the shop."""
        return inputs

    def predict(self, x: Sequence[Ask]) -> list[dict[str, Any]]:
        """A batch."""
        return [page(ask, product_ids) for ask, product_ids in zip(x, self._shop.rank(x), strict=True)]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Already one answer for each."""
        return output

    def encode_response(self, output):  # type: ignore[no-untyped-def]  # a type here would become FastAPI's
        """Already what becomes JSON."""
        return output


def main(port: int) -> None:
    """Serve until SIGINT."""
    chosen = settings()
    api = RankingApi(max_batch_size=chosen["max_batch_size"], batch_timeout=chosen["delay_ms"] / 1e3)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=chosen["workers"],
        fast_queue=chosen["fast_queue"],
        disable_openapi_url=True,
    )
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=chosen["servers"],
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
