"""The autoscaler decides as Kubernetes documents it: the examples of its documentation, and what must hold always."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from racksort.dev.scaling.autoscaler import SYNC_S, Autoscaler, External, Measured, turns, wanted
from racksort.dev.scaling.rule import CPU, QUEUE, Behaviour, Policy, Rule


def asked(replicas: int, *values: float, missing: int = 0, unready: int = 0) -> int | None:
    """Where the target is 1."""
    return wanted(replicas, 1.0, Measured(values, missing, unready), missing_as=1.0)


def test_the_number_follows_the_ratio_rounded_up() -> None:
    assert asked(2, 2.0, 2.0) == 4
    assert asked(4, 0.5, 0.5, 0.5, 0.5) == 2
    assert asked(3, 1.2, 1.2, 1.2) == 4


def test_a_tenth_more_or_less_changes_nothing() -> None:
    assert asked(10, *[1.1] * 10) == asked(10, *[0.9] * 10) == 10
    assert asked(10, *[1.11] * 10) == 12


def test_pods_without_a_value_dampen_both_ways() -> None:
    assert asked(3, 2.0, 2.0, missing=1) == 4  # counts as 0: else 6
    assert asked(3, 0.4, 0.4, missing=1) == 2  # counts as 1: else 1
    assert asked(4, 1.2, 1.2, 1.2, missing=1) == 4  # would turn the direction


def test_pods_that_are_starting_dampen_growth_alone() -> None:
    assert asked(3, 2.0, 2.0, unready=1) == 4
    assert asked(3, 0.4, 0.4, unready=1) == 1


def test_nothing_is_asked_for_where_nothing_is_known() -> None:
    assert asked(3, missing=3) is None
    assert wanted(3, 1.0, External(None, 3), missing_as=1.0) is None


def test_an_external_metric_counts_the_pods_that_are_ready() -> None:
    assert wanted(6, 0.5, External(1.0, 3), missing_as=1.0) == 6
    assert wanted(6, 0.5, External(0.54, 3), missing_as=1.0) == 6


def rule(
    *, least: int = 1, most: int = 100, up: Behaviour | None = None, down: Behaviour | None = None, metrics: int = 1
) -> Rule:
    free = Behaviour(0, (Policy("Percent", 10_000, 15),))
    targets = ((QUEUE, 1.0), (CPU, 1.0))[:metrics]
    return Rule(least, most, targets, up or free, down or Behaviour(0, (Policy("Percent", 100, 15),)))


def path(scaler: Autoscaler, replicas: int, values: Sequence[float]) -> list[int]:
    """Numbers of pods, one for each decision, where every pod has the same value."""
    numbers = [replicas]
    for number, value in enumerate(values):
        numbers.append(scaler.decide(number * SYNC_S, numbers[-1], {QUEUE: Measured([value] * numbers[-1])}))
    return numbers


def test_the_largest_of_several_metrics_counts() -> None:
    scaler = Autoscaler(rule(metrics=2))
    assert scaler.decide(0, 4, {QUEUE: Measured([0.5] * 4), CPU: Measured([1.5] * 4)}) == 6


def test_nothing_is_taken_away_while_a_metric_is_unknown() -> None:
    scaler = Autoscaler(rule(metrics=2))
    assert scaler.decide(0, 4, {QUEUE: Measured([0.5] * 4), CPU: Measured([])}) == 4
    assert scaler.decide(15, 4, {QUEUE: Measured([2.0] * 4), CPU: Measured([])}) == 8


def test_the_highest_recommendation_of_the_window_is_followed_downwards() -> None:
    scaler = Autoscaler(rule(down=Behaviour(60, (Policy("Percent", 100, 15),))))
    assert path(scaler, 10, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5]) == [10, 10, 10, 10, 10, 5, 5]


def test_the_policy_that_moves_furthest_counts() -> None:
    down = Behaviour(0, (Policy("Pods", 4, 60), Policy("Percent", 10, 60)))
    scaler = Autoscaler(rule(down=down))
    numbers = path(scaler, 80, [0.01] * 60)[1::4]
    assert numbers[:3] == [72, 64, 57]  # the documentation's: 8 of 80; 10 % of 72 is 7.2, rounded up
    assert numbers[6:9] == [36, 32, 28]  # under 40 four pods are more than a tenth


def test_the_bounds_are_kept() -> None:
    scaler = Autoscaler(rule(least=3, most=12))
    assert path(scaler, 6, [50.0, 0.01]) == [6, 12, 3]


@given(st.lists(st.floats(0.05, 5.0), min_size=1, max_size=60), st.sampled_from([0, 60, 300]))
def test_policies_and_windows_hold_for_any_values(values: list[float], window_s: int) -> None:
    doubling = Behaviour(0, (Policy("Percent", 100, 30),))
    one = Behaviour(window_s, (Policy("Pods", 1, 120),))
    numbers = path(Autoscaler(rule(least=3, most=40, up=doubling, down=one)), 6, values)
    assert all(3 <= each <= 40 for each in numbers)
    recommended = [asked(each, *[value] * each) or 0 for each, value in zip(numbers, values, strict=False)]
    for at in range(1, len(numbers)):
        before = numbers[at - 1]
        assert numbers[at] <= max(before, 2 * numbers[max(0, at - 2)])  # since 30 s ago
        assert numbers[at] >= min(before, numbers[max(0, at - 8)] - 1)  # since 120 s ago
        if numbers[at] < before:
            assert numbers[at] >= min(40, max(recommended[max(0, at - max(1, window_s // 15)) : at]))


def test_turns_count_directions_not_steps() -> None:
    assert turns([3, 3, 4, 6, 6, 8]) == 0
    assert turns([3, 6, 5, 4, 4, 5, 3]) == 3
