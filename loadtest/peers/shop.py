"""What every peer serves: the release's models and its ranking step, called in this process on a batch of requests.

Needs numpy and ONNX Runtime, no more, so that it runs in each peer's own environment. Where to find models and pools,
and the peer's settings, come in the environment: whoever starts a peer sets them (``loadtest.peers.starting``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ensemble import contract
from ensemble.ranking import RankingSettings, rank
from loadtest.peers.pools import PeerPool, PeerPools, read

POOLS: Final = "RACKSORT_PEER_POOLS"
REPOSITORY: Final = "RACKSORT_PEER_REPOSITORY"
SETTINGS: Final = "RACKSORT_PEER_SETTINGS"
FOLDER: Final = "RACKSORT_PEER_FOLDER"
"""A folder that the peer may write to, which goes with it."""

_PREFIX: Final = "/v1/containers/"
_SUFFIX: Final = "/products"

Tensors = dict[str, npt.NDArray[Any]]


class Ask(NamedTuple):
    """One request."""

    container_id: str
    customer_id: int
    limit: int


def parse(path: str, query: str) -> Ask:
    """What a path and its query ask for.

    Raises:
        ValueError: it is another path, or a number isn't one.
    """
    if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
        raise ValueError(f"no such path: {path}")
    given = dict(parse_qsl(query))
    return Ask(path[len(_PREFIX) : -len(_SUFFIX)], int(given.get("customer_id", 0)), int(given.get("limit", 24)))


class InProcessEnsemble:
    """The release's three models and its ranking step, called directly."""

    def __init__(self, repository: Path, version: int = 1, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._sessions = [
            ort.InferenceSession(repository / model.name / str(version) / "model.onnx", options)
            for model in contract.ONNX_MODELS
        ]
        self._settings = RankingSettings.load(repository / contract.RANKING.name / str(version) / "settings.json")

    def rank(self, inputs: Tensors) -> npt.NDArray[np.int64]:
        """Ranked product ids [B, N] of a batch of the contract's ensemble inputs."""
        made = dict(inputs)
        for model, session in zip(contract.ONNX_MODELS, self._sessions, strict=True):
            names = [tensor.name for tensor in model.outputs]
            feeds = {tensor.name: made[tensor.name] for tensor in model.inputs}
            made |= dict(zip(names, session.run(names, feeds), strict=True))
        asked = {tensor.name: made[tensor.name] for tensor in contract.RANKING.inputs}
        return rank(**asked, settings=self._settings, explain=False).product_id


class Shop:
    """Answers batches of requests."""

    def __init__(self, ensemble: InProcessEnsemble, pools: PeerPools) -> None:
        self._ensemble = ensemble
        self._pools = pools.by_container
        self._now_day = pools.now_day

    @classmethod
    def from_environment(cls) -> Shop:
        """On the models and pools that the environment names.

        Raises:
            KeyError: it names none.
        """
        threads = int(settings().get("threads", 1))
        return cls(InProcessEnsemble(Path(os.environ[REPOSITORY]), threads=threads), read(Path(os.environ[POOLS])))

    def rank(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Each request's page, in the order of ``asks``. Rows of one bucket share calls of the models.

        Raises:
            KeyError: there is no such container.
        """
        pages: list[list[int]] = [[]] * len(asks)
        pools = [self._pools[ask.container_id] for ask in asks]
        places: dict[int, list[int]] = {}
        for place, pool in enumerate(pools):
            places.setdefault(pool.bucket, []).append(place)
        for same in places.values():
            for begin in range(0, len(same), contract.MAX_BATCH_SIZE):
                chosen = same[begin : begin + contract.MAX_BATCH_SIZE]
                ranked = self._ensemble.rank(self._tensors([asks[at] for at in chosen], [pools[at] for at in chosen]))
                for row, at in enumerate(chosen):
                    pages[at] = shown(ranked[row], asks[at].limit)
        return pages

    def _tensors(self, asks: Sequence[Ask], pools: Sequence[PeerPool]) -> Tensors:
        """The contract's ensemble inputs, a row for each request; nobody has recent events."""
        rows = len(asks)
        return {
            "customer_id": np.array([[ask.customer_id] for ask in asks], np.int64),
            "product_id": np.stack([pool.product_id for pool in pools]),
            "category_id": np.stack([pool.category_id for pool in pools]),
            "offer": np.stack([pool.offer for pool in pools]),
            "boost": np.stack([pool.boost for pool in pools]),
            "recent_product_id": np.zeros((rows, contract.RECENT), np.int64),
            "recent_age": np.zeros((rows, contract.RECENT), np.float32),
            "context": np.array([[self._now_day, ask.limit] for ask in asks], np.float32),
        }


def shown(ranked: npt.NDArray[np.int64], limit: int) -> list[int]:
    """The page of one row [N]: its first products, without the padding and the excluded ones that come last."""
    product_ids: list[int] = ranked[:limit].tolist()
    while product_ids and product_ids[-1] == contract.PADDING:
        product_ids.pop()
    return product_ids


def settings() -> Mapping[str, Any]:
    """The peer's settings, as whoever started it chose them."""
    chosen: Mapping[str, Any] = json.loads(os.environ.get(SETTINGS, "{}"))
    return chosen


def page(ask: Ask, product_ids: Sequence[int]) -> dict[str, Any]:
    """The adapter's answer, field by field."""
    return {
        "container_id": ask.container_id,
        "customer_id": ask.customer_id,
        "product_ids": product_ids,
        "release": contract.ensemble_name(1),
        "source": "ensemble",
        "degraded": False,
    }
