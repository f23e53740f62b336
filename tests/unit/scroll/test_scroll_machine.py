"""Scrolls while pools change, releases go live, replicas restart and servers fail: never a repeat, never a hole."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from api.catalog.protocol import Container
from api.errors import CatalogUnavailable, EnsembleUnavailable, Unavailable
from api.metrics import Metrics
from api.services import running
from api.settings import Settings
from api.types import Kind, Page, Pool, Query
from ensemble import contract
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.virtual_time import VirtualLoop

REPLICAS = 3
TTL_S = 600
ADAPTER = Settings(cursor_keys="a key that all replicas have", cursor_ttl_s=TTL_S, deadline_ms=1_000)  # type: ignore[arg-type]  # pydantic makes it a secret


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 64 products, so that a few hundred are a long scroll."""
    monkeypatch.setattr(contract, "BUCKETS", (16, 32, 64))
    monkeypatch.setattr(contract, "MAX_CANDIDATES", 64)


class View:
    """A catalog of one grid, as one replica sees it; implements ``Catalog``."""

    now_day = 17_500.0

    def __init__(self, pool: Pool) -> None:
        self.current = pool
        self.down = False

    async def containers(self) -> tuple[Container, ...]:
        return (Container("grid", "Grid", Kind.GRID, self.current.product_id.size),)

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:  # noqa: ARG002 - never waits
        if self.down:
            raise CatalogUnavailable("it was told to be")
        return self.current

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:  # noqa: ARG002 - see below
        raise AssertionError("scrolling doesn't look products up")

    async def close(self) -> None:
        pass


@dataclass
class Scrolling:
    """What one customer has seen."""

    query: Query
    cursor: str | None
    shown: list[int]
    always: set[int]
    """Products that could be shown whenever a page was made."""
    pages: int = field(default=1)


class Replica:
    """One adapter."""

    def __init__(self, loop: VirtualLoop, pool: Pool, release: int) -> None:
        self.view = View(pool)
        self.ensemble = FakeEnsemble(release)
        self._loop = loop
        self._context = running(
            ADAPTER, self.view, self.ensemble, Metrics(), clock=loop.time, now=loop.time, rng=Random(1)
        )
        self.services = loop.run_until_complete(self._context.__aenter__())

    def ask(self, query: Query) -> Page:
        task = self._loop.create_task(self.services.pipeline.recommend(query))
        while not task.done():
            self._loop.advance(0.001)
        return task.result()

    def close(self) -> None:
        self.ensemble.gate.set()
        closing = self._loop.create_task(self._context.__aexit__(None, None, None))
        while not closing.done():
            self._loop.advance(0.01)
        closing.result()


