from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from api.catalog.details import ProductDetails
from api.catalog.protocol import Container
from api.ensemble_client import Ranked
from api.errors import CatalogUnavailable, EnsembleRejected, EnsembleUnavailable
from api.fallback.compute import Task, fill, prepare
from api.fallback.errors import FallbackInvalid
from api.fallback.store import PrecomputedLists
from api.fallback.writer import GenerationWriter
from api.tensors import Batch
from api.types import Kind, Pool
from ensemble import contract
from tests.fakes.ensemble import FakeEnsemble, fake_order

CUSTOMERS = np.arange(1, 101, dtype=np.int64)


class Shop:
    """A catalog of pools."""

    now_day: float | None = 17_483.25

    def __init__(self, *pools: Pool, grids: Sequence[str] = ()) -> None:
        self._pools = {pool.container_id: pool for pool in pools}
        self._grids = grids

    async def containers(self) -> tuple[Container, ...]:
        return tuple(
            Container(name, name, Kind.GRID if name in self._grids else Kind.LIST, pool.product_id.size)
            for name, pool in self._pools.items()
        )

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = 0.0) -> Pool:
        del category, deadline
        return self._pools[container_id]

    async def describe(self, product_ids: Sequence[int], *, deadline: float = 0.0) -> tuple[ProductDetails, ...]:
        raise NotImplementedError

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = 0.0) -> Pool:
        raise NotImplementedError

    async def has_product(self, product_id: int, *, deadline: float = 0.0) -> bool:
        raise NotImplementedError

    async def known_brands(self, names: Sequence[str], *, deadline: float = 0.0) -> frozenset[str]:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def pool(name: str, size: int, *, first: int = 1, excluded: Sequence[int] = (), partial: bool = False) -> Pool:
    boost = np.zeros(size, np.float32)
    boost[list(excluded)] = contract.EXCLUDED
    products = np.arange(first, first + size, dtype=np.int64)[::-1]
    offer = np.zeros((size, len(contract.OFFER)), np.float32)
    return Pool(name, 1, products, np.zeros(size, np.int32), offer, boost, partial)


async def task(*pools: Pool, products: int = 60, grids: Sequence[str] = ()) -> Task:
    return await prepare(
        Shop(*pools, grids=grids),
        CUSTOMERS,
        release=contract.ensemble_name(1),
        products=products,
        created_at=5.0,
    )


async def no_sleep(_seconds: float) -> None:
    pass


async def test_every_customer_gets_the_leading_products_of_the_ensembles_order(tmp_path: Path) -> None:
    pools = (
        pool("wide", 1_100, first=500, excluded=[0, 3]),
        pool("deals", 128, excluded=[0]),
        pool("few", 3, first=9_000),
        pool("none", 0),
        pool("gone", 2, excluded=[0, 1]),
        pool("grid", 5),
    )
    work = await task(*pools, grids=["grid"])
    ensemble = FakeEnsemble()
    told: list[int] = []
    with GenerationWriter(tmp_path, work.plan) as writer:
        await fill(writer, work, ensemble, report=told.append)
        writer.publish()
    store = PrecomputedLists.open(tmp_path)
    assert store.containers == ("wide", "deals", "few", "none", "gone", "grid")
    for each in pools[:-1]:
        ranked, boost = each.product_id[: contract.MAX_CANDIDATES], each.boost[: contract.MAX_CANDIDATES]
        for customer in CUSTOMERS.tolist():
            order = fake_order(customer, ranked, boost)
            found = store.find(each.container_id, customer, 60)
            assert found is not None
            assert found.tolist() == order[order != contract.PADDING][:60].tolist()
        popular = store.find(each.container_id, None, 60)
        assert popular is not None
        assert popular.tolist() == each.product_id[each.boost != contract.EXCLUDED][:60].tolist()
    # Nothing is ranked of what has no products, nor of the grid.
    assert sorted((call.bucket, len(call.rows)) for call in ensemble.calls) == sorted(
        [(64, 64), (64, 36), (128, 64), (128, 36), (1024, 64), (1024, 36)]
    )
    assert sum(told) == work.ranked * 100 == 300
    assert ensemble.most_in_flight == 2


