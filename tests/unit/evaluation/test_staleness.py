from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.studies import staleness as study
from ensemble.evaluation.studies.staleness import LAST_PLAN, REAL_TIME, late_tables, planned, precomputed, with_events
from ensemble.evaluation.study import Study
from ensemble.tensors import Tensors
from ensemble.training.weights import Trained
from tests.unit.evaluation.studied import Deaf, Newest, Spy, first_figure, scene_of, scramble_products, shop_of

WEEK = 10
CUSTOMERS = 12
OFFERED = {"mailer": 1.0, "display": 0.0, "coupon": 0.0}


@pytest.fixture(scope="module")
def switching() -> Dataset:
    """Everybody buys an own product for weeks, switches to another half a day before the asked week, and stays."""
    lines = []
    for customer in range(1, CUSTOMERS + 1):
        lines += [(customer, week_start(week) + 1.0 + customer / 100, customer) for week in range(5, WEEK)]
        new = CUSTOMERS + customer
        lines += [(customer, week_start(WEEK) - 0.5 + customer / 100, new), (customer, week_start(WEEK) + 2.0, new)]
    return shop_of(lines, 2 * CUSTOMERS)


def quality(result: Study) -> dict[str, float]:
    return {str(row[0]): float(str(row[1])) for row in result.tables[0].rows}


def test_real_time_wins_where_customers_switch_the_day_before(
    switching: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "Tables", Newest)
    result = study.run(scene_of(switching, (WEEK,)))
    found = quality(result)
    assert found[REAL_TIME] == 1.0
    assert all(found[precomputed(age)] < 0.5 for age in (1, 7, 14))
    assert found[LAST_PLAN] == found[precomputed(1)]
    assert all(found[late_tables(age)] < 0.5 for age in (1, 7, 14))
    # Half a day old is within every gap, so the events alone make up for the tables.
    assert all(found[with_events(age)] == 1.0 for age in (1, 7, 14))
    assert result.findings[0].startswith("Real time against lists precomputed 1 day ago: better")
    (group,) = (row for row in result.tables[1].rows if row[0] == "1 to 9")
    assert group[1] == CUSTOMERS
    assert first_figure(group[3]) > 0.5


def test_a_model_that_hears_nothing_gains_nothing(switching: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "Tables", Deaf)
    result = study.run(scene_of(switching, (WEEK,)))
    assert len(set(quality(result).values())) == 1
    assert [first_figure(cell) for row in result.tables[0].rows[1:] for cell in row[3:]] == [0.0] * 20
    assert "not told apart" in result.findings[0]


def test_tables_of_an_age_know_nothing_younger(switching: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[tuple[int, float | None], Newest] = {}

    class Kept(Newest):
        def __init__(self, data: Dataset, week: int, trained: Trained, cutoff: float | None = None) -> None:
            super().__init__(data, week, trained, cutoff)
            made[week, cutoff] = self

    monkeypatch.setattr(study, "Tables", Kept)
    study.run(scene_of(switching, (WEEK,)))
    moment = week_start(WEEK)
    assert sorted(moment - each.cutoff for each in made.values()) == [0.0, 1.0, 7.0, 14.0]
    assert list(made) == [(WEEK, None), (WEEK - 1, moment - 1), (WEEK - 1, None), (WEEK - 2, None)]


def test_purchases_after_the_moment_change_the_truth_alone(
    shop: Dataset, tiny: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for dataset in (shop, scramble_products(shop, week_start(WEEK))):
        spy = Spy()
        monkeypatch.setattr(metrics, "per_customer", spy.per_customer)
        result = study.run(scene_of(dataset, (WEEK,), tiny))
        assert Study.from_json(result.to_json()).findings == result.findings
        seen.append(spy)
    assert len(seen[0].lists) == 11
    assert all(np.array_equal(*pair) for pair in zip(seen[0].lists, seen[1].lists, strict=True))
    assert not np.array_equal(seen[0].truths[0].product_id, seen[1].truths[0].product_id)


class Bargains(Newest):
    """What is in the mailer comes first, whoever asks."""

    def outputs(self, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        mailer = tensors[contract.OFFERS.name][..., contract.OFFER.index("mailer")]
        return {**super().outputs(tensors), contract.PREFERENCE.name: mailer.astype(np.float32)}


def test_lists_of_a_day_ago_know_the_plan_of_the_week_that_they_serve(
    switching: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every week other products are in the mailer, which are bought: this week, those that customers switch to."""
    products = {week: np.arange(1, CUSTOMERS + 1) for week in (WEEK - 2, WEEK - 1)}
    products[WEEK] = np.arange(CUSTOMERS + 1, 2 * CUSTOMERS + 1)
    plan = pl.concat(
        [
            pl.DataFrame({"product_id": ids, "week": pl.Series([week] * len(ids), dtype=pl.Int16)})
            for week, ids in products.items()
        ]
    ).with_columns(pl.lit(share, pl.Float32).alias(name) for name, share in OFFERED.items())
    shop = dataclasses.replace(switching, promotions=plan.sort("product_id", "week"))
    monkeypatch.setattr(study, "Tables", Bargains)
    result = study.run(scene_of(shop, (WEEK,)))
    found = quality(result)
    assert found[precomputed(1)] == found[REAL_TIME] == found[late_tables(7)] > 0
    assert found[LAST_PLAN] == found[precomputed(7)] == found[precomputed(14)] == 0
    assert "precomputed 1 day ago: not told apart" in result.findings[0]
    offers = next(each for each in result.findings if each.startswith("The offers' part"))
    assert f"{found[REAL_TIME]:+.4f}" in offers
    assert f"{found[REAL_TIME]:+.4f}" in next(each for each in result.findings if each.startswith("Of what lists of 7"))


def test_what_is_known_early_is_the_next_plan_and_no_purchase_of_later(shop: Dataset) -> None:
    moment = week_start(WEEK) - 1
    known = planned(shop, 9, week_start(9) - 1)
    assert known.purchases["day"].max() < week_start(9) - 1  # type: ignore[operator]  # a float column's maximum
    assert known.promotions["week"].to_list() == [3, 9]
    assert planned(shop, WEEK, moment).promotions.equals(shop.before(WEEK).promotions)
