"""Prices, offers and sales features against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl
import pytest

from ensemble.data import schema, weeks
from ensemble.data.dataset import Dataset
from ensemble.data.offers import offers_at
from ensemble.data.sales_features import sales_features


def shop(
    lines: Sequence[tuple[int, int, int, float, float, float]],
    products: list[tuple[int, str, str]] | None = None,
    plan: list[tuple[int, int, float, float, float]] | None = None,
) -> Dataset:
    """Lines (customer, product, week, quantity, value, regular value), each a basket of its own."""
    purchases = pl.DataFrame(
        [
            (line[0], basket, line[1], line[2], weeks.week_start(line[2]) + 0.5, *line[3:])
            for basket, line in enumerate(lines)
        ],
        schema={
            "customer_id": pl.Int64,
            "basket_id": pl.Int64,
            "product_id": pl.Int64,
            "week": pl.Int16,
            "day": pl.Float64,
            "quantity": pl.Float32,
            "value": pl.Float32,
            "regular_value": pl.Float32,
        },
        orient="row",
    )
    described = products or [(number, "SODA", "DRINKS") for number in sorted({line[1] for line in lines})]
    table = pl.DataFrame(
        described, schema={"product_id": pl.Int64, "leaf_category": pl.String, "category": pl.String}, orient="row"
    ).with_columns(category_id=pl.lit(1, pl.Int32), department=pl.lit("D"), brand=pl.lit(""), package_size=pl.lit(""))
    promotions = pl.DataFrame(
        plan or [], schema={column.name: column.dtype for column in schema.PROMOTIONS}, orient="row"
    )
    return Dataset(purchases, table, promotions, "by hand")


def offer(data: Dataset, week: int, product: int = 1) -> dict[str, object]:
    row = offers_at(data.before(week), week).filter(pl.col("product_id") == product).row(0, named=True)
    return {name: pytest.approx(value, rel=1e-6) for name, value in row.items() if name != "product_id"}


def test_the_price_of_the_last_week_with_sales_is_carried_forward() -> None:
    data = shop([(1, 1, 5, 2, 4.0, 4.0), (1, 1, 7, 1, 1.5, 2.5), (2, 1, 7, 3, 5.5, 7.5), (1, 1, 9, 1, 9.0, 9.0)])
    assert offer(data, 9) == {
        "price": 1.75,
        "regular_price": 2.5,
        "price_ratio": 0.7,
        "mailer": 0.0,
        "display": 0.0,
        "coupon": 0.0,
    }


def test_a_mailer_s_price_ends_with_the_mailer_and_comes_back_with_it() -> None:
    plan = [(1, 5, 0.9, 0.0, 0.0), (1, 9, 0.8, 0.3, 1.0)]
    data = shop([(1, 1, 4, 1, 2.0, 2.0), (1, 1, 5, 1, 1.0, 2.0)], plan=plan)
    assert offer(data, 6)["price"] == 2.0
    assert offer(data, 9) == {
        "price": 1.0,
        "regular_price": 2.0,
        "price_ratio": 0.5,
        "mailer": 0.8,
        "display": 0.3,
        "coupon": 1.0,
    }


def test_a_wrong_quantity_moves_the_price_to_a_bound() -> None:
    data = shop([(1, 1, week, 1, 2.0, 2.0) for week in range(2, 6)] + [(1, 1, 6, 1000, 2.0, 2.0)])
    assert offer(data, 7)["regular_price"] == 0.5


def test_free_lines_say_nothing_of_a_price() -> None:
    data = shop([(1, 1, 5, 1, 2.0, 2.0), (1, 1, 6, 1, 0.0, 0.0)])
    assert offer(data, 7)["price"] == 2.0


def test_products_that_never_sold_cost_the_median_of_their_like() -> None:
    products = [(1, "COLA", "DRINKS"), (2, "COLA", "DRINKS"), (3, "COLA", "DRINKS"), (4, "WATER", "DRINKS")]
    lines = [(1, 1, 5, 1, 1.0, 2.0), (1, 2, 5, 1, 4.0, 4.0)]
    data = shop(lines, products)
    for product in (3, 4):
        unreduced = {"price": 3.0, "regular_price": 3.0, "price_ratio": 1.0}
        found = offer(data, 6, product)
        assert {name: found[name] for name in unreduced} == unreduced


def test_every_product_has_an_offer_even_where_nothing_ever_sold() -> None:
    data = shop([], [(1, "COLA", "DRINKS")])
    assert offer(data, 6)["price_ratio"] == 1.0


def features(data: Dataset, week: int, product: int = 1) -> dict[str, float]:
    found = sales_features(data.before(week), week).filter(pl.col("product_id") == product)
    return found.row(0, named=True)


def test_popularity_halves_every_four_weeks_and_counts_a_buyer_once() -> None:
    lines = [(1, 1, 19, 1, 1.0, 1.0), (1, 1, 10, 1, 1.0, 1.0), (2, 1, 15, 1, 1.0, 1.0), (3, 1, 11, 5, 1.0, 1.0)]
    found = features(shop([*lines, (4, 1, 20, 1, 1.0, 1.0)]), 20)
    assert found["popularity"] == pytest.approx(1 + 0.5 + 0.25)
    assert (found["first_week"], found["last_week"]) == (10, 19)


def test_trend_compares_buyers_a_week() -> None:
    recent = [(customer, 1, week, 1, 1.0, 1.0) for week in (18, 19) for customer in range(6)]
    base = [(customer, 1, week, 1, 1.0, 1.0) for week in range(10, 18) for customer in range(2)]
    earlier = [(customer, 1, 9, 1, 1.0, 1.0) for customer in range(50)]
    twice = [(0, 1, 18, 1, 1.0, 1.0)]
    found = features(shop([*earlier, *base, *recent, *twice]), 20)
    assert found["trend"] == pytest.approx(math.log((6 + 2) / (2 + 2)))


def test_the_repeat_rate_is_drawn_towards_the_shop_s() -> None:
    loyal = [(1, 1, week, 1, 1.0, 1.0) for week in (10, 11)]
    others = [(customer, 2, 10, 1, 1.0, 1.0) for customer in range(3)]
    # One of the shop's four buyers came back.
    assert features(shop([*loyal, *others]), 20)["repeat_rate"] == pytest.approx((1 + 10 * 0.25) / (1 + 10))


def test_a_product_not_sold_lately_has_no_trend() -> None:
    found = features(shop([(1, 1, 5, 1, 1.0, 1.0)]), 20)
    assert found["trend"] == 0.0
    assert found["popularity"] == pytest.approx(2 ** (-14 / 4))
