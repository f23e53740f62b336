"""What a request is given of what its customer did."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events.embedded import EmbeddedStore
from api.events.event import Event, EventKind, Owner
from api.events.recall import Recall
from api.events.recent import SAME_DAYS, recent_of
from api.events.store import Timeline
from api.types import Query, Recent
from ensemble import contract
from tests.unit.rules.shop import book_of, pool_of

NOW_S = 20_000 * 86_400.0
DAY_MS = 86_400_000
TTL_DAYS = 14.0


def bought(product_id: int, days_ago: float, kind: EventKind = EventKind.PURCHASE) -> Event:
    return Event(f"{kind}-{product_id}-{days_ago}", kind, product_id, round(NOW_S * 1e3 - days_ago * DAY_MS))


def shown(recent: Recent | None) -> list[tuple[int, float]]:
    if recent is None:
        return []
    return list(zip(recent.product_id.tolist(), recent.age.astype(float).round(3).tolist(), strict=True))


async def recalled(
    query: Query, *events: tuple[Owner, Event], history_until_day: float | None = None
) -> tuple[Query, tuple[str, ...]]:
    store = EmbeddedStore(ttl_s=TTL_DAYS * 86_400, max_bytes=10**6, now=lambda: NOW_S)
    await store.add(events)
    recall = Recall(store, ttl_s=TTL_DAYS * 86_400, now=lambda: NOW_S)
    reading = recall.begin(query, 0.0)
    return (query, ()) if reading is None else await recall.finish(query, reading, history_until_day)


async def test_the_models_get_purchases_newest_first() -> None:
    query, lacking = await recalled(
        Query("deals", 7),
        (7, bought(1, 3)),
        (7, bought(2, 0.5)),
        (7, bought(3, 0.1, EventKind.VIEW)),
        (7, bought(4, 0.2, EventKind.ADD_TO_CART)),
        (8, bought(5, 0.3)),
    )
    assert shown(query.recent) == [(2, 0.5), (1, 3.0)]
    assert lacking == ()


@pytest.mark.parametrize(
    "query", [Query("deals"), Query("deals", 0), Query("deals", 9), Query("deals", visitor_id="w")]
)
async def test_who_has_done_nothing_is_asked_for_as_before(query: Query) -> None:
    assert (await recalled(query, (7, bought(1, 3)), ("v", bought(1, 3))))[0] is query


async def test_a_visitors_purchases_count_beside_the_customers() -> None:
    query, _ = await recalled(Query("deals", 7, visitor_id="v"), (7, bought(1, 3)), ("v", bought(2, 1)))
    assert shown(query.recent) == [(2, 1.0), (1, 3.0)]


async def test_what_the_models_tables_know_isnt_told_again() -> None:
    events = [(7, bought(product, product)) for product in (1, 2, 3)]
    query, _ = await recalled(Query("deals", 7), *events, history_until_day=20_000 - 2.5)
    assert shown(query.recent) == [(1, 1.0), (2, 2.0)]


def hidden_from(query: Query, days: float = 30) -> set[int]:
    """Of the products 1 to 90, those that a rule hides because they were bought."""
    view = book_of({"effect": "hide_bought", "days": days}).of(query)
    assert view is not None
    order = np.arange(1, 91)
    return set(order.tolist()) - set(view.arranged(query, pool_of(90), order).tolist())


async def test_a_rule_hides_what_was_bought_before_the_end_of_the_releases_history_too() -> None:
    events = [(7, bought(product, product)) for product in (1, 2, 3)]
    query, _ = await recalled(Query("shelf", 7), *events, history_until_day=20_000 - 0.5)
    assert shown(query.recent) == []
    assert hidden_from(query) == {1, 2, 3}
    assert hidden_from(query, days=2.5) == {1, 2}


async def test_a_rule_knows_all_that_is_kept_and_what_the_request_says() -> None:
    events = [(7, bought(number, number / 10)) for number in range(1, 70)] + [("v", bought(80, 13))]
    told = recent_of([(90, 20.0)])
    query, _ = await recalled(Query("shelf", 7, visitor_id="v", recent=told), *events)
    assert hidden_from(query) == {*range(1, 65), 80, 90}


async def test_a_rule_forgets_what_is_older_than_the_time_to_live() -> None:
    moments = iter([NOW_S - 86_400, NOW_S])
    store = EmbeddedStore(ttl_s=86_400, max_bytes=10**6, now=lambda: next(moments))
    await store.add([(7, bought(1, 1.5))])
    recall = Recall(store, ttl_s=86_400, now=lambda: NOW_S)
    reading = recall.begin(Query("shelf", 7), 0.0)
    assert reading is not None
    assert hidden_from((await recall.finish(Query("shelf", 7), reading, None))[0]) == set()


async def test_what_the_request_says_itself_is_put_among_them_and_a_purchase_told_twice_counts_once() -> None:
    told = recent_of([(2, 0.504), (9, 0.2), (1, 1.0)])
    query, _ = await recalled(Query("deals", 7, recent=told), (7, bought(1, 3)), (7, bought(2, 0.5)))
    assert shown(query.recent) == [(9, 0.2), (2, 0.5), (1, 1.0), (1, 3.0)]


async def test_no_more_are_given_than_the_models_take() -> None:
    query, _ = await recalled(Query("deals", 7), *[(7, bought(number, number / 10)) for number in range(1, 40)])
    assert [product for product, _ in shown(query.recent)] == list(range(1, contract.RECENT + 1))


class Asked:
    """A store that is asked over a wire."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer

    def read(self, owner: Owner, until: float) -> Timeline:  # noqa: ARG002 - whoever it is
        found: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(found.set_result, self.answer)
        return found


async def test_events_that_dont_come_in_time_are_named_and_the_request_goes_on_with_what_it_says() -> None:
    recall = Recall(
        Asked(None),  # type: ignore[arg-type]  # it is only read
        ttl_s=100.0,
        now=lambda: NOW_S,
    )
    query = Query("deals", 7, recent=recent_of([(2, 0.5)]))
    reading = recall.begin(query, 0.0)
    assert reading is not None
    without, lacking = await recall.finish(query, reading, None)
    assert shown(without.recent) == [(2, 0.5)]
    assert lacking == ("events_unavailable",)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(0, 0.1) | st.floats(0, 400)), max_size=60),
)
def test_recent_purchases_are_sorted_bounded_and_each_product_moves_on(purchases: list[tuple[int, float]]) -> None:
    recent = recent_of(purchases)
    if recent is None:
        assert not purchases
        return
    assert 1 <= recent.product_id.size == recent.age.size <= contract.RECENT
    assert (np.diff(recent.age) >= 0).all()
    assert recent.age[0] == np.float32(min(age for _, age in purchases))
    for product in set(recent.product_id.tolist()):
        assert (np.diff(recent.age[recent.product_id == product].astype(float)) > SAME_DAYS - 1e-4).all()
