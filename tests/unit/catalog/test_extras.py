"""What only the shop's rules need of products, as Elasticsearch has it: what is asked for, and what is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.catalog.elastic.answer import parse
from api.catalog.elastic.extras import Extras
from api.catalog.elastic.schema import ATTRIBUTES, FIELD_TYPES, Meta
from api.catalog.elastic.shelf import Shelf
from ensemble import contract
from tests.unit.api.shelf import make_pool

MAPPING = {name: {"type": kind} for name, kind in FIELD_TYPES.items()}
SHOP = Meta(now_day=700.0, now_week=10, categories={"tea": ["TEA", "ICE TEA"], "jam": ["JAM"]})
BRANDS = st.one_of(st.none(), st.sampled_from(["", "Alp", "Brook", "ß"]))
CATEGORIES = st.sampled_from(["TEA", "ICE TEA", "JAM", "HERBS", ""])


def answered(*fields: dict[str, Any]) -> bytes:
    hits = [
        {"fields": {"product_id": [at], "category_id": [1], **{name: [value] for name, value in each.items()}}}
        for at, each in enumerate(fields, 1)
    ]
    total = {"value": len(hits)}
    return json.dumps({"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": total, "hits": hits}}).encode()


@pytest.mark.parametrize(
    ("meta", "mapping", "fields"),
    [
        (SHOP, MAPPING, {"brand", "category", "repeat_rate", "first_seen_day"}),
        (Meta(attributes=[*ATTRIBUTES]), MAPPING, {"brand", "repeat_rate", "first_seen_day"}),
        (
            Meta(attributes=["first_week"], now_day=1.0, now_week=2, categories={"tea": []}),
            MAPPING,
            {"first_week", "category"},
        ),
        (Meta(attributes=["first_week"], now_day=1.0), MAPPING, set()),  # nobody knows in which week the catalog lives
        (Meta(attributes=[]), MAPPING, set()),
        # What an older racksort has loaded.
        (
            Meta(now_day=1.0),
            {name: MAPPING[name] for name in MAPPING if name != "first_seen_day"},
            {"brand", "repeat_rate"},
        ),
        (Meta(), {"first_seen_day": {"type": "long"}, "brand": {"type": "text"}}, {"first_seen_day"}),
    ],
)
def test_only_what_the_live_version_can_tell_is_asked_for(meta: Meta, mapping: Any, fields: set[str]) -> None:
    extras = Extras.of(meta, mapping)
    assert set(extras.fields) == fields
    columns = extras.attributes(parse(answered({}, {}), further=True).columns).columns
    assert (columns.brand is not None) == ("brand" in fields)
    assert (columns.category is not None) == bool(meta.categories)
    assert (columns.repeat_rate is not None) == ("repeat_rate" in fields)
    assert (columns.first_seen_day is not None) == ("first_seen_day" in fields or "first_week" in fields)


@given(
    st.lists(
        st.tuples(
            BRANDS, CATEGORIES, st.one_of(st.none(), st.floats(0, 1, width=32)), st.sampled_from([None, 0, 3, 10])
        )
    )
)
def test_products_are_known_as_they_were_written(
    rows: list[tuple[str | None, str, float | None, int | None]],
) -> None:
    names = ("brand", "category", "repeat_rate", "first_week")
    sent = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
    meta = Meta(
        now_day=700.0, now_week=10, categories=SHOP.categories, attributes=["brand", "repeat_rate", "first_week"]
    )
    known = Extras.of(meta, MAPPING).attributes(parse(answered(*sent), further=True).columns)
    brand, category, rate, day = known.brand(), known.category(), known.repeat_rate(), known.first_seen_day()
    assert brand is not None
    assert category is not None
    assert rate is not None
    assert day is not None
    assert known.columns.brand is not None
    texts = {code: name for name, code in known.columns.brand.number.items()}
    slugs = {"TEA": 0, "ICE TEA": 0, "JAM": 1}
    for at, (name, of, repeated, week) in enumerate(rows):
        assert texts.get(int(brand[at]), "") == (name or "")
        assert category[at] == slugs.get(of, -1)
        assert isnan(rate[at]) if repeated is None else rate[at] == repeated
        assert day[at] == 700.0 - 7 * (10 - week) if week else isnan(day[at])


@pytest.mark.parametrize(
    "bad",
    [
        {"brand": 5},
        {"brand": None},
        {"repeat_rate": "often"},
        {"repeat_rate": 1e39},
        {"first_seen_day": True},
        {"first_week": 2**15},
        {"first_week": 1.5},
    ],
)
def test_a_hit_whose_value_does_not_fit_is_rejected_where_it_was_asked_for(bad: dict[str, Any]) -> None:
    body = answered({"brand": "Alp"}, bad, {"brand": "Brook"})
    parsed = parse(body, further=True)
    assert (parsed.columns.product_id.tolist(), parsed.rejected) == ([1, 3], 1)
    assert parsed.columns.further is not None
    assert parsed.columns.further.brand == ["Alp", "Brook"]
    assert parse(body).columns.product_id.tolist() == [1, 2, 3]


def test_two_brands_of_one_product_do_not_fit() -> None:
    body = answered({}, {}).replace(b'"category_id": [1]', b'"category_id": [1], "brand": ["Alp", "Brook"]', 1)
    assert parse(body, further=True).columns.product_id.tolist() == [2]


def test_what_a_shelf_says_it_takes_covers_what_rules_need() -> None:
    count = 5_000
    sent = [{"brand": f"brand number {at % 1_000}", "category": "JAM", "repeat_rate": 0.5} for at in range(count)]
    known = Extras.of(SHOP, MAPPING).attributes(parse(answered(*sent), further=True).columns)
    bare = make_pool(count)
    with_them = replace(bare, attributes=known)
    shelf = Shelf(with_them, ["JAM"] * count, whole=True)
    columns = known.columns
    assert columns.brand is not None
    assert columns.category is not None
    assert columns.first_seen_day is not None
    assert columns.repeat_rate is not None
    narrowed = shelf.narrowed(["JAM"]).attributes
    assert narrowed is not None
    np.testing.assert_array_equal(narrowed.brand(), known.brand())
    arrays = (columns.brand.code, columns.category.code, columns.first_seen_day, columns.repeat_rate)
    held = sum(each.nbytes for each in (*arrays, known.row, narrowed.row)) + sum(map(len, columns.brand.number)) * 2
    more = shelf.nbytes - Shelf(bare, ["JAM"] * count, whole=True).nbytes
    assert held <= more <= 3 * held
    assert count > contract.MAX_CANDIDATES
