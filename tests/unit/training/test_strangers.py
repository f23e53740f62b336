from __future__ import annotations

import numpy as np
import pytest
import torch

from ensemble.data.dataset import Dataset
from ensemble.models.product_pool import LONG_RUN
from ensemble.training.examples import open_week
from ensemble.training.fit import blended_logits, fit_affinity, fit_demand, fit_preference, signals
from ensemble.training.strangers import by_sales, stranger_batch, stranger_loss

WEEK = 11


def test_a_stranger_is_compared_with_what_everybody_bought(shop: Dataset) -> None:
    week = open_week(shop, WEEK)
    batch = stranger_batch(week, by_sales(week), np.random.default_rng(1))
    assert sorted(batch.product[0].tolist()) == list(range(week.snapshot.product_id.size))
    assert not batch.rows.any()
    assert not batch.customer.shown.any()
    score = np.random.default_rng(2).normal(size=batch.product.shape)
    bought = week.buyers[batch.product[0]]
    assert bought.sum() > 0
    chance = np.exp(score[0]) / np.exp(score[0]).sum()
    expected = -(bought * np.log(chance)).sum() / bought.sum()
    assert stranger_loss(torch.from_numpy(score), batch).item() == pytest.approx(expected, rel=1e-5)


def test_a_strangers_products_stand_for_all(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.training.strangers.PRODUCTS", 20)
    week, rng = open_week(shop, WEEK), np.random.default_rng(3)
    items = week.snapshot.product_id.size
    batches = [stranger_batch(week, by_sales(week), rng) for _ in range(400)]
    rate = week.snapshot.product_feature[:, LONG_RUN]
    for batch in batches[:5]:
        assert np.unique(batch.product).size == 40
        assert batch.weight.sum().item() == items
        assert batch.label.sum().item() == pytest.approx(1)
        assert rate[batch.product[0, :20]].min() >= np.delete(rate, batch.product[0, :20]).max()
    score = np.random.default_rng(4).normal(size=items)
    odds = [(batch.weight[0].numpy() * np.exp(score[batch.product[0]])).sum() for batch in batches]
    assert np.mean(odds) == pytest.approx(np.exp(score).sum(), rel=0.05)


def test_a_filter_that_is_told_so_knows_the_order_of_what_sells(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    weeks = [open_week(shop, number) for number in (7, 8, 9)]
    categories = weeks[0].snapshot.categories.items
    affinity, _ = fit_affinity(weeks, categories, 1, 1, lambda _: None)
    demand, _ = fit_demand(weeks, categories, 1, 1, lambda _: None)
    said = [signals(week, affinity, demand) for week in weeks]
    losses = []
    for weight in (0.0, 30.0):
        monkeypatch.setattr("ensemble.training.fit.STRANGERS", weight)
        net, _ = fit_preference(weeks, said, categories, 3, 1, lambda _: None)
        batches = [stranger_batch(week, by_sales(week), np.random.default_rng(1)) for week in weeks]
        with torch.no_grad():
            logits = [blended_logits(net, batch, others) for batch, others in zip(batches, said, strict=True)]
            losses.append(sum(stranger_loss(*each).item() for each in zip(logits, batches, strict=True)))
    assert losses[1] < losses[0]
