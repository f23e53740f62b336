from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from api.batcher import Answer, Batcher
from api.errors import EnsembleRejected, EnsembleTimeout, EnsembleUnavailable, QueueFull
from api.metrics import Metrics
from api.telemetry.span import SpanContext
from api.telemetry.trace import Call, Trace
from api.tensors import Batch, Candidates
from tests.fakes.ensemble import FakeEnsemble, fake_order
from tests.unit.api.shelf import make_pool, make_row
from tests.unit.api.virtual_time import VirtualLoop

POOL = make_pool(10)
SMALL = Candidates.of(POOL)
LARGE = Candidates.of(make_pool(1_000))


CELLS = ("candidates", "padding")


class World:
    """A batcher over a fake, in virtual time."""

    def __init__(self, **limits: int) -> None:
        self.loop = VirtualLoop()
        self.metrics = Metrics()
        self.ensemble = FakeEnsemble()
        self.limits = {"max_calls": 2, "max_waiting": 1_000, **limits}
        self.batcher = self.loop.run_until_complete(self._make())

    async def _make(self) -> Batcher:
        return Batcher(self.ensemble, self.metrics, clock=self.loop.time, **self.limits)

    def submit(
        self, *customers: int, candidates: Candidates = SMALL, patience: float = 1.0
    ) -> list[asyncio.Future[Answer]]:
        return [
            self.batcher.submit(make_row(customer, candidates), self.loop.time() + patience) for customer in customers
        ]

    def sizes(self) -> list[int]:
        return [len(batch.rows) for batch in self.ensemble.calls]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.ensemble.gate.set()
    world.loop.run_until_complete(world.batcher.close())
    world.loop.close()


def test_requests_of_one_turn_travel_together_in_full_batches(world: World) -> None:
    futures = world.submit(*range(1, 201))
    world.loop.advance()
    assert world.sizes() == [64, 64, 64, 8]
    assert world.ensemble.most_in_flight == 2
    for customer, future in enumerate(futures, start=1):
        expected = fake_order(customer, POOL.product_id, POOL.boost)
        assert future.result().product_id[:10].tolist() == expected.tolist()


def test_rows_of_a_pool_travel_next_to_each_other_in_their_order(world: World) -> None:
    other = Candidates.of(make_pool(10))
    futures = [world.submit(customer, candidates=(SMALL, other)[customer % 2])[0] for customer in range(1, 8)]
    world.loop.advance()
    (batch,) = world.ensemble.calls
    assert customers(batch) == [1, 3, 5, 7, 2, 4, 6]
    for customer, future in enumerate(futures, start=1):
        expected = fake_order(customer, POOL.product_id, POOL.boost)
        assert future.result().product_id[:10].tolist() == expected.tolist()


def test_a_call_belongs_to_the_traced_request_that_has_waited_longest_whatever_its_pool(world: World) -> None:
    other = Candidates.of(make_pool(10))
    world.ensemble.gate.clear()
    for customer in (1, 2):  # which take the slots
        world.submit(customer)
        world.loop.advance()
    world.submit(3)
    for customer, candidates in ((4, other), (5, SMALL)):
        world.loop.advance(0.01)
        world.batcher.submit(
            make_row(customer, candidates), world.loop.time() + 1.0, trace=make_trace(customer, world.loop.time)
        )
    world.ensemble.gate.set()
    world.loop.advance()
    last = world.ensemble.calls[-1]
    assert customers(last) == [3, 5, 4]
    ((_, parent), *_) = last.metadata
    assert int(parent.split("-")[1], 16) == 4


def customers(batch: Batch) -> list[int]:
    """Whose rows a call carries."""
    return [int.from_bytes(row.customer_id, "little") for row in batch.rows]


def make_trace(number: int, clock: Callable[[], float]) -> Trace:
    """Of a request whose trace has this number."""

    class Ids:
        def new_id(self) -> int:
            return 1

        def called(self, call: Call) -> None:
            pass

        def ended(self, trace: Trace) -> None:
            pass

    return Trace(Ids(), SpanContext(number, number), None, "", b"", clock=clock, unix_ns=0)


def test_no_timer_delays_a_lone_request(world: World) -> None:
    (future,) = world.submit(7)
    world.loop.advance(0.0)
    assert future.done()
    assert world.loop.time() == 0.0


