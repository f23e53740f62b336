from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ensemble.data.dataset import Dataset
from ensemble.models.layers import Scorer
from ensemble.training import fit
from ensemble.training.examples import open_week
from ensemble.training.scaling import ScaledScorer, Scales, scaled

FEATURES, CUSTOMER = 5, 3


def some_features(seed: int, rows: int = 4, candidates: int = 6) -> tuple[list[Tensor], Tensor]:
    """Of candidates, in two parts, and of customers: far from zero, and of very different sizes."""
    torch.manual_seed(seed)
    size = torch.tensor([1e-2, 1.0, 30.0, 5.0, 0.3])[:, None]
    seen = torch.randn(rows, FEATURES, candidates) * size + 3 * size
    return [seen[:, :2], seen[:, 2:]], torch.randn(rows, CUSTOMER, 1) * 4 - 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_a_scorer_answers_what_it_is_given_as_it_answered_the_scaled(seed: int, outputs: int) -> None:
    candidate, customer = some_features(seed)
    scorer = Scorer(FEATURES, CUSTOMER, 8, tuple(range(outputs)))
    nn.init.normal_(scorer.second.weight)
    net = SimpleNamespace(scorer=scorer)
    with torch.no_grad(), scaled(net, lambda: net.scorer(candidate, customer)):
        assert isinstance(net.scorer, ScaledScorer)
        expected = net.scorer(candidate, customer)
        assert not torch.allclose(expected, scorer(candidate, customer), rtol=1e-2)
    assert net.scorer is scorer
    with torch.no_grad():
        torch.testing.assert_close(scorer(candidate, customer), expected, rtol=1e-3, atol=1e-3)


def test_features_are_of_unit_size_but_those_that_say_nothing_or_are_learnt() -> None:
    rows = torch.from_numpy(np.random.default_rng(1).normal((5, 0, -40, 7), (2, 1, 300, 3), (10_000, 4))).float()
    rows[:, 1] = 1.0
    scales = Scales.of(rows, learnt=1)
    unit = (rows - scales.mean) / scales.spread
    assert unit[:, [0, 2]].mean(0).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert unit[:, [0, 2]].std(0).tolist() == pytest.approx([1, 1], abs=1e-3)
    assert torch.equal(unit[:, [1, 3]], rows[:, [1, 3]])


def test_a_single_row_says_nothing_of_sizes() -> None:
    scales = Scales.of(torch.tensor([[3.0, -1.0]]))
    assert scales.mean.tolist() == [0, 0]
    assert scales.spread.tolist() == [1, 1]


def test_a_failure_leaves_the_net_with_its_own_scorer() -> None:
    candidate, customer = some_features(1)
    net = SimpleNamespace(scorer=Scorer(FEATURES, CUSTOMER, 8))
    plain = net.scorer
    with pytest.raises(ZeroDivisionError), scaled(net, lambda: net.scorer(candidate, customer)):
        _ = 1 / 0
    assert net.scorer is plain
    assert not plain._forward_pre_hooks


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_weights_are_averaged_over_the_last_steps(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uphill at a constant slope, an average of the last steps lies behind the last one, the more the longer it is."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    passed: list[float] = []

    def losses(_week: int) -> list[Callable[[], Tensor]]:
        def loss() -> Tensor:
            passed.append(net.weight.item())
            return -net.weight.sum()

        return [loss, loss]

    monkeypatch.setattr(fit, "AVERAGED", share)
    fit._fit(net, range(5), losses, 10, 1e-2, np.random.default_rng(1), lambda _: None)
    # An average that forgets by halves has its middle at its horizon, in steps before the last.
    behind = net.weight.item() < np.array(passed)
    assert behind.any()
    assert net.weight.item() == pytest.approx(np.mean(passed[-int(2 * share * 100) :]), rel=0.15)


def test_what_is_never_bought_weighs_less_in_the_loss_and_as_much_in_the_probability(
    shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of product keeps the probability that fits it best, however much the kind weighs."""
    week, rng = open_week(shop, 11), np.random.default_rng(1)
    customer = np.arange(week.snapshot.customer_id.size)
    batch = fit.product_batch(week, customer, np.ones(customer.size, bool), rng)
    bought = torch.from_numpy(batch.rows[:, :, fit.TRIPS] > 0).float()
    found = []
    monkeypatch.setattr(fit, "LISTWISE", 0.0)
    for weight in (1.0, 0.1):
        monkeypatch.setattr(fit, "ELSEWHERE", weight)
        logit = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.LBFGS([logit], max_iter=100, line_search_fn="strong_wolfe")

        def loss(logit: Tensor = logit, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = fit.preference_loss(logit[0] * bought + logit[1] * (1 - bought), batch, torch.ones(customer.size))
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        found.append(logit.detach())
    assert found[0][0] > found[0][1]
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-2)
