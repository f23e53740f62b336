"""Which requests are taken, and what is said of their precomputed lists."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.fallback.layout import ContainerLists
from api.fallback.rung import PrecomputedRung
from api.fallback.shadow import Outcome, Shadow, list_flaw, page_flaw
from api.fallback.store import PrecomputedLists
from api.types import Pool, Query, Ranking, Source
from ensemble import contract
from tests.unit.api.shelf import make_pool
from tests.unit.fallback.stores import Content, spoil_first_list, write

PRODUCTS = st.lists(st.integers(1, 12), max_size=12)
POOL = make_pool(30, container_id="deals")


class Tampered(PrecomputedRung):
    """Gives pages that no store would."""

    page: Sequence[int] | Exception = ()

    def look_up(self, _query: Query, _pool: Pool) -> npt.NDArray[np.int64] | None:
        if isinstance(self.page, Exception):
            raise self.page
        return np.array(self.page, np.int64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    containers = (
        ContainerLists("deals", list(range(1, 31)), list(range(1, 31)), 30),
        ContainerLists("grid", [], [30, 29, 99, 1], 0),
        ContainerLists("bare", [], [], 0),
    )
    write(tmp_path, Content(containers, {7: ([5, 3, 9, 1, 12], [], []), 8: ([30, 29], [], [])}))
    return tmp_path


def rung(folder: Path) -> PrecomputedRung:
    return PrecomputedRung(PrecomputedLists.open(folder))


def ranking(*products: int) -> Ranking:
    return Ranking(np.array(products, np.int64), Source.ENSEMBLE, "personalize_v1")


def everyone(found: PrecomputedRung, *, waiting: int = 64, latest: int = 200) -> tuple[Shadow, list[tuple[str, float]]]:
    """A shadow of every request, and what it has told."""
    told: list[tuple[str, float]] = []
    shadow = Shadow(
        found, share=1, waiting=waiting, latest=latest, on_overlap=lambda source, value: told.append((source, value))
    )
    return shadow, told


@asynccontextmanager
async def running(shadow: Shadow) -> AsyncIterator[None]:
    """Leave it once everything is looked up."""
    task = asyncio.create_task(shadow.run())
    try:
        yield
        for _ in range(shadow._queue.qsize() + 1):
            await asyncio.sleep(0)
        assert shadow._queue.empty()
        assert not task.done()
    finally:
        task.cancel()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared")
    write(out, Content((), {}))
    return out


def test_a_share_of_the_answers_is_taken(folder: Path) -> None:
    shadow = Shadow(rung(folder), share=0.25, rng=random.Random(3), waiting=0)  # 0: without a bound
    for _ in range(1_000):
        shadow.served(Query("deals", 7), POOL, ranking(1))
    assert 180 < shadow._queue.qsize() < 320


@given(
    page=PRODUCTS,
    pool=st.lists(st.integers(1, 12), unique=True),
    out=st.sets(st.integers(1, 12)),
    limit=st.integers(1, 12),
)
def test_pages_are_judged_as_by_looking_at_every_product(
    page: list[int], pool: list[int], out: set[int], limit: int
) -> None:
    allowed = [product for product in pool if product not in out]
    good = (
        len(page) == min(limit, len(allowed))
        and all(product in allowed for product in page)
        and all(page.count(product) == 1 for product in page)
    )
    judged, stock, shown = (np.array(each, np.int64) for each in (page, pool, allowed))
    assert (page_flaw(judged, stock, shown, limit) == "") == good
    assert (list_flaw(judged, limit) == "") == (len(page) <= limit and len(set(page)) == len(page))


async def test_what_is_looked_up_is_compared_with_what_was_served(folder: Path) -> None:
    shadow, told = everyone(rung(folder))
    assert shadow.readiness == 0  # nothing was ever tried
    async with running(shadow):
        shadow.served(Query("deals", 7, 4), POOL, ranking(3, 5, 20, 21))  # 5 3 9 1: two of four
        shadow.served(Query("deals", 8, 3), POOL, ranking(1, 29, 30))  # 30 29, then the pool's 1
        shadow.served(Query("deals", None, 2), POOL, ranking(2, 1))  # everybody's: 1 2
        shadow.served(Query("grid", 7, 4), POOL, ranking(1, 2, 3, 4))  # 99 may be sold out: nobody can tell there
        shadow.served(Query("deals", 7, 4, category="tea"), POOL, ranking(1))
        shadow.served(Query("", 7, 4), POOL, ranking(1))
    assert told == [("precomputed", 0.5), ("precomputed", 1.0), ("popularity", 1.0), ("popularity", 0.25)]
    assert shadow.outcomes == {Outcome.VALID: 4, Outcome.MISSING: 0, Outcome.INVALID: 0, Outcome.DAMAGED: 0}
    assert (shadow.looked_up, shadow.unasked, shadow.overlaps, shadow.overlap_sum) == (4, 2, 4, 2.75)
    assert shadow.readiness == 1


async def test_an_empty_page_has_nothing_to_compare(folder: Path) -> None:
    shadow, told = everyone(rung(folder))
    async with running(shadow):
        shadow.served(Query("bare", 7), make_pool(0, container_id="bare"), ranking())
    assert shadow.outcomes[Outcome.VALID] == 1
    assert told == []


async def test_lists_that_are_not_there_lower_the_readiness_of_the_latest(folder: Path) -> None:
    shadow, _ = everyone(rung(folder), latest=4)
    async with running(shadow):
        shadow.served(Query("deals", 9), POOL, ranking(1))  # nobody the lists know
        shadow.served(Query("no such", None), POOL, ranking(1))
        shadow.served(Query("bare", None), POOL, ranking(1))  # it was empty then, and isn't now
        shadow.served(Query("deals", 7), POOL, ranking(1))
    assert shadow.outcomes[Outcome.MISSING] == 3
    assert shadow.readiness == 0.25
    async with running(shadow):
        for _ in range(3):
            shadow.served(Query("deals", 7), POOL, ranking(1))
    assert shadow.readiness == 1


async def test_look_ups_of_the_shadow_are_not_counted_as_answers(folder: Path) -> None:
    found = rung(folder)
    shadow, _ = everyone(found)
    async with running(shadow):
        shadow.served(Query("deals", 7), POOL, ranking(1))
    assert found.served == 0


@pytest.mark.parametrize(
    ("page", "flaw"),
    [
        ([1, 2, 1], "it has a product twice"),
        ([1, 2, 99], "it has products that the pool hasn't"),
        ([1, 2, 3], "it has excluded products"),
        ([1, 2], "it is shorter than the pool allows"),
        ([1, 2, 4, 5], "it is longer than the page"),
        (ZeroDivisionError("oh"), "the look-up failed: ZeroDivisionError"),
    ],
)
async def test_an_invalid_list_is_logged_once_a_kind_and_generation_and_stops_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture, page: list[int] | Exception, flaw: str
) -> None:
    found = Tampered(PrecomputedLists.open(folder))
    found.page = page
    boost = np.zeros(30, np.float32)
    boost[2] = contract.EXCLUDED
    pool = Pool("deals", 1, POOL.product_id, POOL.category_id, POOL.offer, boost)
    shadow, told = everyone(found)
    with caplog.at_level(logging.ERROR):
        async with running(shadow):
            for customer in (7, 8, 7):
                shadow.served(Query("deals", customer, 3), pool, ranking(1, 2, 4))
        assert [flaw in record.message for record in caplog.records] == [True]
        write(folder, Content((ContainerLists("deals", [1], [1], 1),), {7: ([1],)}), created_at=2_000.0)
        assert found._lists.reload_if_changed()
        async with running(shadow):
            shadow.served(Query("deals", 7, 3), pool, ranking(1, 2, 4))
    assert len(caplog.records) == 2
    assert shadow.outcomes[Outcome.INVALID] == 4
    assert (shadow.readiness, told) == (0, [])


async def test_damage_is_told_apart(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spoil_first_list(folder)
    shadow, _ = everyone(rung(folder))
    async with running(shadow):
        shadow.served(Query("deals", 7), POOL, ranking(1))
        shadow.served(Query("deals", 8), POOL, ranking(1))
    assert (shadow.outcomes[Outcome.DAMAGED], shadow.outcomes[Outcome.VALID]) == (1, 1)
    assert len(caplog.records) == 1
    assert "is damaged" in caplog.text


@given(waiting=st.integers(1, 5), burst=st.integers(0, 12))
def test_what_finds_the_queue_full_is_dropped_and_counted(shared: Path, waiting: int, burst: int) -> None:
    shadow, _ = everyone(rung(shared), waiting=waiting)
    for _ in range(burst):
        shadow.served(Query("deals", 7), POOL, ranking(1))
    assert shadow.dropped == max(burst - waiting, 0)

    async def look_up() -> None:
        async with running(shadow):
            pass

    asyncio.run(look_up())
    assert shadow.looked_up == min(burst, waiting)


async def test_requests_come_between_two_look_ups(folder: Path) -> None:
    shadow, _ = everyone(rung(folder))
    for _ in range(3):
        shadow.served(Query("deals", 7), POOL, ranking(1))
    task = asyncio.create_task(shadow.run())
    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(shadow.looked_up)
    task.cancel()
    assert seen == [1, 2, 3, 3]
