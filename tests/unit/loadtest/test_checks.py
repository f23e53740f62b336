"""Every kind of wrong answer is found, and no right one is called wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import checks
from loadtest.checks import Scroll, check
from tests.unit.loadtest.pages import body, visits

Visit = tuple[Scroll, list[int]]


def first_page(visit: Visit) -> tuple[Scroll, list[int], dict[str, Any]]:
    """The ids and fields of a right first page."""
    scroll, products = visit
    ids = products[: scroll.limit]
    more = scroll.grid and len(products) > len(ids)
    return scroll, ids, {"next_cursor": "more" if more else None}


@given(visits(), st.booleans())
def test_a_right_scroll_to_the_end_has_no_flaw(visit: Visit, degraded: bool) -> None:
    scroll, products = visit
    fields = {"degraded": degraded, "degraded_reasons": ["overloaded"] if degraded else []}
    fields["source"] = "popularity" if degraded else "ensemble"
    pages = range(0, len(products), scroll.limit) if scroll.grid else [0]
    for begin in pages:
        ids = products[begin : begin + scroll.limit]
        last = not scroll.grid or begin + scroll.limit >= len(products)
        flaw, page = check(200, body(scroll, ids, next_cursor=None if last else "c", **fields), scroll)
        assert flaw == ""
        assert page is not None
        assert page.product_ids == ids
        assert page.degraded is degraded


Spoil = Callable[[Scroll, list[int], dict[str, Any]], object]


def _foreign(scroll: Scroll, ids: list[int], _: dict[str, Any]) -> None:
    ids[-1] = max(scroll.members) + 1


def _twice(scroll: Scroll, ids: list[int], _: dict[str, Any]) -> None:
    if len(ids) == 1:
        scroll.limit += 1
        ids.append(ids[0])
    ids[-1] = ids[0]


SPOILS: dict[str, Spoil] = {
    checks.FOREIGN: _foreign,
    checks.TWICE: _twice,
    checks.OVER_LIMIT: lambda scroll, ids, _: (
        ids.extend(sorted(scroll.members - set(ids))) or setattr(scroll, "limit", len(ids) - 1)
    ),
    checks.TOO_FEW: lambda _, ids, __: ids.pop(),
    checks.OTHER_CONTAINER: lambda _, __, fields: fields.update(container_id="dealz"),
    checks.OTHER_CUSTOMER: lambda scroll, _, fields: fields.update(customer_id=(scroll.customer_id or 0) + 1),
    checks.LIST_SCROLLS: lambda scroll, _, fields: setattr(scroll, "grid", False) or fields.update(next_cursor="c"),
}


@pytest.mark.parametrize("flaw", SPOILS)
@given(visit=visits())
def test_each_kind_of_wrong_first_page_is_called_by_its_name(flaw: str, visit: Visit) -> None:
    scroll, ids, fields = first_page(visit)
    SPOILS[flaw](scroll, ids, fields)
    assert check(200, body(scroll, ids, **fields), scroll)[0] == flaw


@given(visits(), st.data())
def test_a_product_of_an_earlier_page_is_a_repeat(visit: Visit, data: st.DataObject) -> None:
    scroll, products = visit
    scroll.grid = True
    scroll.limit = len(products) // 2
    shown, rest = products[: scroll.limit], products[scroll.limit :][: scroll.limit]
    assert check(200, body(scroll, shown, next_cursor="c"), scroll)[0] == ""
    rest[data.draw(st.integers(0, len(rest) - 1))] = data.draw(st.sampled_from(shown))
    assert check(200, body(scroll, rest, next_cursor="c"), scroll)[0] == checks.AGAIN


@given(visits())
def test_a_scroll_that_ends_before_its_last_product_is_found_unless_it_was_degraded(visit: Visit) -> None:
    scroll, products = visit
    scroll.grid, scroll.limit = True, len(products) - 1
    twin = Scroll(scroll.container_id, scroll.customer_id, scroll.limit, scroll.members, grid=True)
    assert check(200, body(scroll, products[:-1]), scroll)[0] == checks.ENDED_EARLY
    less = {"degraded": True, "degraded_reasons": ["partial_pool"]}
    assert check(200, body(twin, products[:-1], **less), twin)[0] == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"degraded": True},
        {"degraded_reasons": ["overloaded"]},
        {"source": "popularity"},
        {"source": "precomputed"},
    ],
)
@given(visit=visits())
def test_an_answer_that_hides_that_it_is_degraded_is_wrong(fields: dict[str, Any], visit: Visit) -> None:
    scroll, ids, right = first_page(visit)
    assert check(200, body(scroll, ids, **right, **fields), scroll)[0] == checks.DEGRADED_UNSAID


@pytest.mark.parametrize("field", sorted(checks.Page.__struct_fields__))
@given(visit=visits(), wrong=st.sampled_from([3.5, {"a": 1}, [[1]], True]))
def test_a_field_of_another_type_is_not_a_page(field: str, visit: Visit, wrong: object) -> None:
    scroll, ids, right = first_page(visit)
    if field == "degraded" and wrong is True:
        wrong = "true"
    assert check(200, body(scroll, ids, **{**right, field: wrong}), scroll) == (checks.SCHEMA, None)


@given(visits(), st.data())
def test_an_answer_that_was_cut_is_not_a_page(visit: Visit, data: st.DataObject) -> None:
    scroll, ids, right = first_page(visit)
    whole = body(scroll, ids, **right)
    assert check(200, whole[: data.draw(st.integers(0, len(whole) - 1))], scroll) == (checks.SCHEMA, None)


@given(visits(), st.sampled_from([0, 201, 301, 404, 429, 500, 503]))
def test_another_status_is_a_flaw_whatever_the_body(visit: Visit, status: int) -> None:
    scroll, ids, right = first_page(visit)
    assert check(status, body(scroll, ids, **right), scroll) == (f"status {status}", None)
