"""Who gets which release: always the same customers, as many as were asked for, and those who had it keep it."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ReleaseNotServed
from api.metrics import Metrics
from api.readiness import Readiness
from api.releases.document import Share
from api.releases.lane import Lane
from api.releases.lanes import PLACES, Lanes, place
from api.releases.opening import LaneMaker
from api.resilience.breaker_policy import BreakerPolicy
from api.types import ExplainedQuery, Query, ReleaseQuery
from tests.fakes.ensemble import FakeEnsemble

CUSTOMERS = range(1, 20_001)


def maker(metrics: Metrics) -> LaneMaker:
    return LaneMaker(
        readiness=Readiness(metrics),
        metrics=metrics,
        policy=BreakerPolicy(),
        max_calls=2,
        max_waiting=64,
        took=lambda _waited, _took: None,
        awake=time.monotonic,
        clock=time.monotonic,
        rng=None,
    )


def opened(*numbers: int) -> list[Lane]:
    made = maker(Metrics())
    return [made.open(number, FakeEnsemble(number)) for number in numbers]


def lanes(percent: float, *, shadow: Lane | None = None) -> Lanes:
    live, canary = opened(1, 2)
    found = Lanes(live)
    found.use(live, canary, Share(2, percent), shadow, 0.0 if shadow is None else 10.0)
    return found


def break_down(lane: Lane) -> None:
    while (permit := lane.breaker.allow()) is not None:
        permit.failed()


@pytest.mark.parametrize("percent", [0.01, 1.0, 5.0, 12.34, 50.0])
@pytest.mark.parametrize("release", [2, 3, 77])
def test_a_share_is_as_large_as_chance_allows(percent: float, release: int) -> None:
    below = round(percent * PLACES / 100)
    got = sum(place(release, customer, None) < below for customer in CUSTOMERS)
    share = percent / 100
    spread = math.sqrt(len(CUSTOMERS) * share * (1 - share))
    assert abs(got - len(CUSTOMERS) * share) < 5 * spread + 1  # five standard deviations of the binomial distribution


def test_places_are_spread_evenly() -> None:
    places = np.array([place(2, customer, None) for customer in CUSTOMERS])
    counts = np.bincount(places // (PLACES // 20), minlength=20)
    expected = len(CUSTOMERS) / 20
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 43.8  # 99.9 % of 19 degrees of freedom


@given(
    st.integers(1, 100),
    st.integers(1, 2**63 - 1) | st.none(),
    st.text(min_size=1, max_size=20),
    st.floats(0.01, 50),
    st.floats(0.01, 50),
)
def test_a_share_that_grows_keeps_whom_it_had(
    release: int, customer: int | None, visitor: str, one: float, other: float
) -> None:
    stands = place(release, customer, visitor)
    assert 0 <= stands < PLACES
    assert stands == place(release, customer, visitor)
    smaller, larger = sorted((one, other))
    assert not stands < round(smaller * PLACES / 100) or stands < round(larger * PLACES / 100)


def test_another_release_is_tried_on_other_customers() -> None:
    first = {customer for customer in CUSTOMERS if place(2, customer, None) < 500}
    second = {customer for customer in CUSTOMERS if place(3, customer, None) < 500}
    assert len(first & second) < 0.15 * len(first)  # 5 % by chance


async def test_everybody_has_the_live_release_where_there_is_no_canary() -> None:
    (live,) = opened(1)
    only = Lanes(live)
    assert all(only.of(Query("deals", customer)) is live for customer in range(100))
    assert only.all() == [live]


async def test_a_customer_gets_the_same_release_whatever_is_asked_for() -> None:
    found = lanes(20.0)
    for customer in range(1, 200):
        lane = found.of(Query("deals", customer))
        expected = found.canary if place(2, customer, None) < 2_000 else found.live
        assert lane is expected
        assert found.of(Query("grid", customer, category="tea", visitor_id="v", cursor="x")) is lane
        assert found.of(ExplainedQuery("deals", customer, why_not=3)) is lane
    assert {found.of(Query("deals", each)).number for each in range(1, 200)} == {1, 2}


async def test_visitors_are_customers_too_and_who_is_nobody_stays_on_the_live_release() -> None:
    found = lanes(50.0)
    assert {found.of(Query("deals", visitor_id=f"v{each}")).number for each in range(50)} == {1, 2}
    assert {found.of(Query("deals", 0, visitor_id=f"v{each}")).number for each in range(50)} == {1, 2}
    assert found.of(Query("deals")) is found.live
    assert found.of(Query("deals", 0)) is found.live
    (known,) = {found.of(Query("deals", 7, visitor_id=f"v{each}")).number for each in range(50)}
    assert known == found.of(Query("deals", 7)).number


async def test_a_canary_that_cant_be_used_costs_its_customers_nothing() -> None:
    found = lanes(50.0)
    assert found.canary is not None
    break_down(found.canary)
    queries = [Query("deals", customer) for customer in range(1, 101)]
    theirs = sum(place(2, query.customer_id, None) < 5_000 for query in queries)
    assert all(found.of(query) is found.live for query in queries)
    assert found.canary.counts.diverted == theirs > 0
    assert all(found.of(ExplainedQuery("deals", each)) is found.live for each in range(1, 101))
    assert found.canary.counts.diverted == theirs  # guards count them as errors, and explanations aren't judged
    found.use(found.live, None, Share(2, 50.0), None, 0.0)  # it isn't loaded yet
    assert all(found.of(query) is found.live for query in queries)
    assert found.missing == theirs


async def test_a_release_can_be_named_and_an_unknown_one_is_refused_with_those_there_are() -> None:
    (shadow,) = opened(3)
    found = lanes(1.0, shadow=shadow)
    assert [found.of(ReleaseQuery("deals", 7, release=each)).number for each in (1, 2, 3)] == [1, 2, 3]
    assert found.of(ExplainedQuery("deals", 7, release=3)) is shadow
    with pytest.raises(ReleaseNotServed, match="Release 4 isn't served now: there is 1, 2, 3"):
        found.of(ReleaseQuery("deals", 7, release=4))
    (live,) = opened(1)
    with pytest.raises(ReleaseNotServed):
        Lanes(live).of(ReleaseQuery("deals", release=2))


async def test_only_the_live_release_tells_whether_the_adapter_is_well() -> None:
    live, canary = opened(1, 2)
    found = Lanes(live)
    assert (live.ensemble.live, canary.ensemble.live) == (True, False)
    found.use(canary, None, None, None, 0.0)
    assert (live.ensemble.live, canary.ensemble.live) == (False, True)
    await asyncio.gather(live.close(), canary.close())
