"""The batcher under every order of events that hypothesis can think of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from api.batcher import SPARED, Answer, Batcher
from api.ensemble_client import Ranked
from api.errors import CallerGone, EnsembleRejected, EnsembleTimeout, EnsembleUnavailable, QueueFull
from api.metrics import Metrics
from api.tensors import Batch, Candidates
from ensemble import contract
from tests.fakes.ensemble import FakeEnsemble, fake_order
from tests.unit.api.shelf import make_pool, make_row
from tests.unit.api.virtual_time import VirtualLoop

MAX_CALLS = 2
MAX_WAITING = 150
POOLS = (make_pool(20), make_pool(100, first=500), make_pool(64, first=900), make_pool(1_000, first=2_000))
CANDIDATES = tuple(Candidates.of(pool) for pool in POOLS)


@dataclass
class Request:
    customer: int
    pool: int
    deadline: float
    future: asyncio.Future[Answer]
    poison: bool
    gone: bool = False
    sent: bool = False
    given_up: bool = False
    """Cancelled or gone or expired before it was sent."""


class SteppedEnsemble(FakeEnsemble):
    """A fake whose calls end one by one, when the machine says so."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[Batch, asyncio.Future[Exception | None]]] = []
        self.fresh: list[Batch] = []

    async def rank(self, batch: Batch) -> Ranked:
        end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        entry = (batch, end)
        self.open.append(entry)
        self.fresh.append(batch)
        try:
            if (failure := await end) is not None:
                raise failure
        finally:
            self.open.remove(entry)
        return self._rank(batch)