def test_while_all_slots_are_taken_batches_grow(world: World) -> None:
    world.ensemble.gate.clear()
    for customer in range(1, 31):
        world.submit(customer)
        world.loop.advance()
    assert world.sizes() == [1, 1]
    world.ensemble.gate.set()
    world.loop.advance()
    assert world.sizes() == [1, 1, 28]


def test_the_bucket_whose_head_waited_longest_goes_first(world: World) -> None:
    world.ensemble.gate.clear()
    world.submit(1)
    world.loop.advance()
    world.submit(2)
    world.loop.advance()
    world.submit(3, candidates=LARGE)
    world.loop.advance(0.01)
    world.submit(*range(4, 60))
    world.loop.advance(0.01)
    world.ensemble.gate.set()
    world.loop.advance()
    assert [batch.bucket for batch in world.ensemble.calls] == [64, 64, 1024, 64]


def test_few_rows_of_other_buckets_come_along(world: World) -> None:
    world.ensemble.gate.clear()
    world.submit(1)
    world.loop.advance()
    world.submit(2)
    world.loop.advance()  # both slots are taken
    (large,) = world.submit(3, candidates=LARGE)
    world.loop.advance(0.01)
    small = world.submit(*range(4, 9))
    world.ensemble.gate.set()
    world.loop.advance()
    assert [(batch.bucket, len(batch.rows)) for batch in world.ensemble.calls] == [(64, 1), (64, 1), (1024, 6)]
    expected = fake_order(4, POOL.product_id, POOL.boost)
    answer = small[0].result().product_id
    assert answer[:10].tolist() == expected.tolist()
    assert not answer[10:].any()
    assert np.count_nonzero(large.result().product_id) == 1_000
    places = {of: world.metrics.registry.get_sample_value("racksort_cells_total", {"of": of}) for of in CELLS}
    # Ten candidates in each small row, padded to 64 when alone, and to the width of the large one beside it.
    assert places == {"candidates": 7 * 10 + 1_000, "padding": 2 * 54 + 5 * 1_014 + 24}


def test_a_full_queue_refuses() -> None:
    world = World(max_waiting=70)
    world.ensemble.gate.clear()
    world.submit(*range(1, 71))
    with pytest.raises(QueueFull):
        world.submit(71)
    world.loop.advance()  # two slots take 64 + 6
    world.submit(*range(72, 142))
    with pytest.raises(QueueFull):
        world.submit(142)
    world.ensemble.gate.set()
    world.loop.advance()
    assert world.batcher._waiting == 0
    world.loop.close()


def test_a_deadline_ends_the_waiting_for_queue_and_call_alike(world: World) -> None:
    world.ensemble.gate.clear()
    called = world.submit(1, patience=0.3)
    world.loop.advance()
    called += world.submit(2, candidates=LARGE, patience=0.3)
    world.loop.advance()
    queued = world.submit(3, patience=0.3)
    patient = world.submit(4, patience=0.5)
    world.loop.advance(0.29)
    assert not any(future.done() for future in [*called, *queued])
    world.loop.advance(0.02)
    for future in [*called, *queued]:
        assert isinstance(future.exception(), EnsembleTimeout)
    world.ensemble.gate.set()
    world.loop.advance()
    assert patient[0].result()
    sent = [row for batch in world.ensemble.calls for row in batch.rows]
    assert len(sent) == 3, "the row that expired in the queue was sent all the same"


def test_an_earlier_deadline_overtakes_a_later_one(world: World) -> None:
    world.ensemble.gate.clear()
    (late,) = world.submit(1, patience=5.0)
    (early,) = world.submit(2, patience=0.1)
    world.loop.advance(0.2)
    assert isinstance(early.exception(), EnsembleTimeout)
    assert not late.done()
    world.loop.advance(5.0)
    assert isinstance(late.exception(), EnsembleTimeout)


def test_a_server_that_hangs_refuses_at_once_until_a_call_ends(world: World) -> None:
    world.ensemble.gate.clear()
    world.submit(1, patience=0.3)
    world.loop.advance()
    world.submit(2, patience=0.4)
    world.loop.advance(0.39)
    (patient,) = world.submit(3, patience=0.5)
    world.loop.advance(0.02)
    with pytest.raises(EnsembleTimeout):
        world.submit(4)
    assert not patient.done()
    world.ensemble.gate.set()
    world.loop.advance()
    assert patient.result()
    (future,) = world.submit(5)
    world.loop.advance()
    assert future.result()