class Machine(RuleBasedStateMachine):
    """A shop of some replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.rng = np.random.default_rng(7)
        self.stock = np.unique(self.rng.integers(1, 1_000, 260))
        self.release = 1
        self.generation = 0
        self.replicas = [Replica(self.loop, self.pool(), 1) for _ in range(REPLICAS)]
        self.scrolls: list[Scrolling] = []

    def pool(self) -> Pool:
        """The stock in a new order of popularity; of every other pool a few products are excluded."""
        self.generation += 1
        ids = self.rng.permutation(self.stock)
        excluded = self.rng.random(ids.size) < 0.05 * (self.generation % 2)
        return Pool(
            "grid",
            self.generation,
            ids,
            (ids % 7).astype(np.int32),
            np.zeros((ids.size, len(contract.OFFER)), np.float32),
            np.where(excluded, np.float32(contract.EXCLUDED), np.float32(0)).astype(np.float32),
            scrolls=True,
        )

    @rule(at=st.integers(0, REPLICAS - 1), customer=st.sampled_from([None, 1, 2]), limit=st.integers(1, 30))
    def begin(self, at: int, customer: int | None, limit: int) -> None:
        query = Query("grid", customer, limit)
        if self.replicas[at].view.down:
            with pytest.raises(Unavailable):
                self.replicas[at].ask(query)
            return
        page = self.replicas[at].ask(query)
        shown = page.ranking.product_id.tolist()
        could = can_be_shown(self.replicas[at].view.current)
        assert set(shown) <= could
        assert len(shown) == min(limit, len(could))
        self.scrolls.append(Scrolling(query, page.cursor, shown, could))

    @precondition(lambda self: any(each.cursor for each in self.scrolls))
    @rule(data=st.data(), at=st.integers(0, REPLICAS - 1), limit=st.integers(1, 30), pages=st.integers(1, 8))
    def scroll(self, data: st.DataObject, at: int, limit: int, pages: int) -> None:
        live = [each for each in self.scrolls if each.cursor]
        scrolling = live[data.draw(st.integers(0, len(live) - 1))]
        for _ in range(pages):
            if scrolling.cursor:
                self.next_page(scrolling, self.replicas[at], limit)

    @rule(at=st.integers(0, REPLICAS - 1), gone=st.integers(0, 60), new=st.integers(0, 60))
    def refresh(self, at: int, gone: int, new: int) -> None:
        kept = self.rng.permutation(self.stock)[gone:]
        self.stock = np.unique(np.concatenate([kept, self.rng.integers(1, 1_000, new)]))
        self.replicas[at].view.current = self.pool()

    @rule(at=st.integers(0, REPLICAS - 1))
    def new_release(self, at: int) -> None:
        self.release += 1
        self.restart(at)

    @rule(at=st.integers(0, REPLICAS - 1))
    def restart(self, at: int) -> None:
        pool = self.replicas[at].view.current
        self.replicas[at].close()
        self.replicas[at] = Replica(self.loop, pool, self.release)

    @rule(at=st.integers(0, REPLICAS - 1), fails=st.booleans())
    def ensemble_fails(self, at: int, fails: bool) -> None:
        self.replicas[at].ensemble.failure = EnsembleUnavailable("it was told to fail") if fails else None

    @rule(at=st.integers(0, REPLICAS - 1), down=st.booleans())
    def catalog_fails(self, at: int, down: bool) -> None:
        self.replicas[at].view.down = down

    def next_page(self, scrolling: Scrolling, replica: Replica, limit: int) -> None:
        query = Query(scrolling.query.container_id, scrolling.query.customer_id, limit, cursor=scrolling.cursor)
        try:
            page = replica.ask(query)
        except Unavailable:
            assert replica.view.down  # and the window is at its end, so that only the pool could say what comes
            return
        shown = page.ranking.product_id.tolist()
        if not replica.view.down:
            could = can_be_shown(replica.view.current)
            assert set(shown) <= could
            scrolling.always &= could
        assert len(shown) <= limit
        assert shown or page.cursor is None
        assert page.cursor is None or len(page.cursor) <= 8_192
        assert not set(shown) & set(scrolling.shown), "a product comes twice"
        scrolling.shown += shown
        scrolling.cursor = page.cursor
        scrolling.pages += 1
        if page.cursor is None:
            self.ended(scrolling)

    def ended(self, scrolling: Scrolling) -> None:
        assert scrolling.always <= set(scrolling.shown), "a product was skipped"
        assert len(scrolling.shown) == len(set(scrolling.shown))

    def teardown(self) -> None:
        for replica in self.replicas:
            replica.view.down, replica.ensemble.failure = False, None
        for scrolling in self.scrolls:
            while scrolling.cursor:
                self.next_page(scrolling, self.replicas[scrolling.pages % REPLICAS], 25)
            self.ended(scrolling)
        for replica in self.replicas:
            replica.close()
        self.loop.close()


def can_be_shown(pool: Pool) -> set[int]:
    return set(pool.product_id[pool.boost != contract.EXCLUDED].tolist())


def test_whatever_happens_no_product_comes_twice_and_none_is_skipped() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis doesn't type it
        Machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
