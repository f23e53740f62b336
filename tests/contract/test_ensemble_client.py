"""What every ensemble does, shown on the fake and on the real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton_config
from tritonclient.grpc import service_pb2

from api.ensemble_client import Ensemble, TritonEnsemble
from api.errors import EnsembleUnavailable
from api.tensors import Batch, Candidates, Row
from api.types import Pool, Recent
from ensemble import contract
from tests.conftest import REPOSITORY
from tests.fakes.ensemble import FakeEnsemble

DAY = 17_483.2


@pytest.fixture(params=["fake", pytest.param("triton", marks=pytest.mark.e2e)])
async def ensemble(request: pytest.FixtureRequest) -> AsyncIterator[Ensemble]:
    made: Ensemble
    if request.param == "fake":
        made = FakeEnsemble()
    else:
        made = TritonEnsemble(request.getfixturevalue("triton_address"), 1, timeout_s=30.0)
    yield made
    await made.close()


def pool(size: int, seed: int, *, excluded: int = 0) -> Pool:
    """Products with ids all over INT64's useful range; the first ``excluded`` are taken out."""
    random = np.random.default_rng(seed)
    boost = np.zeros(size, np.float32)
    boost[:excluded] = contract.EXCLUDED
    return Pool(
        "any",
        1,
        random.choice(20_000_000, size, replace=False).astype(np.int64) + 1,
        random.integers(0, 2_400, size).astype(np.int32),
        random.random((size, len(contract.OFFER)), np.float32),
        boost,
    )


def row(of: Pool, customer: int | None = None, recent: Recent | None = None, page_size: int = 0) -> Row:
    return Row.of(Candidates.of(of), customer, recent, day=DAY, page_size=page_size)


@pytest.mark.parametrize("bucket", contract.BUCKETS)
@pytest.mark.parametrize("rows", [1, 3])
async def test_an_answer_holds_each_candidate_once_and_padding_last(ensemble: Ensemble, bucket: int, rows: int) -> None:
    pools = [pool(bucket - 7 * index, seed=index) for index in range(rows)]
    ranked = await ensemble.rank(Batch(tuple(row(each, customer=index) for index, each in enumerate(pools))))
    assert ranked.release == "personalize_v1"
    assert ranked.product_id.shape == (rows, bucket)
    assert ranked.product_id.dtype == np.int64
    for each, got in zip(pools, ranked.product_id, strict=True):
        size = each.product_id.size
        assert sorted(got[:size].tolist()) == sorted(each.product_id.tolist())
        assert not got[size:].any()


async def test_rows_of_all_buckets_share_a_call_as_if_each_were_alone(ensemble: Ensemble) -> None:
    rows = [row(pool(size, seed=size), customer=size, page_size=24) for size in (30, 1_000, 128, 300)]
    rows.append(row(pool(100, seed=9), customer=9, page_size=5))
    together = await ensemble.rank(Batch(tuple(rows)))
    assert together.product_id.shape == (5, 1_024)
    for each, got in zip(rows, together.product_id, strict=True):
        (alone,) = (await ensemble.rank(Batch((each,)))).product_id
        shown = min(24, np.count_nonzero(alone))  # behind a short page the rules may look at more in a narrower call
        assert got[:shown].tolist() == alone[:shown].tolist()
        assert sorted(got.tolist()) == sorted(np.pad(alone, (0, 1_024 - alone.size)).tolist())


async def test_excluded_candidates_come_back_as_padding(ensemble: Ensemble) -> None:
    candidates = pool(40, seed=1, excluded=15)
    (got,) = (await ensemble.rank(Batch((row(candidates),)))).product_id
    assert set(got[:25].tolist()) == set(candidates.product_id[15:].tolist())
    assert not got[25:].any()


async def test_a_row_of_nothing_but_excluded_candidates_is_empty(ensemble: Ensemble) -> None:
    (got,) = (await ensemble.rank(Batch((row(pool(40, seed=1, excluded=40)),)))).product_id
    assert not got.any()


async def test_an_answer_doesnt_depend_on_its_batch_mates(ensemble: Ensemble) -> None:
    recent = Recent(np.array([1_029_743], np.int64), np.array([0.5], np.float32))
    rows = tuple(row(pool(100, seed), customer=seed, recent=recent if seed % 2 else None) for seed in range(64))
    together = (await ensemble.rank(Batch(rows))).product_id
    for index in (0, 1, 31, 63):
        alone = (await ensemble.rank(Batch((rows[index],)))).product_id[0]
        np.testing.assert_array_equal(alone, together[index])


async def test_the_same_question_has_the_same_answer(ensemble: Ensemble) -> None:
    batch = Batch((row(pool(200, 5), customer=17),))
    first, second = await asyncio.gather(ensemble.rank(batch), ensemble.rank(batch))
    np.testing.assert_array_equal(first.product_id, second.product_id)


