"""How each peer is asked the same thing, and where its answer has the products."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loadtest.peers.shop import Ask


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask over HTTP."""

    path: Callable[[Ask], str]
    body: Callable[[Ask], str] | None
    """JSON to be posted; None for a GET."""
    product_ids: Callable[[bytes], list[int]]
    """The page in an answer; fails with KeyError, IndexError or ValueError where there is none."""


def _path(ask: Ask) -> str:
    return f"/v1/containers/{ask.container_id}/products?customer_id={ask.customer_id}&limit={ask.limit}"


def _page(answer: bytes) -> list[int]:
    found = json.loads(answer)
    if found["degraded"]:
        raise ValueError("a degraded answer")
    ids: list[int] = found["product_ids"]
    return ids


def _json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def _bento_page(answer: bytes) -> list[int]:
    ids: list[int] = json.loads(answer)[0]
    return ids


def _inference(ask: Ask) -> str:
    columns = (
        ("container_id", "BYTES", ask.container_id),
        ("customer_id", "INT64", ask.customer_id),
        ("limit", "INT64", ask.limit),
    )
    inputs = [{"name": name, "shape": [1, 1], "datatype": kind, "data": [value]} for name, kind, value in columns]
    return _json({"inputs": inputs})


def _inferred(answer: bytes) -> list[int]:
    output = json.loads(answer)["outputs"][0]
    ids: list[int] = [product_id for product_id in output["data"] if product_id]
    return ids


ADAPTER: Final = Dialect(_path, None, _page)
"""The adapter's own: a GET."""
LITSERVE: Final = Dialect(lambda _: "/predict", lambda ask: _json(ask._asdict()), _page)
BENTOML: Final = Dialect(lambda _: "/rank", lambda ask: _json({"asks": [ask]}), _bento_page)
INFERENCE: Final = Dialect(lambda _: "/v2/models/ranking/infer", _inference, _inferred)
"""The Open Inference Protocol."""
