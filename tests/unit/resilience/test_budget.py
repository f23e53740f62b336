from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.resilience.budget import BudgetPolicy, Budgets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(*, queue_s: float = 0.0, call_s: float = 0.005, lag_s: float = 0.0, calls: int = 50) -> Budgets:
    """Budgets that have seen such calls for a while."""
    clock = Clock()
    budgets = Budgets(BudgetPolicy(), clock)
    for _ in range(calls):
        budgets.took(queue_s, call_s)
        budgets.lagged(lag_s)
    clock.now += BudgetPolicy().window_s
    return budgets


seconds = st.floats(0.0, 30.0)


@given(st.floats(0.001, 60.0), seconds, seconds, seconds)
def test_moments_are_in_order_and_every_stage_keeps_something(
    total: float, queue: float, call: float, lag: float
) -> None:
    budget = measured(queue_s=queue, call_s=call, lag_s=lag).of(total)
    assert budget.arrived < budget.pool_until < budget.answer_from < budget.deadline
    assert budget.arrived < budget.send_until < budget.answer_from
    assert budget.total_s == pytest.approx(total)


def test_candidates_are_waited_for_as_long_as_the_ranking_does_not_need() -> None:
    quick, slow = measured(call_s=0.005).of(0.05), measured(call_s=0.025).of(0.05)
    assert quick.pool_until - quick.arrived == pytest.approx(0.05 - 0.001 - 0.005, abs=0.0015)
    assert slow.pool_until - slow.arrived == pytest.approx(0.05 - 0.001 - 0.025, abs=0.006)


def test_however_slow_the_ranking_was_something_is_still_sent() -> None:
    """Else nothing would be measured any more, and it would stay so for ever."""
    budget = measured(call_s=10.0).of(0.05)
    assert budget.send_until - budget.arrived >= 0.25 * 0.05


def test_what_the_loop_is_late_is_kept_back_for_the_answer() -> None:
    calm, late = measured(lag_s=0.0).of(0.05), measured(lag_s=0.003).of(0.06)
    assert calm.deadline - calm.answer_from == pytest.approx(0.001)
    assert 0.009 <= late.deadline - late.answer_from <= 0.012
    hopeless = measured(lag_s=5.0).of(0.05)
    assert hopeless.deadline - hopeless.answer_from == pytest.approx(0.2 * 0.05)


def test_a_stage_gets_its_time_back_when_another_is_quick_again() -> None:
    clock = Clock()
    budgets = Budgets(BudgetPolicy(), clock)
    waits = []
    for call_s in [0.03] * 4 + [0.004] * 4:
        for _ in range(20):
            budgets.took(0.0, call_s)
        clock.now += BudgetPolicy().window_s
        waits.append(budgets.of(0.05).pool_until - clock.now)
    assert max(waits[2:4]) < 0.02
    assert min(waits[-2:]) > 0.04


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"window_s": 0.0}, "window_s"),
        ({"ranking_percentile": 1.5}, "ranking_percentile"),
        ({"call_percentile": float("nan")}, "call_percentile"),
        ({"most_call": 1.0}, "most_call"),
        ({"most_ranking": 0.9, "most_answer": 0.1}, "most_answer"),
        ({"unknown_call_s": -1.0}, "unknown_call_s"),
    ],
)
def test_shares_that_make_no_sense_are_refused(change: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BudgetPolicy(**change)
