"""When Elasticsearch's breaker opens and closes, and what people hear of it."""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.catalog.guard import FIRST_S, LONGEST_S, Guard, breaker_policy
from api.errors import CatalogDenied, CatalogRefused, CatalogUnavailable
from api.resilience.breaker import Permit, State

TIMEOUT = 1.0


class Bench:
    """A guard, and the time."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 5.0
        self.guard = Guard(breaker_policy(TIMEOUT), clock=lambda: self.now, rng=random.Random(seed))

    @property
    def state(self) -> State:
        return self.guard.breaker.tick()

    def permit(self) -> Permit:
        permit = self.guard.breaker.allow()
        assert permit is not None
        return permit

    def call(self, error: BaseException | None = None, *, took: float = 0.02) -> None:
        """One that ends well, or with ``error``."""
        permit = self.permit()
        with nullcontext() if error is None else pytest.raises(type(error)), self.guard.told(permit):
            self.now += took
            if error is not None:
                raise error
            permit.succeeded()

    def fail(self) -> None:
        """Until it is down."""
        while self.guard.up:
            self.call(CatalogUnavailable("gone"))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@given(st.integers(1, 2_000), st.integers())
def test_trials_come_at_growing_jittered_distances_that_stay_short(trials: int, seed: int) -> None:
    bench = Bench(seed)
    bench.fail()
    for number in range(trials):
        distance = bench.guard.not_before() - bench.now
        longest = min(LONGEST_S, FIRST_S * 2 ** min(number, 10))
        assert longest / 2 * 0.999 <= distance <= longest * 1.001
        bench.now = bench.guard.not_before()
        bench.call(CatalogUnavailable("gone"))
    bench.now = bench.guard.not_before()
    bench.call()
    assert bench.guard.up
    bench.fail()
    assert bench.guard.not_before() - bench.now <= FIRST_S * 1.001


def test_a_single_failure_is_no_outage_and_the_second_in_a_row_is(bench: Bench) -> None:
    for _ in range(3):
        bench.call(CatalogUnavailable("busy"))
        bench.call()
        bench.call()
    assert bench.guard.up
    bench.call(CatalogUnavailable("busy"))
    bench.call(CatalogDenied("no such key"))
    assert not bench.guard.up
    assert str(bench.guard.unavailable()) == "no such key"


def test_every_second_call_that_fails_is_an_outage_too(bench: Bench) -> None:
    for _ in range(5):
        assert bench.guard.up
        bench.call()
        bench.call(CatalogUnavailable("busy"))
    assert not bench.guard.up


def test_answers_that_take_their_time_are_no_outage(bench: Bench) -> None:
    many = [bench.permit() for _ in range(4)]
    bench.now += 20 * TIMEOUT  # pools of many pages
    assert bench.guard.up
    for permit in many:
        permit.succeeded()
    for _ in range(100):
        bench.call(took=TIMEOUT)
    assert bench.guard.up


@pytest.mark.parametrize("error", [CatalogRefused("no such field"), ZeroDivisionError(), asyncio.CancelledError()])
def test_what_concerns_one_question_alone_begins_no_outage_and_ends_none(bench: Bench, error: BaseException) -> None:
    for _ in range(100):
        bench.call(error)
    assert bench.guard.up
    bench.fail()
    bench.now = bench.guard.not_before()
    bench.call(error)
    assert bench.state is State.HALF_OPEN
    assert not bench.guard.breaker.refuses()  # the next may try
    assert str(bench.guard.unavailable()) == "gone"


def test_an_answer_to_a_question_from_before_an_outage_doesnt_end_it(bench: Bench) -> None:
    before = bench.permit()
    bench.fail()
    before.succeeded()
    assert not bench.guard.up
    bench.now = bench.guard.not_before()
    trial = bench.permit()
    assert bench.guard.breaker.refuses()
    assert bench.guard.not_before() - bench.now == pytest.approx(FIRST_S)  # another look, soon
    trial.succeeded()
    assert bench.guard.up


def test_a_trial_that_takes_long_makes_room_for_another(bench: Bench) -> None:
    bench.fail()
    bench.now = bench.guard.not_before()
    many_pages = bench.permit()
    bench.now += 2 * TIMEOUT
    assert bench.state is State.OPEN
    bench.now = bench.guard.not_before()
    bench.call()
    assert bench.guard.up
    many_pages.succeeded()
    assert bench.guard.up


def test_people_hear_once_that_an_outage_begins_and_why_and_once_that_it_ends(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.fail()
    for _ in range(10):
        bench.now = bench.guard.not_before()
        bench.call(CatalogUnavailable("still gone"))
    bench.now = bench.guard.not_before()
    bench.call()
    begins, ends = (record.getMessage() for record in caplog.records)
    assert begins == "gone; 2 calls in a row failed: pools are served as they are until it answers again"
    assert ends == "the source of candidates answers again"
