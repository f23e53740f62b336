from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ensemble.contract import RECENT
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.studies import freshness as study
from ensemble.evaluation.studies.freshness import ALL, LEFT_OUT, NEW, QUESTIONS, WITH, WITHOUT, moments_of, rest_of
from ensemble.evaluation.study import Study
from ensemble.evaluation.truth import merchandise_of
from ensemble.training.weights import Trained
from tests.unit.evaluation.studied import Deaf, Newest, Spy, first_figure, scene_of, scramble_products, shop_of

WEEK = 10
CUSTOMERS = 12


@pytest.fixture(scope="module")
def again() -> Dataset:
    """Everybody has an old product; this week's new one is bought in the first basket and again in the second."""
    lines = []
    for customer in range(1, CUSTOMERS + 1):
        lines += [(customer, week_start(week) + 1.0, customer) for week in range(5, WEEK)]
        new = CUSTOMERS + customer
        lines += [(customer, week_start(WEEK) + day, new) for day in (1.0, 3.0)]
    return shop_of(lines, 2 * CUSTOMERS)


def quality(result: Study) -> dict[str, tuple[float, float]]:
    rows = result.tables[0].rows
    return {str(row[0]): (float(str(row[2])), float(str(row[3]))) for row in rows if row[1]}


def test_events_find_what_is_bought_again_within_the_week(again: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "Tables", Newest)
    result = study.run(scene_of(again, (WEEK,)))
    without, with_events = quality(result)[ALL]
    assert with_events == 1.0
    assert without < 0.5
    assert f"{ALL}: better" in result.findings[0]
    ranks = {str(row[0]): row[1] for row in result.tables[3].rows}
    assert ranks[WITH] == 1.0
    assert float(str(ranks[WITHOUT])) > 1.0
    (by_events,) = result.tables[1].rows
    assert by_events[:2] == ("1 to 3", CUSTOMERS)
    assert result.plots[0].lines[0].x == (1.0,)
    assert result.tables[0].rows[1] == (NEW, 0, None, None, "not defined", "not defined")


