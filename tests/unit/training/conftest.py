from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.training.train import Plan, train
from ensemble.training.weights import Trained

WEEKS = 12
PLAN = Plan(train_weeks=(7, 8, 9), validation_weeks=(10, 11), epochs=(2, 4, 2), validation_customers=20, threads=1)


def make_shop(seed: int = 3) -> Dataset:
    """Sixty customers with habits, eighty products in ten leaf categories, twelve weeks."""
    rng = np.random.default_rng(seed)
    customers, products = 60, 80
    habit = rng.dirichlet(np.full(products, 0.15), customers)
    rows = []
    for week in range(2, WEEKS + 1):
        for customer in range(customers):
            for _ in range(rng.integers(0, 3)):
                day = week_start(week) + rng.uniform(0, 7)
                rows += [(customer + 1, week, day, item) for item in rng.choice(products, 6, p=habit[customer])]
    customer_id, week_number, day, item = (np.array(column) for column in zip(*rows, strict=True))
    price = rng.uniform(1, 5, products)
    value = (price[item] * rng.uniform(0.7, 1, item.size)).astype(np.float32)
    purchases = pl.DataFrame(
        {
            "customer_id": customer_id.astype(np.int64),
            "basket_id": np.unique(day, return_inverse=True)[1].astype(np.int64),
            "product_id": item.astype(np.int64) * 11 + 1000,
            "week": week_number.astype(np.int16),
            "day": day,
            "quantity": np.ones(item.size, np.float32),
            "value": value,
            "regular_value": price[item].astype(np.float32),
        }
    ).sort("day")
    leaf = np.arange(products) % 10
    text = {name: ["x"] * products for name in ("category", "department", "brand", "package_size")}
    shelf = pl.DataFrame(
        {
            "product_id": np.arange(products, dtype=np.int64) * 11 + 1000,
            "category_id": (leaf + 1).astype(np.int32),
            "leaf_category": [f"leaf {number}" for number in leaf],
            **text,
        }
    )
    planned = rng.random((products, WEEKS)) < 0.2
    product, week = np.nonzero(planned)
    plan = pl.DataFrame(
        {
            "product_id": product.astype(np.int64) * 11 + 1000,
            "week": (week + 1).astype(np.int16),
            "mailer": rng.random(product.size).astype(np.float32),
            "display": rng.random(product.size).astype(np.float32),
            "coupon": np.zeros(product.size, np.float32),
        }
    )
    return Dataset(purchases, shelf, plan, "made up")


@pytest.fixture(scope="session")
def shop() -> Dataset:
    return make_shop()


@pytest.fixture(scope="session")
def trained(shop: Dataset) -> Trained:
    return train(shop, PLAN)


@pytest.fixture(scope="session")
def repository(shop: Dataset, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ensemble.release import build_release

    folder = tmp_path_factory.mktemp("repository")
    build_release(shop, 12, trained, folder)
    return folder
