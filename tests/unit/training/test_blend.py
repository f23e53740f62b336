"""The collaborative filter and its weights: what is fitted, and that it is what is served."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ensemble import contract
from ensemble.assembly import assemble
from ensemble.data.dataset import Dataset
from ensemble.models.history import ROW, TRIPS
from ensemble.models.layers import MAILER
from ensemble.ranking import RankingSettings, rank
from ensemble.training.examples import ProductBatch, Week, customer_batch, open_week, product_batch
from ensemble.training.fit import (
    ELSEWHERE,
    LISTWISE,
    blended_logits,
    components,
    preference_loss,
    preference_said,
    seen_of,
    signals,
)
from ensemble.training.weights import Trained

WEEK = 11


@pytest.fixture(scope="module")
def week(shop: Dataset) -> Week:
    """A week with the products' features rounded as the tables round them, so that the rest must agree closely."""
    opened = open_week(shop, WEEK)
    rounded = opened.snapshot.product_feature.astype(np.float16).astype(np.float32)
    return replace(opened, snapshot=replace(opened.snapshot, product_feature=rounded))


def everything(week: Week) -> ProductBatch:
    """Every customer, and a stranger in the last row, against every product."""
    snapshot = week.snapshot
    customer = np.append(np.arange(snapshot.customer_id.size), 0)
    shown = np.arange(customer.size) < snapshot.customer_id.size
    product = np.tile(np.arange(snapshot.product_id.size), (customer.size, 1))
    rows = snapshot.products.find(customer[:, None] * snapshot.product_id.size + product)
    rows[~shown] = 0
    blank = torch.zeros(product.shape)
    return ProductBatch(week, customer_batch(week, customer, shown), customer, product, blank, blank, rows)


def requests(week: Week) -> dict[str, torch.Tensor]:
    """The same as requests at the moment of the cutoff."""
    snapshot = week.snapshot
    customer = np.append(snapshot.customer_id, contract.ANONYMOUS)
    rows = customer.size
    values = {
        contract.CUSTOMER_ID: customer[:, None],
        contract.PRODUCT_ID: np.tile(snapshot.product_id, (rows, 1)),
        contract.CATEGORY_ID: np.tile(snapshot.product_category, (rows, 1)),
        contract.OFFERS: np.tile(week.offer, (rows, 1, 1)),
        contract.RECENT_PRODUCT_ID: np.zeros((rows, contract.RECENT)),
        contract.RECENT_AGE: np.zeros((rows, contract.RECENT)),
        contract.CONTEXTS: np.tile(np.array([snapshot.cutoff, 0]), (rows, 1)),
    }
    return {spec.name: torch.from_numpy(np.ascontiguousarray(value, spec.dtype)) for spec, value in values.items()}