async def test_a_grid_has_one_list_for_everybody_that_takes_no_bytes_a_customer(tmp_path: Path) -> None:
    lists, grid = pool("deals", 10), pool("grid", 2_000, excluded=[1, 5])
    sizes = []
    for name, work in (("with", await task(lists, grid, grids=["grid"])), ("without", await task(lists))):
        with GenerationWriter(tmp_path / name, work.plan) as writer:
            await fill(writer, work, FakeEnsemble())
            writer.publish()
        sizes.append(PrecomputedLists.open(tmp_path / name).nbytes)
    assert sizes[0] == sizes[1]
    store = PrecomputedLists.open(tmp_path / "with")
    assert store.own("grid", 1, 60) is None
    found = store.find("grid", 1, 1_000)
    assert found is not None
    assert found.tolist() == grid.product_id[grid.boost != contract.EXCLUDED][:128].tolist()
    assert (store.has_own("deals"), store.has_own("grid"), store.has_own("none")) == (True, False, False)


async def test_a_call_that_fails_is_made_again(tmp_path: Path) -> None:
    work = await task(pool("deals", 10))
    ensemble = FakeEnsemble()
    ensemble.failure = EnsembleUnavailable("it is being started again")
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        ensemble.failure = None

    with GenerationWriter(tmp_path, work.plan) as writer:
        await fill(writer, work, ensemble, sleep=sleep)
        writer.publish()
    assert waited == [0.5]  # the second call found it running again


@pytest.mark.parametrize(
    ("failure", "calls"), [(EnsembleUnavailable("down"), 8), (EnsembleRejected("another signature"), 2)]
)
async def test_an_ensemble_that_stays_down_ends_the_run_with_its_own_words(
    tmp_path: Path, failure: EnsembleUnavailable | EnsembleRejected, calls: int
) -> None:
    work = await task(pool("deals", 10))
    ensemble = FakeEnsemble()
    ensemble.failure = failure
    with GenerationWriter(tmp_path, work.plan) as writer:
        with pytest.raises(type(failure), match=str(failure)):
            await fill(writer, work, ensemble, sleep=no_sleep)
        assert writer.done == 0
    assert len(ensemble.calls) <= calls


async def test_lists_whose_calls_were_cancelled_are_not_published_empty(tmp_path: Path) -> None:
    """A task group calls work that ends with CancelledError done, whoever has cancelled it."""

    class Cancelled(FakeEnsemble):
        async def rank(self, batch: Batch) -> Ranked:
            if len(self.calls) == 1:
                raise asyncio.CancelledError
            return await super().rank(batch)

    work = await task(pool("deals", 10))
    with GenerationWriter(tmp_path, work.plan) as writer:
        with pytest.raises(EnsembleUnavailable, match="36 lists weren't ranked: run `racksort precompute` again"):
            await fill(writer, work, Cancelled(), calls=1)
        assert writer.done == 0


async def test_answers_of_products_that_were_not_asked_for_are_refused(tmp_path: Path) -> None:
    class Wrong(FakeEnsemble):
        async def rank(self, batch: Batch) -> object:  # type: ignore[override]
            ranked = await super().rank(batch)
            ranked.product_id[0, 0] = 4_711
            return ranked

    work = await task(pool("deals", 10))
    with (
        GenerationWriter(tmp_path, work.plan) as writer,
        pytest.raises(FallbackInvalid, match="'deals': a ranking isn't made of the container's products"),
    ):
        await fill(writer, work, Wrong())  # type: ignore[arg-type]


async def test_a_pool_that_came_only_in_part_is_not_ranked_for_everybody() -> None:
    with pytest.raises(CatalogUnavailable, match="container 'deals': the catalog has answered only in part"):
        await task(pool("deals", 10, partial=True))


async def test_other_offers_or_pages_are_another_plan() -> None:
    plain = (await task(pool("deals", 10))).plan.fingerprint
    assert (await task(pool("deals", 10))).plan.fingerprint == plain
    dearer = pool("deals", 10)
    dearer.offer[0, 0] = 0.5
    assert (await task(dearer)).plan.fingerprint != plain
    assert (await task(pool("deals", 10), products=50)).plan.fingerprint != plain


async def test_the_moment_is_the_catalogs_or_the_settings_or_now() -> None:
    shop = Shop(pool("deals", 10))

    async def day(today: float | None) -> float:
        made = await prepare(shop, CUSTOMERS, release="r", products=5, created_at=86_400.0, today=today)
        return made.plan.day

    assert (await day(None), await day(9.0)) == (17_483.25, 9.0)
    shop.now_day = None
    assert await day(None) == 1.0