def test_a_call_hangs_no_earlier_than_its_rows_say(world: World) -> None:
    """Whoever waits 1 ms doesn't make the server one that hangs."""
    world.ensemble.gate.clear()
    for customer in (1, 2):
        now = world.loop.time()
        world.batcher.submit(make_row(customer, SMALL), now + 0.001, hung_from=now + 0.3)
        world.loop.advance()
    world.loop.advance(0.29)
    (patient,) = world.submit(3)
    world.loop.advance(0.02)
    with pytest.raises(EnsembleTimeout):
        world.submit(4)
    world.ensemble.gate.set()
    world.loop.advance()
    assert patient.result()


def test_a_free_slot_is_used_even_beside_a_call_that_hangs(world: World) -> None:
    world.ensemble.gate.clear()
    world.submit(1, patience=0.3)
    world.loop.advance(1.0)
    (future,) = world.submit(2)
    world.ensemble.gate.set()
    world.loop.advance()
    assert future.result()


def test_abandoned_rows_are_skipped(world: World) -> None:
    world.ensemble.gate.clear()
    world.submit(1)
    world.loop.advance()
    world.submit(2)
    world.loop.advance()
    futures = world.submit(3, 4, 5)
    futures[0].cancel()
    futures[2].cancel()
    world.ensemble.gate.set()
    world.loop.advance()
    assert world.sizes() == [1, 1, 1]
    assert futures[1].result()
    assert world.metrics.registry.get_sample_value("racksort_rows_abandoned_total") == 2


def test_a_failed_call_fails_its_own_rows_with_errors_of_their_own(world: World) -> None:
    world.ensemble.failure = EnsembleUnavailable("no server")
    first, second = world.submit(1, 2)
    world.loop.advance()
    assert isinstance(first.exception(), EnsembleUnavailable)
    assert first.exception() is not second.exception()
    world.ensemble.failure = None
    (third,) = world.submit(3)
    world.loop.advance()
    assert third.result()


@pytest.mark.parametrize("guilty", [1, 31, 32, 64])
def test_the_row_that_gets_a_call_rejected_fails_alone(world: World, guilty: int) -> None:
    world.ensemble.poison = {guilty}
    futures = world.submit(*range(1, 65))
    world.loop.advance()
    for customer, future in enumerate(futures, start=1):
        if customer == guilty:
            assert isinstance(future.exception(), EnsembleRejected)
        else:
            assert (
                future.result().product_id[:10].tolist() == fake_order(customer, POOL.product_id, POOL.boost).tolist()
            )
    assert len(world.ensemble.calls) == 1 + 2 * 6


def test_a_server_that_rejects_everything_isnt_asked_again_and_again(world: World) -> None:
    world.ensemble.poison = range(1, 65)
    futures = world.submit(*range(1, 65))
    world.loop.advance()
    assert all(isinstance(future.exception(), EnsembleRejected) for future in futures)
    assert world.sizes() == [64, 32, 32]


def test_a_mistake_of_ours_reaches_every_waiter_and_frees_the_slot(world: World) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError

    original, world.ensemble.rank = world.ensemble.rank, broken  # type: ignore[method-assign,assignment]
    futures = world.submit(1, 2)
    world.loop.advance()
    assert all(isinstance(future.exception(), ZeroDivisionError) for future in futures)
    world.ensemble.rank = original  # type: ignore[method-assign]
    (future,) = world.submit(3)
    world.loop.advance()
    assert future.result()


def test_closing_lets_calls_end_and_fails_the_rest(world: World) -> None:
    world.ensemble.gate.clear()
    called = world.submit(1)
    world.loop.advance()
    called += world.submit(2)
    world.loop.advance()
    (queued,) = world.submit(3)
    closing = world.loop.create_task(world.batcher.close())
    world.loop.advance()
    assert isinstance(queued.exception(), EnsembleUnavailable)
    assert not closing.done()
    world.ensemble.gate.set()
    world.loop.advance()
    assert closing.done()
    assert all(future.result() for future in called)
    with pytest.raises(EnsembleUnavailable):
        world.submit(4)
