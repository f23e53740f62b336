from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import questions as asked
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.mmr import maximal_marginal_relevance
from ensemble.evaluation.questions import Questions, batches, lists_of, own_and_popular, scores_of, shelf_at
from ensemble.evaluation.recent_events import events_before
from ensemble.evaluation.truth import merchandise_of
from tests.unit.evaluation.test_served import FakeEnsemble

WEEK = 10


@pytest.fixture(scope="module")
def past(shop: Dataset) -> Past:
    return past_of(shop, WEEK, merchandise_of(shop.products))


def question_all(past: Past, customers: npt.NDArray[np.int64]) -> Questions:
    return own_and_popular(past, customers, np.full(len(customers), week_start(WEEK)))


def test_everybody_is_asked_about_the_own_history_and_the_most_popular(
    past: Past, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "POPULAR", 3)
    customers = np.array([4, 9, 777])
    found = own_and_popular(past, customers, np.zeros(3), np.array([1, 1, 2]), np.array([31, 40, 32]))
    offered = [set(part.tolist()) for part in np.split(found.product_id, found.start[1:-1])]
    popular = offered[2] - {32}
    assert len(popular) == 3
    before = shop.purchases.filter((pl.col("week") < WEEK) & (pl.col("product_id") != 40))
    own = [set(before.filter(pl.col("customer_id") == each)["product_id"]) for each in (4, 9)]
    assert offered == [own[0] | popular, own[1] | popular | {31}, popular | {32}]


@pytest.mark.parametrize("width", [4, 10, 1024])
def test_every_candidate_gets_its_own_score_however_the_questions_are_packed(
    past: Past, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(contract, "MAX_CANDIDATES", width)
    monkeypatch.setattr(contract, "BUCKETS", (4, 10, 64, 1024))
    questions = question_all(past, np.arange(1, 26))
    fake = FakeEnsemble()
    heard: list[float] = []
    score = scores_of(fake, questions, shelf_at(past.cut, WEEK), heard.append)
    expected = fake.score(questions.customer_id[questions.row], questions.product_id)
    assert score.tolist() == expected.tolist()
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert all(batch["product_id"].shape[1] <= max(width, 4) for batch in fake.asked)


def test_requests_carry_moment_offers_and_events_of_their_question(past: Past) -> None:
    questions = question_all(past, np.array([3, 5])).at(17500.5)
    product = np.tile(np.arange(contract.RECENT), (2, 1))
    questions = questions.with_events(product, product.astype(np.float32))
    (batch,) = batches(questions, shelf_at(past.cut, WEEK))
    assert batch.tensors["context"].tolist() == [[17500.5, 0.0]] * 2
    assert batch.tensors["recent_product_id"].tolist() == product.tolist()
    assert batch.tensors["recent_age"].tolist() == product.tolist()
    shelf = shelf_at(past.cut, WEEK)
    for row in range(2):
        real = batch.place[row] >= 0
        at = np.searchsorted(shelf.product_id, batch.tensors["product_id"][row, real])
        assert batch.tensors["category_id"][row, real].tolist() == shelf.category_id[at].tolist()
        assert batch.tensors["offer"][row, real].tolist() == shelf.offer[at].tolist()
        assert not batch.tensors["product_id"][row, ~real].any()
        assert not batch.tensors["offer"][row, ~real].any()


def test_a_candidate_without_a_shelf_is_named(past: Past) -> None:
    questions = own_and_popular(past, np.array([1]), np.zeros(1))
    shelf = shelf_at(past.cut, WEEK)
    short = asked.Shelf(shelf.product_id[5:], shelf.category_id[5:], shelf.offer[5:])
    with pytest.raises(ValueError, match="not in the catalogue"):
        list(batches(questions, short))


def test_places_find_candidates_and_nothing_else(past: Past) -> None:
    questions = question_all(past, np.array([3, 5, 8]))
    found = questions.places(questions.row, questions.product_id)
    assert found.tolist() == list(range(len(questions.product_id)))
    row = np.repeat(np.arange(3), 41)
    product = np.tile(np.arange(41), 3)
    place = questions.places(row, product)
    held = set(zip(questions.row.tolist(), questions.product_id.tolist(), strict=True))
    assert [at >= 0 for at in place] == [pair in held for pair in zip(row.tolist(), product.tolist(), strict=True)]


def test_what_scores_minus_infinity_is_not_named(past: Past) -> None:
    questions = question_all(past, np.array([3]))
    score = np.full(len(questions.product_id), -np.inf)
    score[2] = 1.0
    assert lists_of(questions, score, 3).tolist() == [[int(questions.product_id[2]), 0, 0]]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(1, 5)), max_size=60),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 11)), min_size=1, max_size=6),
    st.integers(0, 4),
)
def test_recent_events_are_the_newest_purchases_before_each_moment(
    lines: list[tuple[int, int, int]], wanted: list[tuple[int, int]], since: int
) -> None:
    columns = {"customer_id": pl.Int64, "day": pl.Float64, "product_id": pl.Int64}
    purchases = pl.DataFrame(lines, schema=columns, orient="row")
    customer, moment = (np.array(column) for column in zip(*wanted, strict=True))
    product, age = events_before(purchases, customer, moment.astype(np.float64), since=float(since))
    for row, (who, when) in enumerate(wanted):
        events = sorted({(when - day, item) for buyer, day, item in lines if buyer == who and since <= day < when})
        newest = events[: contract.RECENT]
        assert product[row].tolist() == [item for _, item in newest] + [0] * (contract.RECENT - len(newest))
        assert age[row].tolist() == [gone for gone, _ in newest] + [0] * (contract.RECENT - len(newest))


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 3), st.integers(0, 1)), min_size=4, max_size=12),
    st.sampled_from((0.0, 0.5, 3.0, 50.0)),
)
def test_mmr_is_the_greedy_algorithm(items: list[tuple[int, int, int]], penalty: float) -> None:
    """The slow version takes each candidate's largest similarity to what is chosen, one by one."""
    score, category, group = (np.array(column) for column in zip(*items, strict=True))
    found = maximal_marginal_relevance(score[None].astype(np.float64), category[None], group[None], penalty, 4)
    chosen: list[int] = []

    def similarity(one: int, other: int) -> float:
        if category[one] == category[other] != 0:
            return 1.0
        return 0.5 if group[one] == group[other] != 0 else 0.0

    for _ in range(4):
        left = [at for at in range(len(items)) if at not in chosen]
        gain = [
            float(score[at]) - penalty * max((similarity(at, other) for other in chosen), default=0.0) for at in left
        ]
        chosen.append(left[int(np.argmax(gain))])
    assert found[0].tolist() == chosen
