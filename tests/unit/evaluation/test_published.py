import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset, silent
from ensemble.evaluation.studies import published
from ensemble.evaluation.study import Scene, Study
from ensemble.evaluation.truth import merchandise_of

GLUTTON, FEWEST = 3, 55


@pytest.fixture
def crowd(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The shop with one customer who buys far more than all others, and products on both sides of the border."""
    monkeypatch.setattr(published, "FEWEST_LINES", FEWEST)
    more = shop.purchases.filter((pl.col("customer_id") == GLUTTON) & (pl.col("product_id") == 1))
    assert len(more)
    return dataclasses.replace(shop, purchases=pl.concat([shop.purchases, *[more] * 50]).sort("day"))


def slowly(shop: Dataset, fewest_lines: int) -> dict[int, list[tuple[float, set[int]]]]:
    """The protocol with plain loops: per customer the (moment, products) of each basket, oldest first."""
    lines = [(row["customer_id"], row["day"], row["product_id"]) for row in shop.purchases.iter_rows(named=True)]
    moments: dict[int, set[float]] = defaultdict(set)
    sold: dict[int, int] = defaultdict(int)
    for customer, day, product in lines:
        moments[customer].add(day)
        sold[product] += 1
    kept = [line for line in lines if len(moments[line[0]]) >= 5 and sold[line[2]] >= fewest_lines]
    mine = {customer: [line for line in kept if line[0] == customer] for customer in moments}
    days = {customer: [day for _, day, _ in held] for customer, held in mine.items() if held}
    rate = {customer: len(each) / np.ceil(1e-10 + max(each) - min(each)) for customer, each in days.items()}
    most = np.mean(list(rate.values())) + 2 * np.std(list(rate.values()))
    found = {}
    for customer, each in days.items():
        if rate[customer] < most and max(each) - min(each) >= 1:
            found[customer] = [
                (day, {product for _, when, product in mine[customer] if when == day}) for day in sorted(set(each))
            ]
    return found


def test_the_last_basket_of_every_customer_is_the_question_and_all_others_are_known(crowd: Dataset) -> None:
    data, week = published.leave_last_out(crowd)
    wanted = slowly(crowd, FEWEST)
    assert set(range(1, 26)) - set(wanted) == {GLUTTON}
    assert data.purchases["product_id"].n_unique() < 40
    assert set(data.purchases["customer_id"]) == set(wanted)
    for customer, baskets in wanted.items():
        mine = data.purchases.filter(pl.col("customer_id") == customer)
        last = mine.filter(pl.col("week") == week)
        assert (set(last["day"]), set(last["product_id"])) == ({baskets[-1][0]}, baskets[-1][1])
        before = mine.filter(pl.col("week") < week)
        assert sorted(set(before["day"])) == [day for day, _ in baskets[:-1]]
        assert before["basket_id"].n_unique() == len(baskets) - 1


def test_the_study_s_figures_are_those_of_counting(crowd: Dataset) -> None:
    nothing: Any = None  # the study asks no release
    scene = Scene(crowd, merchandise_of(crowd.products), np.arange(1, 26), (10,), nothing, silent)
    study = published.run(scene)
    assert Study.from_json(study.to_json()) == study
    results = {row[0]: row[1:] for row in study.tables[0].rows}
    assert results["TAIW"] == (None, None, None, 0.1791, 0.1706, 0.1214)
    wanted = slowly(crowd, FEWEST)
    sales: dict[int, int] = defaultdict(int)
    for baskets in wanted.values():
        for _, products in baskets[:-1]:
            for product in products:
                sales[product] += 1
    recall, precision = [], []
    for baskets in wanted.values():
        count = {product: sum(product in held for _, held in baskets[:-1]) + 1e-9 * sales[product] for product in sales}
        first = set(sorted(count, key=lambda product: -count[product])[:10])
        recall.append(len(first & baskets[-1][1]) / len(baskets[-1][1]))
        precision.append(len(first & baskets[-1][1]) / 10)
    # Products that tie in both counts may be ordered either way.
    assert results["personal frequency"][0] == pytest.approx(np.mean(recall), abs=0.03)
    assert results["personal frequency"][2] == pytest.approx(np.mean(precision), abs=0.01)
    assert all(0 < results[name][1] < 1 for name in ("popularity", "TIFU-KNN", "UP-CF"))
    assert len(study.findings) == 3
