"""A timeline is a bounded union: what came how often, in which order and by which way doesn't show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.events.event import Event, EventKind, key_of, owner_of
from api.events.timeline import KEPT, events, line, purchases, united

NOW_MS = 1_764_000_000_000
SINCE_MS = NOW_MS - 100_000


@st.composite
def some_events(draw: st.DrawFn) -> list[Event]:
    """Events whose ids say everything of them."""
    return [
        Event(f"e{number}", list(EventKind)[number % 3], number % 7 + 1, NOW_MS - number * 7919 % 120 * 1_000)
        for number in draw(st.lists(st.integers(0, 400), max_size=150))
    ]


def timeline_of(some: list[Event]) -> bytes:
    return united(b"", map(line, some), SINCE_MS).timeline


@given(one=some_events(), other=some_events())
def test_it_doesnt_matter_what_came_first_or_how_often(one: list[Event], other: list[Event]) -> None:
    together = timeline_of(one + other)
    assert timeline_of(other + one) == together
    assert united(timeline_of(one), map(line, other), SINCE_MS).timeline == together
    assert united(together, map(line, one), SINCE_MS).timeline == together


@given(one=some_events(), other=some_events(), third=some_events())
def test_it_doesnt_matter_which_goes_into_which(one: list[Event], other: list[Event], third: list[Event]) -> None:
    def lines(some: list[Event]) -> list[bytes]:
        return timeline_of(some).split(b"\n") if timeline_of(some) else []

    left = united(united(timeline_of(one), lines(other), SINCE_MS).timeline, lines(third), SINCE_MS)
    right = united(timeline_of(one), lines(other + third), SINCE_MS)
    assert left.timeline == right.timeline


@given(some=some_events(), later_s=st.integers(0, 130))
def test_events_that_come_one_by_one_make_the_same_as_all_at_once(some: list[Event], later_s: int) -> None:
    timeline, accepted = b"", 0
    for event in some:
        union = united(timeline, [line(event)], 0)
        timeline, accepted = union.timeline, accepted + union.accepted
    at_once = united(b"", map(line, some), 0)
    assert timeline == at_once.timeline
    assert accepted >= at_once.accepted == len({event.event_id for event in some})  # more: what had left came again
    since_ms = NOW_MS - later_s * 1_000
    assert united(timeline, [], since_ms).timeline == united(b"", map(line, some), since_ms).timeline


@given(some=some_events())
def test_it_is_bounded_sorted_and_holds_nothing_twice(some: list[Event]) -> None:
    kept = events(timeline_of(some))
    assert len({event.event_id for event in kept}) == len(kept)
    assert all(event.at_ms >= SINCE_MS for event in kept)
    for kind, most in KEPT.items():
        mine = [event for event in kept if event.kind is kind]
        assert len(mine) <= most
        assert mine == sorted(mine, key=lambda event: (-event.at_ms, event.event_id))
    assert [event.kind for event in kept] == sorted((event.kind for event in kept), key=list(KEPT).index)


@given(some=some_events(), since=st.integers(0, 130), limit=st.integers(1, 80))
def test_purchases_are_the_newest_within_the_time_asked_for(some: list[Event], since: int, limit: int) -> None:
    timeline = timeline_of(some)
    since_ms = NOW_MS - since * 1_000
    bought = [each for each in events(timeline) if each.kind is EventKind.PURCHASE and each.at_ms >= since_ms]
    assert purchases(timeline, since_ms, limit) == [(each.product_id, each.at_ms) for each in bought][:limit]


@given(owner=st.integers(0, 2**63 - 1) | st.from_regex(r"\A[A-Za-z0-9._~:\-]{1,64}\Z"))
def test_a_key_says_whose_it_is(owner: int | str) -> None:
    assert owner_of(key_of(owner)) == owner
