from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start

if TYPE_CHECKING:
    from ensemble.training.weights import Trained

CUSTOMERS, PRODUCTS, WEEKS = 25, 40, 12


def synthetic() -> Dataset:
    """25 customers with habits of their own, 40 products, weeks 1-12; fuel (product 40) is no merchandise."""
    rng = np.random.default_rng(7)
    habit = rng.gamma(0.3, size=(CUSTOMERS, PRODUCTS)) + 0.02
    rows = []
    for trip in range(600):
        customer = int(rng.integers(CUSTOMERS))
        day = rng.uniform(week_start(1), week_start(WEEKS + 1))
        share = habit[customer] / habit[customer].sum()
        bought = rng.choice(PRODUCTS, size=4, replace=False, p=share) + 1
        week = 1 + int((day - week_start(1)) // 7)
        rows += [(customer + 1, trip, int(product), week, day, 1.0, 2.0, 2.5) for product in bought]
    columns = ["customer_id", "basket_id", "product_id", "week", "day", "quantity", "value", "regular_value"]
    types = [pl.Int64, pl.Int64, pl.Int64, pl.Int16, pl.Float64, pl.Float32, pl.Float32, pl.Float32]
    department = ["grocery"] * 20 + ["produce"] * 19 + ["FUEL"]
    return Dataset(
        purchases=pl.DataFrame(rows, schema=dict(zip(columns, types, strict=True)), orient="row").sort("day"),
        products=pl.DataFrame(
            {
                "product_id": pl.Series(range(1, PRODUCTS + 1), dtype=pl.Int64),
                "category_id": pl.Series([1 + product % 5 for product in range(PRODUCTS)], dtype=pl.Int32),
                "leaf_category": [f"leaf {product % 5}" for product in range(PRODUCTS)],
                "category": ["any"] * PRODUCTS,
                "department": department,
                "brand": [""] * PRODUCTS,
                "package_size": [""] * PRODUCTS,
            }
        ),
        promotions=pl.DataFrame(
            {
                "product_id": pl.Series([1, 2, 3], dtype=pl.Int64),
                "week": pl.Series([3, 9, 11], dtype=pl.Int16),
                "mailer": pl.Series([1.0, 0.5, 0.2], dtype=pl.Float32),
                "display": pl.Series([0.0, 1.0, 0.2], dtype=pl.Float32),
                "coupon": pl.Series([0.0, 1.0, 0.0], dtype=pl.Float32),
            }
        ),
        source="synthetic",
    )


@pytest.fixture(scope="session")
def shop() -> Dataset:
    return synthetic()


@pytest.fixture(scope="session")
def tiny(shop: Dataset) -> Trained:
    """Weights after a moment of training: real models for what doesn't depend on their quality."""
    from ensemble.training.train import Plan, train  # torch takes seconds to import

    plan = Plan(train_weeks=(7,), validation_weeks=(9,), epochs=(1, 2, 1), validation_customers=10, threads=1)
    return train(shop, plan)