@pytest.mark.parametrize("size", [1, 64, 200, 1_024])
@pytest.mark.parametrize("page_size", [0, 24])
async def test_an_explanation_has_the_order_of_the_answer(ensemble: Ensemble, size: int, page_size: int) -> None:
    candidates = pool(size, seed=size, excluded=size // 5)
    batch = Batch((row(candidates, customer=17, page_size=page_size),))
    explained = await ensemble.explain(batch)
    assert explained.release == "personalize_v1"
    np.testing.assert_array_equal(explained.product_id, (await ensemble.rank(batch)).product_id)
    shown = explained.product_id[0] != contract.PADDING
    assert explained.score.dtype == explained.component.dtype == np.float32
    assert explained.score.shape == explained.product_id.shape
    assert explained.component.shape == (*explained.product_id.shape, len(contract.COMPONENTS))
    assert np.isfinite(explained.score[0, shown]).all()
    # Without boosts, what the components don't explain is the same for every product.
    rest = explained.score[0, shown] - explained.component[0, shown].sum(1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-5)


@pytest.mark.parametrize("customer", [None, 0, -5, 2**63 - 1])
async def test_customers_nobody_knows_are_ranked(ensemble: Ensemble, customer: int | None) -> None:
    (got,) = (await ensemble.rank(Batch((row(pool(64, 2), customer=customer),)))).product_id
    assert got.all()


async def test_the_end_of_the_releases_history_is_a_day_or_unknown(ensemble: Ensemble) -> None:
    until = await ensemble.history_until_day()
    config = text_format.Parse(
        (REPOSITORY / "personalize_v1" / "config.pbtxt").read_text(), triton_config.ModelConfig()
    )
    if isinstance(ensemble, FakeEnsemble) or contract.HISTORY_UNTIL_DAY not in config.parameters:
        assert until is None
    else:
        assert until == float(config.parameters[contract.HISTORY_UNTIL_DAY].string_value)


@asynccontextmanager
async def triton_with(config: triton_config.ModelConfig | None) -> AsyncIterator[str]:
    """Address of a server that knows a configuration and nothing else; not even that where it is None."""

    async def answer(request: Any, _context: object) -> service_pb2.ModelConfigResponse:
        assert request.name == "personalize_v1"
        return service_pb2.ModelConfigResponse(config=config)

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=service_pb2.ModelConfigRequest.FromString,
        response_serializer=service_pb2.ModelConfigResponse.SerializeToString,
    )
    methods = {} if config is None else {"ModelConfig": handler}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def config_until(text: str) -> triton_config.ModelConfig:
    config = triton_config.ModelConfig()
    config.parameters[contract.HISTORY_UNTIL_DAY].string_value = text
    return config


async def history_of(config: triton_config.ModelConfig | None) -> float | None:
    async with triton_with(config) as address:
        ensemble = TritonEnsemble(address, 1, timeout_s=30.0)
        try:
            return await ensemble.history_until_day()
        finally:
            await ensemble.close()


@pytest.mark.parametrize(
    ("config", "day"),
    [(config_until("17483.2083"), 17_483.2083), (triton_config.ModelConfig(), None), (None, None)],
    ids=["parameter", "no parameter", "no such call"],
)
async def test_the_end_of_history_is_read_from_the_configuration(
    config: triton_config.ModelConfig | None, day: float | None
) -> None:
    assert await history_of(config) == day


@pytest.mark.parametrize("text", ["", "week 47", "nan", "-1", "1e300"])
async def test_an_end_of_history_that_is_no_day_is_named(text: str) -> None:
    with pytest.raises(EnsembleUnavailable, match="history_until_day"):
        await history_of(config_until(text))


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy"])
async def test_no_proxy_stands_between_the_adapter_and_triton(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY", "NO_GRPC_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert await history_of(config_until("5")) == 5


async def test_no_server_is_unavailable_at_once() -> None:
    ensemble = TritonEnsemble("127.0.0.1:1", 1, timeout_s=30.0)
    try:
        with pytest.raises(EnsembleUnavailable, match=r"Triton at 127\.0\.0\.1:1: UNAVAILABLE"):
            await ensemble.rank(Batch((row(pool(3, 1)),)))
        with pytest.raises(EnsembleUnavailable, match="UNAVAILABLE"):
            await ensemble.history_until_day()
    finally:
        await ensemble.close()


@pytest.mark.e2e
async def test_a_release_that_isnt_there_is_unavailable(triton_address: str) -> None:
    ensemble = TritonEnsemble(triton_address, 99, timeout_s=30.0)
    try:
        with pytest.raises(EnsembleUnavailable, match="personalize_v99"):
            await ensemble.rank(Batch((row(pool(3, 1)),)))
    finally:
        await ensemble.close()