class BatcherMachine(RuleBasedStateMachine):
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.ensemble = SteppedEnsemble()
        self.batcher = self.loop.run_until_complete(self._make())
        self.by_customer: dict[int, Request] = {}
        self.poisoned: set[int] = set()
        self.ensemble.poison = self.poisoned
        self.last_sent = dict.fromkeys(contract.BUCKETS, 0)

    async def _make(self) -> Batcher:
        return Batcher(self.ensemble, Metrics(), max_calls=MAX_CALLS, max_waiting=MAX_WAITING, clock=self.loop.time)

    def _settle(self, seconds: float = 0.0) -> None:
        self.loop.advance(seconds)
        for batch in self.ensemble.fresh:
            self._check_batch(batch)
        self.ensemble.fresh.clear()

    def _check_batch(self, batch: Batch) -> None:
        customers = batch.tensors()[contract.CUSTOMER_ID.name][:, 0].tolist()
        assert 1 <= len(customers) <= contract.MAX_BATCH_SIZE
        buckets = [row.candidates.bucket for row in batch.rows]
        assert batch.bucket == max(buckets)
        apart = [bucket for bucket in set(buckets) if bucket != buckets[0]]
        assert sum(batch.bucket - bucket for bucket in buckets) <= SPARED * len(apart), "padding costs more than calls"
        pools = [id(row.candidates) for row in batch.rows]
        assert len(set(pools)) == 1 + sum(one != other for one, other in pairwise(pools)), "a pool's rows lie apart"
        sent = dict(self.last_sent)
        in_pool = dict.fromkeys(pools, 0)
        for customer, bucket, pool in zip(customers, buckets, pools, strict=True):
            request = self.by_customer[customer]
            assert not request.given_up, "an abandoned row was sent"
            if not request.sent:  # a row is sent again only to find a rejected call's guilty one
                assert customer > max(self.last_sent[bucket], in_pool[pool]), "a bucket's rows overtook each other"
                in_pool[pool] = customer
                sent[bucket] = max(sent[bucket], customer)
                request.sent = True
        self.last_sent = sent

    @rule(target=requests, pool=st.integers(0, len(POOLS) - 1), patience=st.sampled_from([0.5, 2.0]), bad=st.booleans())
    def submit(self, pool: int, patience: float, *, bad: bool) -> Request | None:
        return self._submit(pool, patience, bad=bad)

    @rule(pool=st.integers(0, len(POOLS) - 1), count=st.integers(1, 100))
    def submit_many(self, pool: int, count: int) -> None:
        for _ in range(count):
            self._submit(pool, 1.0, bad=False)

    def _submit(self, pool: int, patience: float, *, bad: bool) -> Request | None:
        customer = len(self.by_customer) + 1
        row = make_row(customer, CANDIDATES[pool])
        deadline = self.loop.time() + patience
        hung = self._all_slots_taken() and all(
            self.by_customer[each].deadline <= self.loop.time() for each in self._in_calls()
        )
        try:
            future = self.batcher.submit(row, deadline, lambda: self.by_customer[customer].gone)
        except EnsembleTimeout:
            assert hung, "refused although a call may still answer in time"
            return None
        except QueueFull:
            waiting = [each for each in self.by_customer.values() if not each.sent]
            assert len(waiting) >= MAX_WAITING, "refused although there was room"
            return None
        if not self.poisoned:  # of a rejected call's rows only some are in the ensemble's hands at a time
            assert not hung, "accepted although no slot can be free in time"
        self.by_customer[customer] = request = Request(customer, pool, deadline, future, poison=bad)
        if bad:
            self.poisoned.add(customer)
        return request

    @rule()
    def turn(self) -> None:
        self._settle()

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0]))
    def wait(self, seconds: float) -> None:
        for request in self.by_customer.values():
            due = request.deadline <= self.loop.time() + seconds
            request.given_up |= not request.sent and not request.future.done() and due and self._all_slots_taken()
        self._settle(seconds)
        for request in self.by_customer.values():
            if request.deadline <= self.loop.time():
                assert request.future.done(), "a request outlived its deadline"

    def _in_calls(self) -> list[int]:
        return [
            customer
            for batch, _ in self.ensemble.open
            for customer in batch.tensors()[contract.CUSTOMER_ID.name][:, 0].tolist()
        ]

    def _all_slots_taken(self) -> bool:
        return len(self.ensemble.open) == MAX_CALLS

    @rule(request=consumes(requests))
    def cancel(self, request: Request | None) -> None:
        if request is not None:
            request.given_up |= request.future.cancel() and not request.sent

    @rule(request=consumes(requests))
    def leave(self, request: Request | None) -> None:
        if request is not None:
            request.gone = True
            request.given_up |= not request.future.done() and not request.sent

    @precondition(lambda self: self.ensemble.open)
    @rule(data=st.data(), failure=st.sampled_from([None, None, EnsembleUnavailable, EnsembleTimeout]))
    def end_call(self, data: st.DataObject, failure: type[Exception] | None) -> None:
        _, end = data.draw(st.sampled_from(self.ensemble.open))
        end.set_result(None if failure is None else failure("scripted"))
        self._settle()

    @invariant()
    def bounded(self) -> None:
        assert len(self.ensemble.open) <= MAX_CALLS

    @invariant()
    def right_answers(self) -> None:
        for request in self.by_customer.values():
            future = request.future
            if not future.done() or future.cancelled():
                continue
            error = future.exception()
            if error is None:
                assert not request.poison
                pool = POOLS[request.pool]
                expected = fake_order(request.customer, pool.product_id, pool.boost)
                got = future.result().product_id
                np.testing.assert_array_equal(got[: expected.size], expected)
                assert not got[expected.size :].any()
            elif isinstance(error, CallerGone):
                assert request.gone
            elif isinstance(error, EnsembleTimeout) and "scripted" not in str(error):
                assert request.deadline <= self.loop.time()
            elif isinstance(error, EnsembleRejected):
                assert self.poisoned
            else:
                assert isinstance(error, EnsembleUnavailable | EnsembleTimeout)

    def teardown(self) -> None:
        try:
            self._settle()
            closing = self.loop.create_task(self.batcher.close())
            self._settle()
            while self.ensemble.open:
                self.ensemble.open[0][1].set_result(None)
                self._settle()
            assert closing.done()
            for request in self.by_customer.values():
                assert request.future.done(), "a request was forgotten"
            self.right_answers()
            assert self.batcher._waiting == 0
        finally:
            self.loop.close()


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