def served(week: Week, trained: Trained, asked: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """What the release's models say, by the contract's names."""
    models = assemble(week.snapshot, trained)
    made: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for model in contract.ONNX_MODELS:
            said = models[model.name](*(asked[spec.name] for spec in model.inputs))
            outputs = said if isinstance(said, tuple) else (said,)
            made |= {spec.name: out.numpy() for spec, out in zip(model.outputs, outputs, strict=True)}
    return made


def test_the_served_filter_says_what_the_trained_net_says(week: Week, trained: Trained) -> None:
    made = served(week, trained, requests(week))
    with torch.no_grad():
        said = preference_said(trained.preference, everything(week)).numpy()
    for column, name in enumerate(("preference", "affinity_weight", "demand_weight")):
        np.testing.assert_allclose(made[name], said[:, column], atol=1e-4, err_msg=name)
        assert said[:, column].std() > 1e-3  # an answer that is the same for all could be mixed up unseen
    assert np.abs(said[:, 1] - said[:, 2]).max() > 1e-2


def test_the_served_score_is_the_blend_that_was_trained(week: Week, trained: Trained) -> None:
    asked = requests(week)
    made = {name: tensor.numpy() for name, tensor in asked.items()} | served(week, trained, asked)
    made["boost"] = np.zeros_like(made["preference"])
    settings = RankingSettings(category_discount=1)
    ranked = rank(**{spec.name: made[spec.name] for spec in contract.RANKING.inputs}, settings=settings)
    assert ranked.score is not None
    assert ranked.component is not None
    by_id = np.argsort(ranked.product_id, axis=1)
    batch, others = everything(week), signals(week, trained.affinity, trained.demand)
    with torch.no_grad():
        logits = blended_logits(trained.preference, batch, others).numpy()
        parts = torch.stack(components(trained.preference, batch, others), 2).numpy()
    np.testing.assert_allclose(np.take_along_axis(ranked.score, by_id, 1), logits, atol=2e-4)
    np.testing.assert_allclose(np.take_along_axis(ranked.component, by_id[..., None], 1), parts, atol=2e-4)


def test_a_product_first_bought_since_the_cutoff_has_the_mailers_share_of_the_product(
    week: Week, trained: Trained
) -> None:
    """Events don't say whether their product was in the mailer."""
    asked = requests(week)
    for row in range(len(asked["recent_product_id"])):
        asked["recent_product_id"][row, 0] = int(week.snapshot.product_id[3])
    net, seen = trained.preference, []
    handle = net.register_forward_pre_hook(lambda _net, given: seen.append(given[1]))
    served(week, trained, asked)
    handle.remove()
    (mailer,) = seen
    own = everything(week)
    bought = own.rows[..., TRIPS] > 0
    share = own.rows[..., ROW.index("mailer")] / 255
    usual = week.snapshot.product_feature[3, MAILER]
    assert usual > 0.05
    for row in range(len(bought)):
        expected = share[row].copy()
        if not bought[row, 3]:
            expected[3] = usual
        np.testing.assert_allclose(mailer[row, 0], expected, atol=2e-3)
    assert not bought[:, 3].all()
    assert bought[:, 3].any()


def loss_of(logits: np.ndarray, batch: ProductBatch, weight: np.ndarray) -> float:
    """``preference_loss`` in a plain loop."""
    total = 0.0
    for row in range(len(logits)):
        columns = range(logits.shape[1])
        for c in columns:
            chance = 1 / (1 + np.exp(-logits[row, c]))
            miss = np.log(chance) if batch.label[row, c] == 1 else np.log(1 - chance)
            counts = 1.0 if batch.rows[row, c, TRIPS] > 0 else ELSEWHERE
            total -= weight[row] * batch.weight[row, c].item() * counts * miss / 20
        known = [c for c in columns if batch.rows[row, c, TRIPS] > 0 and batch.weight[row, c] > 0]
        again = [c for c in known if batch.label[row, c] == 1]
        everything = sum(np.exp(logits[row, c]) for c in known)
        total -= LISTWISE * sum(np.log(np.exp(logits[row, c]) / everything) for c in again) / max(len(again), 1)
    return total / len(logits)


def test_the_filters_loss_is_that_of_a_plain_loop(shop: Dataset) -> None:
    week, rng = open_week(shop, WEEK), np.random.default_rng(1)
    customer = np.arange(week.snapshot.customer_id.size)
    batch = product_batch(week, customer, rng.random(customer.size) > 0.3, rng)
    weight = rng.choice([1.0, 5.0], customer.size)
    logits = rng.normal(0, 3, batch.product.shape)
    loss = preference_loss(torch.from_numpy(logits), batch, torch.from_numpy(weight))
    assert loss.item() == pytest.approx(loss_of(logits, batch, weight), rel=1e-5)


def test_customers_who_stayed_away_count_in_full(shop: Dataset) -> None:
    week = open_week(shop, WEEK)
    there = np.unique(week.bought[:, 0])
    # A week of which only a few customers are left, so that some stay away.
    quiet = replace(week, bought=week.bought[np.isin(week.bought[:, 0], there[:3])])
    seen, weight = seen_of(quiet, np.random.default_rng(2))
    assert set(there[:3]) <= set(seen)
    assert weight.sum().item() == pytest.approx(week.snapshot.customer_id.size)
    assert seen.size < week.snapshot.customer_id.size
    assert set(np.unique(weight.numpy()[np.isin(seen, there[:3])])) == {1.0}
