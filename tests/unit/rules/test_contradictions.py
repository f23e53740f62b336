"""Rules that can't both hold are refused with both named; those that never meet are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import RulesInvalid
from api.rules.book import Book
from api.rules.document import Document
from api.rules.rule import WEEKDAYS
from api.types import Query
from tests.unit.rules.shop import Clock, document_of

SEGMENTS = {"club": {"customers": [5, 6]}, "staff": {"ranges": [[6, 9]]}, "vip": {"customers": [20]}}
START = datetime(2026, 3, 23, tzinfo=UTC)  # the week in which Europe's clocks change, and America's don't


def refused(*rules: dict[str, Any]) -> str:
    with pytest.raises(RulesInvalid) as error:
        document_of(*rules, segments=SEGMENTS)
    return str(error.value)


def pin(product: int, position: int, **scope: Any) -> dict[str, Any]:
    return {"effect": "pin", "product": product, "position": position, "scope": scope}


def test_two_pins_of_one_place() -> None:
    line = refused(pin(1, 1), pin(2, 1))
    assert "rules 'r0' and 'r1'" in line
    assert "place 1 (products 1 and 2)" in line


def test_one_product_at_two_places() -> None:
    assert "'r0' and 'r1'" in refused(pin(1, 1), pin(1, 2))


def test_a_pin_of_an_excluded_product() -> None:
    line = refused({"effect": "exclude", "products": {"ids": [3, 1]}}, pin(1, 1))
    assert "rules 'r1' and 'r0'" in line
    assert "excludes" in line


def test_a_pin_where_the_product_is_not_available() -> None:
    only = {"effect": "availability", "products": {"ids": [1]}, "scope": {"containers": ["a"]}}
    assert "'r1' and 'r0'" in refused(only, pin(1, 1, containers=["b"]))
    document_of(only, pin(1, 1, containers=["a", "b"]))


def test_two_shares_of_new_products() -> None:
    share = {"effect": "min_new", "share": 0.1, "among": 10, "days": 30}
    assert "'r0' and 'r1'" in refused(share, share)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"containers": ["a"]}, {"containers": ["b"]}),
        ({"categories": ["a"]}, {"categories": ["b"]}),
        ({"segments": ["anonymous"]}, {"segments": ["known"]}),
        ({"segments": ["club"]}, {"segments": ["vip"]}),
        ({"segments": ["club"]}, {"segments": ["anonymous"]}),
        ({"until": "2026-01-01T00:00:00Z"}, {"from": "2026-01-01T01:00:00+01:00"}),
        ({"weekdays": ["mon"]}, {"weekdays": ["tue", "sun"]}),
        ({"hours": ["08:00", "12:00"]}, {"hours": ["12:00", "14:00"]}),
        (
            {"weekdays": ["mon"], "from": "2026-11-24T00:00:00Z", "until": "2026-11-29T00:00:00Z"},
            {},
        ),
        ({"rank": True, "containers": []}, {}),
    ],
)
def test_scopes_that_never_meet(one: dict[str, Any], other: dict[str, Any]) -> None:
    document_of(pin(1, 1, **one), pin(2, 1, **other), segments=SEGMENTS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"containers": ["a", "b"]}, {"containers": ["b"]}),
        ({"categories": ["a"]}, {}),
        ({"segments": ["club"]}, {"segments": ["staff"]}),
        ({"segments": ["club"]}, {"segments": ["known"]}),
        ({"rank": True, "containers": []}, {"rank": True}),
        ({"hours": ["08:00", "12:00"]}, {"hours": ["12:00", "14:00"], "timezone": "Europe/Berlin"}),
        (
            # Half an hour in the weeks of spring in which only America's clocks are ahead.
            {"hours": ["12:00", "12:30"], "timezone": "America/New_York"},
            {"hours": ["17:00", "17:30"], "timezone": "Europe/Berlin"},
        ),
    ],
)
def test_scopes_that_meet(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert "'r0' and 'r1'" in refused(pin(1, 1, **one), pin(2, 1, **other))


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
QUARTERS = st.integers(0, 95)


def _hour(quarter: int) -> str:
    return "24:00" if quarter == 96 else f"{quarter // 4:02d}:{quarter % 4 * 15:02d}"


@st.composite
def scopes(draw: st.DrawFn) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    if draw(st.booleans()):
        scope["containers"] = draw(st.lists(st.sampled_from("ab"), min_size=1, unique=True))
    if draw(st.booleans()):
        names = st.sampled_from(["club", "staff", "vip", "anonymous", "known"])
        scope["segments"] = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    if draw(st.booleans()):
        scope["weekdays"] = draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True))
    if draw(st.booleans()):
        begin = draw(QUARTERS)
        scope["hours"] = [_hour(begin), _hour(draw(st.integers(begin + 1, 96)))]
    scope["timezone"] = draw(ZONES)
    begin = START + timedelta(minutes=15 * draw(st.integers(0, 200)))
    scope["from"] = begin.isoformat()
    scope["until"] = (begin + timedelta(minutes=15 * draw(st.integers(1, 400)))).isoformat()
    return scope


@settings(max_examples=60)
@given(scopes(), scopes())
def test_two_pins_of_one_place_are_refused_exactly_where_both_are_ever_live(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    rules = [pin(1, 1, **one), pin(2, 1, **other)]
    try:
        document_of(*rules, segments=SEGMENTS)
        accepted = True
    except RulesInvalid:
        accepted = False
    assert accepted is not ever_both(rules)


def ever_both(rules: list[dict[str, Any]]) -> bool:
    """Ask for every page, every kind of customer and every quarter of an hour."""
    clock = Clock(START.timestamp())
    alone = document_of(rules[0], segments=SEGMENTS)
    both = alone.rules + document_of({**rules[1], "id": "r1"}, segments=SEGMENTS).rules
    unchecked = Document.model_construct(format=1, note="", segments=alone.segments, rules=both)
    book = Book(unchecked, version=1, now=clock, today=lambda: 0.0)
    for quarter in range(601):
        clock.now = START.timestamp() + quarter * 900
        for container in "ab":
            for customer in (None, 5, 6, 7, 20, 30):
                view = book.of(Query(container, customer))
                if view is not None and len(view.rules) == 2:
                    return True
    return False
