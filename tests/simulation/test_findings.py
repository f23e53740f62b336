"""What the simulation has found, each by itself."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import orjson
import pytest

from api.catalog.elastic.lookup import Lookup
from api.catalog.guard import Guard, breaker_policy
from api.ensemble_client import Ranked
from api.errors import EnsembleUnavailable
from api.tensors import Batch, Candidates
from api.types import Pool
from tests.simulation.faults import Schedule
from tests.simulation.triton import Capacity, SimulatedEnsemble, Triton
from tests.simulation.virtual_loop import VirtualTimeLoop, run
from tests.unit.api.shelf import make_pool, make_row

_SOUND, _EXCLUDED = 4, 7


class _OneSpoilt:
    """Stands for ``Searches``: product 7 is excluded, and its hit can't be read while ``hit`` says so."""

    timeout_ms = 100

    def __init__(self, hit: dict[str, Any]) -> None:
        self.hit = hit

    async def products(self, _search: object) -> bytes:
        await asyncio.sleep(0.001)
        sound = {"fields": {"product_id": [_SOUND], "category_id": [1]}}
        hits = {"total": {"value": 2}, "hits": [sound, self.hit]}
        return orjson.dumps({"timed_out": False, "_shards": {"failed": 0}, "hits": hits})


@pytest.mark.parametrize(
    "fields",
    [
        {"product_id": [_EXCLUDED], "category_id": ["none"], "excluded": [True]},
        {"product_id": [_SOUND], "category_id": [1]},
    ],
    ids=["malformed", "repeated"],
)
def test_a_product_whose_hit_was_lost_isnt_taken_for_one_that_nobody_knows(fields: dict[str, Any]) -> None:
    loop = VirtualTimeLoop()
    source = _OneSpoilt({"fields": fields})

    async def asked() -> tuple[Pool, Pool, Pool]:
        guard = Guard(breaker_policy(timeout_s=1.0), clock=loop.time, rng=random.Random(1))
        lookup = Lookup(source, guard, keep_s=30.0, clock=loop.time)  # type: ignore[arg-type]  # all it needs
        both = np.array([_SOUND, _EXCLUDED], np.int64)
        spoilt, sound = await lookup.find(both, loop.time() + 1), await lookup.find(both[:1], loop.time() + 1)
        source.hit = {"fields": {"product_id": [_EXCLUDED], "category_id": [1], "excluded": [True]}}
        mended = await lookup.find(both, loop.time() + 1)
        await lookup.close()
        return spoilt, sound, mended

    spoilt, sound, mended = run(loop, asked())
    assert spoilt.partial
    assert not sound.partial
    assert not mended.partial
    assert mended.boost.tolist() == [0.0, -np.inf]


def test_an_answer_of_another_release_isnt_shown_as_ours() -> None:
    loop = VirtualTimeLoop()
    server = Triton(loop, Schedule([]), Capacity(0.001, 0.0001, 0.0), random.Random(1))
    batch = Batch((make_row(7, Candidates.of(make_pool(3))),))
    infer = server.infer

    async def of_another(request: bytes, **options: Any) -> Any:
        response = await infer(request, **options)
        response.model_name = "personalize_v2"
        return response

    async def ranked() -> Ranked:
        right = await SimulatedEnsemble(server, timeout_s=1.0).rank(batch)
        server.infer = of_another  # type: ignore[method-assign]
        with pytest.raises(EnsembleUnavailable, match="personalize_v2"):
            await SimulatedEnsemble(server, timeout_s=1.0).rank(batch)
        return right

    assert run(loop, ranked()).release == "personalize_v1"
