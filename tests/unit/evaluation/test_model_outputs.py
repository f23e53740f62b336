import numpy as np
import pytest

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.model_outputs import affinity_table, demand_table, filter_tables
from ensemble.evaluation.truth import merchandise_of
from tests.unit.evaluation.fake_models import FakeModels, noise, weight_of_affinity, weight_of_demand


@pytest.fixture(scope="module")
def past(shop: Dataset) -> Past:
    return past_of(shop, 10, merchandise_of(shop.products))


@pytest.mark.parametrize("width", [3, 1024])
def test_windows_of_any_width_make_the_same_tables(past: Past, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(contract, "MAX_CANDIDATES", width)
    models, products = FakeModels(), past.weeks.product_id
    customers = np.arange(1, 131)  # three batches
    affinity = affinity_table(models, past, customers, 8)
    np.testing.assert_allclose(affinity, noise(customers[:, None], np.arange(8)[None]), rtol=1e-6)
    np.testing.assert_allclose(demand_table(models, past, products), noise(products, products) / 6, rtol=1e-6)
    parts = list(filter_tables(models, past, customers, products))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 64), (64, 128), (128, 130)]
    for name, expected in (
        ("preference", noise),
        ("affinity_weight", weight_of_affinity),
        ("demand_weight", weight_of_demand),
    ):
        table = np.concatenate([getattr(said, name) for _, said in parts])
        np.testing.assert_allclose(table, expected(customers[:, None], products[None]), rtol=1e-5, atol=1e-6)


def test_nobody_to_ask_is_no_error(past: Past) -> None:
    nobody = np.zeros(0, np.int64)
    assert affinity_table(FakeModels(), past, nobody, 5).shape == (0, 5)
    assert list(filter_tables(FakeModels(), past, nobody, past.weeks.product_id)) == []