def test_a_product_bought_again_is_no_hit_among_those_not_yet_bought(
    again: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = [(customer, week_start(WEEK) + 5.0, customer) for customer in range(1, CUSTOMERS + 1)]
    lines = again.purchases.select("customer_id", "day", "product_id").rows() + third
    monkeypatch.setattr(study, "Tables", Newest)
    found = quality(study.run(scene_of(shop_of(lines, 2 * CUSTOMERS), (WEEK,))))
    # The old product comes back in the third basket: the newest purchase stands before it unless it isn't offered.
    assert found[NEW][0] == 1.0
    assert found[NEW][1] == pytest.approx(1 / np.log2(3))
    assert found[LEFT_OUT] == (1.0, 1.0)


def test_a_model_that_hears_nothing_gains_nothing(again: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "Tables", Deaf)
    result = study.run(scene_of(again, (WEEK,)))
    assert first_figure(result.tables[0].rows[0][4]) == 0.0
    assert all(first_figure(cell) == 0.0 for row in result.tables[0].rows for cell in row[4:] if cell != "not defined")
    assert len({row[1:] for row in result.tables[3].rows}) == 1


def test_moments_with_nothing_to_be_named_count_for_the_ranks_alone(
    again: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuel = 2 * CUSTOMERS + 1
    last = [(customer, week_start(WEEK) + 5.0, fuel) for customer in range(1, 5)]
    lines = again.purchases.select("customer_id", "day", "product_id").rows() + last
    shop = shop_of(lines, fuel)
    department = pl.when(pl.col("product_id") == fuel).then(pl.lit("FUEL")).otherwise(pl.col("department"))
    monkeypatch.setattr(study, "Tables", Newest)
    result = study.run(scene_of(replace(shop, products=shop.products.with_columns(department=department)), (WEEK,)))
    assert result.tables[0].rows[0][:2] == (ALL, CUSTOMERS)
    assert f"at 4 of {CUSTOMERS + 4} beginnings of a basket nothing" in result.tables[0].note
    # Third baskets are the four of fuel alone.
    assert [row[:2] for row in result.tables[2].rows] == [("2", CUSTOMERS)]
    assert sum(int(str(row[1])) for row in result.tables[1].rows) == CUSTOMERS
    assert "the next two tables leave them out too" in result.tables[0].note
    assert result.tables[3].note.startswith(f"{CUSTOMERS + 4} products at all {CUSTOMERS + 4} beginnings of a basket")


def test_groups_count_the_moments_of_all_and_say_that_other_columns_rest_on_fewer(
    again: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = [(customer, week_start(WEEK) + 5.0, customer) for customer in range(1, 5)]
    lines = again.purchases.select("customer_id", "day", "product_id").rows() + third
    monkeypatch.setattr(study, "Tables", Newest)
    result = study.run(scene_of(shop_of(lines, 2 * CUSTOMERS), (WEEK,)))
    named = {row[0]: row[1] for row in result.tables[0].rows}
    # Who comes a third time has something new to be named at the second basket and at the third.
    assert named == {ALL: CUSTOMERS + 4, NEW: 8, LEFT_OUT: 8}
    for table in result.tables[1:3]:
        assert sum(int(str(row[1])) for row in table.rows) == named[ALL]
        assert table.note.startswith(f'Moments are those of "{ALL}". The other two columns rest on fewer')


@pytest.mark.parametrize("new", [False, True])
def test_the_rest_of_the_week_is_what_counting_line_by_line_finds(shop: Dataset, new: bool) -> None:
    merchandise = merchandise_of(shop.products)
    purchases = shop.purchases.filter(pl.col("week") == WEEK)
    moments = moments_of(purchases, WEEK, np.arange(1, 20))
    truth = rest_of(purchases, WEEK, moments, merchandise, new=new)
    lines = purchases.select("customer_id", "day", "product_id").rows()
    days = {who: sorted({day for buyer, day, _ in lines if buyer == who}) for who in range(1, 20)}
    expected = [(who, day, place) for who, every in days.items() for place, day in enumerate(every, 1) if place > 1]
    assert list(zip(moments.customer_id, moments.day, moments.basket, strict=True)) == expected
    for row, (who, moment, _) in enumerate(expected):
        later = {item for buyer, day, item in lines if buyer == who and day >= moment and item != 40}
        earlier = {item for buyer, day, item in lines if buyer == who and day < moment}
        named = truth.product_id[truth.start[row] : truth.start[row + 1]].tolist()
        assert named == sorted(later - earlier if new else later)


def test_purchases_after_each_moment_change_the_truth_alone(
    shop: Dataset, tiny: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = week_start(WEEK) + 3.5
    purchases = shop.purchases.filter(pl.col("week") == WEEK)
    early = moments_of(purchases, WEEK, np.arange(1, 26)).day <= middle
    assert 4 < early.sum() < early.size
    seen = []
    for dataset in (shop, scramble_products(shop, middle)):
        spy = Spy()
        monkeypatch.setattr(metrics, "per_customer", spy.per_customer)
        result = study.run(scene_of(dataset, (WEEK,), tiny))
        assert Study.from_json(result.to_json()).tables[3] == result.tables[3]
        seen.append(spy)
    assert len(seen[0].lists) == 2 * len(QUESTIONS)
    assert all(
        np.array_equal(one[early], other[early]) for one, other in zip(seen[0].lists, seen[1].lists, strict=True)
    )
    assert any(not np.array_equal(one, other) for one, other in zip(seen[0].lists, seen[1].lists, strict=True))
    assert not np.array_equal(seen[0].truths[0].product_id, seen[1].truths[0].product_id)


def test_a_request_carries_no_more_events_than_the_contract_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    many = RECENT + 4
    lines = [(1, week_start(WEEK) - 3.0, 1), (1, week_start(WEEK) + 5.0, 2)]
    lines += [(1, week_start(WEEK) + 1.0 + step / 24, 3 + step) for step in range(many)]
    monkeypatch.setattr(study, "Tables", Newest)
    result = study.run(scene_of(shop_of(lines, many + 3), (WEEK,)))
    rows = {row[0]: row[1] for row in result.tables[1].rows}
    assert rows == {"1 to 3": 3, "4 to 7": 4, "8 to 15": 8, "16 or more": many - 15}
