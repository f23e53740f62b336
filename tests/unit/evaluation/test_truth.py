import dataclasses

import numpy as np
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.evaluation.truth import merchandise_of, spent_of, truth_of


def test_truth_is_what_was_bought_in_the_week_and_marks_repeats(shop: Dataset) -> None:
    merchandise = merchandise_of(shop.products)
    truth = truth_of(shop, 9, merchandise)
    lines = shop.purchases.filter(pl.col("product_id") != 40)
    for row, customer in enumerate(truth.customer_id):
        mine = lines.filter(pl.col("customer_id") == customer)
        bought = set(mine.filter(pl.col("week") == 9)["product_id"])
        before = set(mine.filter(pl.col("week") < 9)["product_id"])
        part = slice(truth.start[row], truth.start[row + 1])
        assert truth.product_id[part].tolist() == sorted(bought)
        assert truth.repeat[part].tolist() == [product in before for product in sorted(bought)]
        assert truth.known[row] == bool(before)
    assert set(truth.customer_id) == set(lines.filter(pl.col("week") == 9)["customer_id"])


def test_customers_without_a_history_are_judged_too(shop: Dataset) -> None:
    truth = truth_of(shop, 1, merchandise_of(shop.products))
    assert len(truth) > 0
    assert not truth.known.any()
    assert not truth.repeat.any()


def test_fuel_and_products_without_a_leaf_category_are_no_merchandise(shop: Dataset) -> None:
    products = shop.products.with_columns(
        leaf_category=pl.when(pl.col("product_id") == 7).then(pl.lit("")).otherwise("leaf_category")
    )
    left_out = set(products["product_id"]) - set(merchandise_of(products).tolist())
    assert left_out == {7, 40}


def test_a_sample_of_customers_keeps_their_rows_whole(shop: Dataset) -> None:
    truth = truth_of(shop, 9, merchandise_of(shop.products))
    some = truth.customer_id[::2]
    sampled = truth.of(some)
    assert sampled.customer_id.tolist() == some.tolist()
    kept = np.isin(truth.customer_id, some)[truth.row]
    assert sampled.product_id.tolist() == truth.product_id[kept].tolist()


def test_spending_is_summed_over_the_week_s_trips_and_returns_are_no_revenue(shop: Dataset) -> None:
    merchandise = merchandise_of(shop.products)
    # Lines of different amounts; some are given back.
    value = pl.Series([float(index % 7) - 1.0 for index in range(len(shop.purchases))], dtype=pl.Float32)
    data = dataclasses.replace(shop, purchases=shop.purchases.with_columns(value=value))
    truth = truth_of(data, 9, merchandise).within(merchandise[::2])
    spent = spent_of(data, 9, truth)
    week = data.purchases.filter(pl.col("week") == 9)
    assert len(spent) == len(truth.product_id) > 20
    for customer, product, found in zip(truth.customer_id[truth.row], truth.product_id, spent, strict=True):
        lines = week.filter((pl.col("customer_id") == customer) & (pl.col("product_id") == product))
        assert found == max(sum(lines["value"].to_list()), 0.0)
    assert (spent == 0).any()
