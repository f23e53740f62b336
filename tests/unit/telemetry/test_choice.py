from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.telemetry.choice import Choice
from api.telemetry.context import Parent, traceparent

Headers = list[tuple[bytes, bytes]]


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def caller(*, sampled: bool) -> Headers:
    header = traceparent(7, 9).encode()
    return [(b"host", b"x"), (b"traceparent", header if sampled else header[:-2] + b"00")]


def choice(share: float, per_s: float, clock: Clock | None = None, seed: int = 1) -> Choice:
    return Choice(share, per_s, clock=clock or Clock(), rng=random.Random(seed))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_the_share_is_what_was_asked_for(share: float) -> None:
    chosen = choice(share, 0.0)
    taken = sum(chosen.takes([])[0] for _ in range(20_000))
    spread = 5 * (share * (1 - share) * 20_000) ** 0.5
    assert abs(taken - share * 20_000) <= spread
    assert chosen.made.by_share == taken


def test_a_callers_decision_holds_either_way() -> None:
    never, always = choice(0.0, 10.0), choice(1.0, 10.0)
    assert never.takes(caller(sampled=True)) == (True, Parent(7, 9, sampled=True))
    assert always.takes(caller(sampled=False)) == (False, None)
    assert never.takes([(b"traceparent", b"nonsense")]) == (False, None)


def test_two_parents_are_none() -> None:
    both = caller(sampled=True) + caller(sampled=True)
    assert choice(0.0, 10.0).takes(both) == (False, None)
    assert choice(1.0, 10.0).takes(both) == (True, None)


@given(
    st.floats(0, 50),
    st.lists(st.tuples(st.floats(0, 0.5), st.booleans()), max_size=200),
)
def test_callers_cant_have_more_than_their_rate(per_s: float, requests: list[tuple[float, bool]]) -> None:
    """In no span of time more than a second's worth beyond the rate, whatever comes."""
    clock = Clock()
    chosen = choice(0.0, per_s, clock)
    taken_at = []
    for pause, sampled in requests:
        clock.now += pause
        if chosen.takes(caller(sampled=sampled))[0]:
            assert sampled
            taken_at.append(clock.now)
    for first, began in enumerate(taken_at):
        for last in range(first, len(taken_at)):
            most = max(1.0, per_s) + (taken_at[last] - began) * per_s
            assert last - first + 1 <= most + 1e-6
    if per_s == 0:
        assert not taken_at
    sampled = sum(each for _, each in requests)
    assert chosen.made.by_parent == len(taken_at)
    assert chosen.made.parents_over_limit == sampled - len(taken_at)


def test_beyond_the_rate_a_request_has_the_chance_of_any_other() -> None:
    chosen = choice(0.25, 1.0)
    taken = [chosen.takes(caller(sampled=True)) for _ in range(8_000)]
    assert 1_700 < sum(each for each, _ in taken) < 2_300
    assert all(parent is not None for each, parent in taken if each)  # it stays the caller's trace
    assert chosen.made.by_parent == 1
