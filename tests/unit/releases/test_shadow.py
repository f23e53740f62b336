"""What is compared beside the requests, and what isn't."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import EnsembleUnavailable, RowInvalid
from api.releases.comparison import Comparison, Role
from api.releases.shadow import LEAST_PRODUCTS, MOST_ROWS, ShadowRankings
from api.tensors import Candidates, Row
from api.types import Pool, Query
from tests.fakes.ensemble import fake_order
from tests.unit.api.shelf import make_pool, make_row
from tests.unit.releases.lanes import LanesWorld

POOL = make_pool(64)
OTHER = make_pool(128, first=500)
QUERY = Query("deals", 7)


def order_of(pool: Pool, customer: int = 7) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return fake_order(customer, pool.product_id, pool.boost)


class World(LanesWorld):
    """Lanes, and a comparison beside them that runs."""

    def __init__(self, *, waiting: int = 64) -> None:
        super().__init__()
        self.busy = False
        self.broken: set[Pool] = set()
        self.shadow = self.loop.run_until_complete(self._begin(waiting))
        self.loop.advance()

    async def _begin(self, waiting: int) -> ShadowRankings:
        shadow = ShadowRankings(
            self.lanes,
            self._row,
            busy=lambda: self.busy,
            clock=self.loop.time,
            rng=random.Random(5),
            waiting=waiting,
        )
        self.task = asyncio.create_task(shadow.run())
        return shadow

    def _row(self, query: Query, pool: Pool) -> Row:
        if pool in self.broken:
            raise RowInvalid("not any more")
        return make_row(query.customer_id, Candidates.of(pool))

    def answer(self, release: int, *pools: Pool, seconds: float = 0.01) -> None:
        """The release has ranked these pools."""
        for pool in pools:
            self.shadow.ranked(self.lane[release], QUERY, pool, order_of(pool), seconds)

    def found(self, role: Role) -> Comparison:
        comparison = self.shadow.comparison(role)
        assert comparison is not None
        return comparison

    def rows(self, release: int) -> list[int]:
        return [len(batch.rows) for batch in self.ensembles[release].calls]

    def close(self) -> None:
        assert not self.task.done()
        self.task.cancel()
        self.loop.advance()
        super().close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_without_other_releases_nothing_is_compared(world: World) -> None:
    world.answer(1, POOL, OTHER)
    world.loop.advance()
    assert world.rows(1) == []
    assert world.shadow.comparison(Role.SHADOW) is world.shadow.comparison(Role.CANARY) is None


def test_a_shadow_that_ranks_as_the_live_release_agrees(world: World) -> None:
    world.use(shadow=2)
    world.answer(1, POOL)
    world.loop.advance()
    found = world.found(Role.SHADOW)
    assert (found.rankings, found.failed) == (1, 0)
    means = [found.mean(each) for each in (found.overlap_10, found.overlap_20, found.rbo)]
    assert means == pytest.approx([1, 1, 1])


def test_a_shadow_that_reverses_everything_has_nothing_in_common(world: World) -> None:
    world.use(shadow=3)
    world.answer(1, POOL)
    world.loop.advance()
    found = world.found(Role.SHADOW)
    assert found.mean(found.overlap_10) == found.mean(found.overlap_20) == 0
    assert found.mean(found.rbo) == pytest.approx(0, abs=0.02)


def test_rows_of_one_bucket_travel_together_and_one_call_at_a_time(world: World) -> None:
    world.use(shadow=2)
    world.ensembles[2].gate.clear()
    world.answer(1, POOL)
    world.loop.advance()  # the first goes alone
    world.answer(1, *[POOL] * 10, OTHER, POOL, OTHER)
    world.loop.advance()
    assert world.rows(2) == [1]
    world.ensembles[2].gate.set()
    world.loop.advance()
    assert world.rows(2) == [1, MOST_ROWS, 3, 2]
    assert world.ensembles[2].most_in_flight == 1
    assert world.found(Role.SHADOW).rankings == 14


def test_calls_are_timed_on_both_sides(world: World) -> None:
    world.use(shadow=2)
    world.ensembles[2].gate.clear()
    world.answer(1, POOL, POOL, seconds=0.004)
    world.loop.advance()
    world.loop.advance(0.25)
    world.ensembles[2].gate.set()
    world.loop.advance()
    found = world.found(Role.SHADOW)
    assert found.mean(found.seconds) == pytest.approx(0.25)
    assert found.mean(found.live_seconds) == pytest.approx(0.004)


def test_the_canarys_answers_are_ranked_by_the_live_release_at_a_constant_pace(world: World) -> None:
    world.use(canary=3)
    for _ in range(100):  # 10 s
        for _ in range(3):
            world.answer(3, POOL)
            world.answer(1, POOL)
        world.loop.advance(0.1)
    assert world.rows(3) == []
    assert 18 <= sum(world.rows(1)) <= 21
    found = world.found(Role.CANARY)
    assert found.rankings == sum(world.rows(1))
    assert found.lane is world.lane[3]
    assert found.live is world.lane[1]


def test_what_a_canary_answers_is_not_given_to_the_shadow(world: World) -> None:
    world.use(canary=2, shadow=3)
    world.answer(2, POOL)
    world.loop.advance()
    assert (world.rows(3), world.rows(1)) == ([], [1])


def test_short_rankings_say_nothing_of_the_churn(world: World) -> None:
    world.use(canary=3)
    world.answer(3, make_pool(LEAST_PRODUCTS - 1))
    world.loop.advance()
    assert world.rows(1) == []
    world.answer(3, make_pool(LEAST_PRODUCTS))
    world.loop.advance()
    assert world.rows(1) == [1]


def test_a_busy_adapter_compares_nothing(world: World) -> None:
    world.use(shadow=2)
    world.busy = True
    world.answer(1, POOL, POOL, OTHER)
    world.loop.advance()
    assert world.rows(2) == []
    assert world.shadow.dropped == {"full": 0, "busy": 3, "gone": 0}
    world.busy = False
    world.answer(1, POOL)
    world.loop.advance()
    assert world.rows(2) == [1]


@settings(deadline=None)
@given(waiting=st.integers(1, 5), burst=st.integers(0, 12))
def test_what_finds_the_queue_full_is_dropped_and_counted(waiting: int, burst: int) -> None:
    world = World(waiting=waiting)
    world.use(shadow=2)
    world.answer(1, *[POOL] * burst)
    assert world.shadow.dropped["full"] == max(burst - waiting, 0)
    world.loop.advance()
    assert world.found(Role.SHADOW).rankings == min(burst, waiting)
    world.close()


def test_a_shadow_that_hangs_leaves_the_canary_its_comparisons(world: World) -> None:
    """Calls of the shadow take 2 s, and far more of them are wanted than can be: the canary's samples go first."""
    world.use(canary=3, shadow=2)
    for at in range(60):  # 30 s
        if at % 4 == 0:
            world.ensembles[2].gate.set()
            world.loop.advance()
            world.ensembles[2].gate.clear()
        world.answer(1, *[POOL] * 100)
        world.answer(3, POOL)
        world.loop.advance(0.5)
    world.ensembles[2].gate.set()
    world.loop.advance()
    assert world.found(Role.CANARY).rankings == 60
    assert world.shadow.dropped["full"] > 1_000


