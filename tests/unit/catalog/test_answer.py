"""Answers of searches, as they should be and as they shouldn't."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.elastic.answer import check_count, check_trust, parse
from api.catalog.elastic.columns import Columns, joined
from api.errors import CatalogRefused, CatalogUnavailable
from api.tensors import Candidates
from api.types import Pool
from ensemble import contract
from tests.faults.mutations import MUTATIONS, answers, harmless, mutate, written


def products(columns: Columns) -> list[tuple[Any, ...]]:
    """The columns row by row, as plain numbers."""
    return list(
        zip(
            columns.product_id.tolist(),
            columns.category_id.tolist(),
            map(tuple, columns.offer.tolist()),
            columns.boost.tolist(),
            columns.category,
            strict=True,
        )
    )


def slowly(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The same, hit by hit and without checks."""
    rows = []
    for hit in answer["hits"]["hits"]:
        fields = {name: values[0] for name, values in hit["fields"].items()}
        offer = tuple(float(np.float32(fields[name])) for name in contract.OFFER)
        boost = contract.EXCLUDED if fields.get("excluded") else float(np.float32(fields["boost"]))
        rows.append((fields["product_id"], fields["category_id"], offer, boost, fields.get("category", "")))
    return rows


def sound(columns: Columns) -> bool:
    """Whether the ensemble would take them."""
    Candidates.of(Pool("any", 1, columns.product_id, columns.category_id, columns.offer, columns.boost))
    return bool((columns.product_id >= 1).all() and (columns.category_id >= 0).all())


@given(answers())
def test_a_good_answer_is_taken_as_it_is(answer: dict[str, Any]) -> None:
    parsed = parse(json.dumps(answer).encode())
    assert products(parsed.columns) == slowly(answer)
    assert parsed.found == len(answer["hits"]["hits"])
    assert parsed.total == answer["hits"]["total"]["value"]
    assert parsed.rejected == 0
    assert not parsed.partial


@settings(max_examples=500, deadline=None)
@given(answers(), st.integers(0, 2**32))
def test_whatever_happens_to_an_answer_what_is_taken_of_it_is_sound(answer: dict[str, Any], seed: int) -> None:
    before = {row[0]: row for row in slowly(answer)}
    body, name = mutate(answer, Random(seed))
    try:
        parsed = parse(body)
    except CatalogUnavailable:
        assert not harmless(name)
        return
    columns, _ = joined([parsed.columns])
    assert sound(columns)
    assert len(set(columns.product_id.tolist())) == columns.product_id.size
    if harmless(name):
        assert products(columns) == list(before.values())


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_mutation_is_harmless_or_seen(name: str) -> None:
    """Seen: the answer is refused, marked as partial, or hits of it are left out."""
    random = Random(name)
    assert MUTATIONS[name].fits(_answer(random, hits=5))
    for _ in range(50):
        answer = _answer(random, hits=5)
        before = slowly(answer)
        body = MUTATIONS[name](answer, random)
        try:
            parsed = parse(body)
        except CatalogUnavailable:
            assert not harmless(name)
            continue
        columns, repeated = joined([parsed.columns])
        assert sound(columns)
        if harmless(name):
            assert products(columns) == before
            assert (parsed.partial, parsed.rejected, repeated) == (False, 0, 0)


@pytest.mark.slow
def test_a_hundred_thousand_mutated_hits() -> None:
    random = Random(17)
    hits = refused = taken = 0
    while hits < 100_000:
        answer = _answer(random, hits=20)
        hits += 20
        body, _ = mutate(answer, random)
        try:
            parsed = parse(body)
        except CatalogUnavailable:
            refused += 1
            continue
        columns, _ = joined([parsed.columns])
        assert sound(columns)
        taken += 1
    assert refused > 100
    assert taken > 100


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"<html>busy</html>", b'{"timed_out":false}', b"\xff\xfe", b'{"hits":' * 10_000],
)
def test_what_is_no_answer_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(CatalogUnavailable) as caught:
        parse(body)
    assert "\n" not in str(caught.value)


def test_hits_that_were_lost_on_the_way_dont_empty_a_container() -> None:
    answer = _answer(Random(1), hits=3)
    check_count(parse(written(answer)), 3)
    del answer["hits"]["hits"]
    parsed = parse(written(answer))
    with pytest.raises(CatalogUnavailable, match="0 hits, not 3"):
        check_count(parsed, 3)
    answer["timed_out"] = True
    check_count(parse(written(answer)), 3)  # it says itself that it's a part


@pytest.mark.parametrize(("timed_out", "failed"), [(True, 0), (False, 1)])
def test_an_answer_in_part_says_so(timed_out: bool, failed: int) -> None:
    answer = _answer(Random(1), hits=3)
    answer["timed_out"] = timed_out
    answer["_shards"]["failed"] = failed
    assert parse(written(answer)).partial


def test_a_few_bad_documents_are_borne_and_many_are_not() -> None:
    check_trust(10, 100)
    check_trust(0, 0)
    check_trust(1, 5)
    with pytest.raises(CatalogRefused, match="11 of 100"):
        check_trust(11, 100)
    with pytest.raises(CatalogRefused, match="2 of 5"):
        check_trust(2, 5)


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=4))
def test_pages_are_joined_and_each_product_stays_where_it_came_first(pages: list[list[int]]) -> None:
    every = [product for page in pages for product in page]
    columns, repeated = joined([_columns(page) for page in pages])
    assert columns.product_id.tolist() == list(dict.fromkeys(every))
    assert repeated == len(every) - len(set(every))
    assert columns.offer[:, 0].tolist() == [float(product) for product in columns.product_id]


def _columns(ids: list[int]) -> Columns:
    product_id = np.array(ids, np.int64)
    offer = np.repeat(product_id[:, None], len(contract.OFFER), axis=1).astype(np.float32)
    return Columns(product_id, product_id.astype(np.int32), offer, offer[:, 0].copy(), [str(each) for each in ids])


def _answer(random: Random, hits: int) -> dict[str, Any]:
    numbers = (*contract.OFFER, "boost")
    found = [
        {
            "fields": {
                "product_id": [product],
                "category_id": [random.randrange(2_400)],
                **{name: [round(random.random(), 3)] for name in numbers},
                "category": [random.choice(["TEA", "JAM"])],
            },
            "sort": [float(hits - at), product],
        }
        for at, product in enumerate(random.sample(range(1, 10**6), hits))
    ]
    return {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": hits, "relation": "eq"}, "hits": found},
    }


def test_a_hit_that_contradicts_its_own_place_is_rejected() -> None:
    hits = [
        {"fields": {"product_id": [number], "category_id": [1]}, "sort": sort}
        for number, sort in ((1, [9.5, 1]), (36, [9.0, 2]), (3, [8.0, 3, 4_294_967_296]), (4, []))
    ]
    body = json.dumps(
        {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": 4}, "hits": hits}}
    ).encode()
    answer = parse(body, by_id=True)
    assert answer.columns.product_id.tolist() == [1, 3, 4]
    assert (answer.rejected, answer.found) == (1, 4)
    assert parse(body).columns.product_id.tolist() == [1, 36, 3, 4]