def test_a_canarys_sample_that_finds_its_queue_full_is_tried_again_with_the_next_answer(world: World) -> None:
    world.use(canary=3)
    world.ensembles[1].gate.clear()
    world.answer(3, POOL)
    world.loop.advance()
    for _ in range(16):
        world.loop.advance(0.5)
        world.answer(3, POOL)
    world.loop.advance(0.5)
    world.answer(3, POOL)
    assert world.shadow.dropped["full"] == 1
    world.ensembles[1].gate.set()
    world.loop.advance()
    world.answer(3, POOL)  # at once, instead of half a second later
    world.loop.advance()
    assert world.found(Role.CANARY).rankings == 18


def test_failures_are_counted_and_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.use(shadow=2)
    world.ensembles[2].failure = EnsembleUnavailable("out of order")
    for _ in range(3):
        world.answer(1, POOL, POOL)
        world.loop.advance()
    found = world.found(Role.SHADOW)
    assert (found.rankings, found.failed) == (0, 6)
    assert [record.message for record in caplog.records if "told once" in record.message] == [
        "beside the requests, personalize_v2: out of order (told once)"
    ]


def test_a_mistake_of_ours_is_logged_and_stops_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.use(shadow=2)
    world.ensembles[2].failure = ZeroDivisionError()  # type: ignore[assignment]  # no error that an ensemble has
    world.answer(1, POOL)
    world.loop.advance()
    assert "a mistake of ours" in caplog.text
    world.ensembles[2].failure = None
    world.answer(1, POOL)
    world.loop.advance()
    assert world.found(Role.SHADOW).rankings == 1


def test_a_mistake_of_ours_fails_no_request(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.use(shadow=2, percent=1e-309)  # less than the document lets anybody ask for: no gap is so long
    world.answer(1, POOL, POOL)
    assert caplog.text.count("personalize_v1: an answer isn't compared by a mistake of ours: OverflowError") == 1
    world.use(shadow=2)
    world.answer(1, POOL)
    world.loop.advance()
    assert world.found(Role.SHADOW).rankings == 1


def test_a_pool_that_can_not_be_ranked_any_more_is_left_out(world: World) -> None:
    world.use(shadow=2)
    world.broken.add(OTHER)
    world.answer(1, POOL, OTHER, POOL)
    world.loop.advance()
    assert world.rows(2) == [2]
    assert world.shadow.dropped["gone"] == 1


def test_another_release_in_the_role_begins_from_nothing(world: World) -> None:
    world.use(shadow=2)
    world.answer(1, POOL)
    world.loop.advance()
    world.answer(1, POOL)
    world.use(shadow=3)  # before that one was sent
    world.loop.advance()
    assert (world.rows(2), world.rows(3)) == ([1], [])
    assert world.found(Role.SHADOW).rankings == 0
    assert world.shadow.dropped["gone"] == 1
    world.use(live=2, shadow=3)
    world.answer(2, POOL)
    world.loop.advance()
    assert world.found(Role.SHADOW).live is world.lane[2]
    world.use(live=2)
    assert world.shadow.comparison(Role.SHADOW) is None


def test_a_few_rows_are_explained_by_both(world: World) -> None:
    world.use(shadow=3)
    for _ in range(400):
        world.answer(1, POOL)
        world.loop.advance()
    found = world.found(Role.SHADOW)
    assert 1 <= found.explained <= 25  # one of fifty
    assert found.score_difference / found.explained == pytest.approx(1)
    assert found.spearman / found.explained == pytest.approx(-1)


def test_the_share_is_the_shadows_percentage(world: World) -> None:
    world.use(shadow=2, percent=10.0)
    for _ in range(1_000):
        world.answer(1, POOL)
        world.loop.advance()
    assert 60 <= world.found(Role.SHADOW).rankings <= 140
