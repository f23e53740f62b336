"""A canary that breaks a guard loses its traffic at once, and its place in the document; a good one stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.ensemble_client import Ensemble
from api.errors import EnsembleUnavailable
from api.metrics import Metrics
from api.readiness import Readiness
from api.releases import document, store
from api.releases.comparison import Role
from api.releases.document import Traffic
from api.releases.follow import Releases
from api.releases.guard import Guard, GuardPolicy, Judgement
from api.releases.guard_figures import ComparisonFigures, GuardFigures
from api.releases.guard_status import beside
from api.releases.guards import Guards
from api.releases.lanes import Lanes
from api.releases.opening import LaneMaker
from api.releases.server import Followed
from api.releases.shadow import ShadowRankings
from api.releases.status import status
from api.resilience.breaker_policy import BreakerPolicy
from api.tensors import Candidates
from api.types import Query
from tests.fakes.ensemble import FakeEnsemble, fake_order
from tests.unit.api.shelf import NOW_DAY, make_pool, make_row
from tests.unit.api.virtual_time import VirtualLoop
from tests.unit.releases.lanes import Reversing
from tests.unit.releases.traffic import count

AT = datetime(2026, 11, 27, 9, tzinfo=UTC)
POOL = make_pool(64)
GOOD, FAILS, REVERSES = 2, 3, 4


class LoadedServer:
    """Has every release already."""

    def ensemble(self, release: int) -> Ensemble:
        return Reversing(release) if release == REVERSES else FakeEnsemble(release)

    async def ready(self, _release: int) -> bool:
        return True

    async def load(self, _release: int) -> None:
        raise AssertionError("it is loaded already")

    async def unload(self, _release: int, _live: int) -> None:
        pass

    def use(self, _releases: tuple[int, ...]) -> None:
        pass

    def hear(self, lost: Callable[[int, str], None]) -> None:
        self.lost = lost

    async def close(self) -> None:
        pass


class Adapter:
    """One adapter's releases, comparisons and guards on a document, in virtual time."""

    def __init__(self, path: Path, loop: VirtualLoop) -> None:
        self.path, self.loop = path, loop
        loop.run_until_complete(self._open())

    async def _open(self) -> None:
        metrics = Metrics()
        maker = LaneMaker(
            readiness=Readiness(metrics),
            metrics=metrics,
            policy=BreakerPolicy(),
            max_calls=2,
            max_waiting=1_000,
            took=lambda _waited, _took: None,
            awake=self.loop.time,
            clock=self.loop.time,
            rng=None,
        )
        self.server = server = LoadedServer()
        traffic = store.read(self.path)
        self.lanes = Lanes(maker.open(traffic.live, server.ensemble(traffic.live)))
        clocks = {"now": lambda: AT.timestamp() + self.loop.time(), "clock": self.loop.time}
        self.releases = Releases(
            Followed(self.path, traffic, server), self.lanes, maker, metrics, today=lambda: NOW_DAY, **clocks
        )
        self.shadow = ShadowRankings(
            self.lanes,
            lambda query, pool: make_row(query.customer_id, Candidates.of(pool)),
            busy=lambda: False,
            clock=self.loop.time,
        )
        self.guards = Guards(self.releases, self.shadow, GuardPolicy(), **clocks)
        self.registry = CollectorRegistry()
        self.registry.register(GuardFigures(self.guards))
        self.registry.register(ComparisonFigures(self.shadow))
        self.task = asyncio.create_task(self.shadow.run())

    def serve(self, seconds: int, *, failing: bool = False, looking: bool = True, judged: bool = True) -> None:
        """So many seconds of 100 requests each, a tenth of them the canary's, of which a third may fail.

        Without ``looking`` the adapter doesn't see what the document says meanwhile.
        """
        for _ in range(seconds):
            if looking:
                self.loop.run_until_complete(self.releases.look())
            self.loop.advance()  # what comes in, comes in
            for number in range(100):
                canary = self.lanes.canary if number % 10 == 0 else None
                lane = canary or self.lanes.live
                failed = failing and canary is not None and number % 30 == 0
                count(lane.counts, 0.01, error=failed, fallback=failed)
                if not failed:
                    order = fake_order(number, POOL.product_id, POOL.boost)
                    order = order[::-1].copy() if lane.number == REVERSES else order
                    self.shadow.ranked(lane, Query("deals", number), POOL, order, 0.01)
            self.loop.advance()
            if judged:
                self.loop.run_until_complete(self.guards.look())
            self.loop.advance(1.0)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def close(self) -> None:
        self.task.cancel()
        self.loop.advance()
        self.loop.run_until_complete(self.releases.close())
        for lane in self.releases.open():
            self.loop.run_until_complete(lane.close())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / store.NAME


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def adapter(path: Path, loop: VirtualLoop) -> Iterator[Adapter]:
    adapter = Adapter(path, loop)
    yield adapter
    adapter.close()


def want_canary(path: Path, release: int) -> Traffic:
    return store.change(path, lambda traffic: document.canary(traffic, release, 10.0, at=AT)).after


def test_a_good_canary_stays(adapter: Adapter, path: Path) -> None:
    wanted = want_canary(path, GOOD)
    adapter.serve(120)
    assert adapter.lanes.canary is not None
    assert {verdict.state for verdict in adapter.guards.verdicts} == {Judgement.HELD}
    assert {verdict.guard for verdict in adapter.guards.verdicts} == {*Guard} - {Guard.PROCESS}
    assert store.read(path) == wanted
    assert adapter.metric("racksort_release_guard_state", guard="errors", state="held") == 1


def test_a_canary_that_fails_is_taken_back_with_the_reason(adapter: Adapter, path: Path) -> None:
    want_canary(path, FAILS)
    adapter.serve(30, failing=True)
    assert adapter.lanes.canary is None
    found = store.read(path)
    assert found.canary is None
    assert found.change == f"canary {FAILS} off"
    assert found.why.startswith("guard errors: errors ")
    assert found.history[0].why == found.why
    assert adapter.metric("racksort_release_guard_broken_total", guard="errors") == 1
    assert adapter.metric("racksort_release_unwritten") == 0
    told = status(adapter.lanes, adapter.releases, adapter.guards)
    assert told.why == found.why
    assert told.history[0].why == found.why
    assert told.beside is not None
    assert told.beside.taken_back is not None
    assert (told.beside.taken_back.release, told.beside.taken_back.guard) == (FAILS, Guard.ERRORS)
    assert told.beside.guards == []


def test_a_canary_that_reverses_everything_is_taken_back(adapter: Adapter, path: Path) -> None:
    want_canary(path, REVERSES)
    adapter.serve(30)
    comparison = adapter.shadow.comparison(Role.CANARY)
    assert comparison is not None
    assert comparison.mean(comparison.rbo) == pytest.approx(0, abs=0.05)
    adapter.serve(60)
    assert store.read(path).why.startswith("guard churn: rank churn 9")
    assert adapter.metric("racksort_release_guard_broken_total", guard="churn") == 1


def test_another_adapter_sees_it_and_does_nothing_of_its_own(adapter: Adapter, path: Path, loop: VirtualLoop) -> None:
    want_canary(path, FAILS)
    other = Adapter(path, loop)
    for _ in range(30):
        adapter.serve(1, failing=True)
        other.serve(1)
    assert other.lanes.canary is None
    assert other.releases.traffic.version == store.read(path).version == 2
    assert other.guards.last is None
    other.close()


def test_two_that_see_it_at_once_change_the_document_once(adapter: Adapter, path: Path, loop: VirtualLoop) -> None:
    want_canary(path, FAILS)
    other = Adapter(path, loop)
    both = adapter, other
    for each in both:
        each.serve(2)
        each.serve(30, failing=True, judged=False)

    async def judge() -> list[asyncio.Task[None]]:
        looks = [asyncio.create_task(each.guards.look()) for each in both]
        await asyncio.sleep(0)
        return looks

    with store.held(path):  # both judge, and neither can write
        looks = loop.run_until_complete(judge())
        assert [each.lanes.canary for each in both] == [None, None]
        assert not any(look.done() for look in looks)
        assert store.read(path).version == 1
    loop.run_until_complete(asyncio.gather(*looks))
    assert store.read(path).version == 2
    assert store.read(path).why.startswith("guard errors: errors ")
    assert [each.guards.last is not None and each.guards.last.unwritten for each in both] == ["", ""]
    for each in both:
        each.serve(3)
        assert each.lanes.canary is None
        assert each.releases.traffic.version == 2
    other.close()


def test_an_adapter_that_is_behind_does_not_end_what_was_begun_again(adapter: Adapter, path: Path) -> None:
    want_canary(path, FAILS)
    adapter.serve(2)
    store.change(path, lambda traffic: document.end_canary(traffic, at=AT))  # another adapter did that
    again = want_canary(path, FAILS)  # a person, who has mended it
    adapter.serve(30, failing=True, looking=False)  # of version 1
    assert adapter.lanes.canary is None
    assert adapter.guards.last is not None
    assert adapter.guards.unwritten == ""
    assert store.read(path) == again
    adapter.serve(60)
    assert adapter.lanes.canary is not None
    assert {verdict.state for verdict in adapter.guards.verdicts} == {Judgement.HELD}
    assert store.read(path) == again


def test_what_was_seen_before_the_canary_was_begun_again_is_not_held_against_it(adapter: Adapter, path: Path) -> None:
    want_canary(path, FAILS)
    adapter.serve(2)
    adapter.serve(30, failing=True, judged=False)
    store.change(path, lambda traffic: document.end_canary(traffic, at=AT))
    again = want_canary(path, FAILS)
    adapter.serve(60)  # it has seen neither end nor beginning, only the last version
    assert adapter.lanes.canary is not None
    assert store.read(path) == again


def test_where_the_document_can_not_be_written_the_adapter_stays_alone_with_it(
    adapter: Adapter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want_canary(path, FAILS)
    before = path.read_bytes()

    def read_only(target: Path, _content: bytes, **_options: int) -> None:
        raise OSError(30, "Read-only file system", str(target))

    with monkeypatch.context() as patched:
        patched.setattr("api.durable.replace", read_only)
        adapter.serve(40, failing=True)
    assert path.read_bytes() == before
    assert adapter.lanes.canary is None
    assert adapter.lanes.missing == 0  # its customers belong to the live release now
    assert "Read-only file system" in adapter.guards.unwritten
    assert adapter.metric("racksort_release_unwritten") == 1
    assert adapter.metric("racksort_release_guard_broken_total", guard="errors") == 1
    told = beside(adapter.guards).taken_back
    assert told is not None
    assert "Read-only file system" in told.unwritten
    want_canary(path, GOOD)
    adapter.serve(3)
    assert adapter.lanes.canary is not None
    assert adapter.lanes.canary.number == GOOD
    assert adapter.guards.unwritten == ""
    assert adapter.metric("racksort_release_unwritten") == 0


def test_a_canary_whose_process_ends_is_taken_back_without_any_figure(adapter: Adapter, path: Path) -> None:
    want_canary(path, GOOD)
    adapter.serve(2)
    assert adapter.lanes.canary is not None
    adapter.server.lost(GOOD, "its ranking process ended (signal 9)")
    assert adapter.lanes.canary is None  # at once
    adapter.serve(1)
    written = store.read(path)
    assert (written.canary, written.why) == (None, "guard process: its ranking process ended (signal 9)")
    assert adapter.metric("racksort_release_guard_broken_total", guard="process") == 1
    told = beside(adapter.guards).taken_back
    assert told is not None
    assert (told.guard, told.why) == (Guard.PROCESS, "its ranking process ended (signal 9)")
    adapter.serve(20)
    assert adapter.metric("racksort_release_guard_broken_total", guard="process") == 1


def test_a_shadow_whose_process_ends_is_ended(adapter: Adapter, path: Path) -> None:
    store.change(path, lambda traffic: document.shadow(traffic, GOOD, 10.0, at=AT))
    adapter.serve(2)
    assert adapter.lanes.shadow is not None
    adapter.server.lost(GOOD, "its ranking process ended")
    assert adapter.lanes.shadow is None
    adapter.serve(1)
    written = store.read(path)
    assert (written.shadow, written.change, written.why) == (None, "shadow 2 off", "its ranking process ended")
    assert beside(adapter.guards).taken_back is None


def test_what_has_lost_a_process_ranks_nothing_here_where_the_document_cant_be_written(
    adapter: Adapter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.change(path, lambda traffic: document.shadow(traffic, GOOD, 10.0, at=AT))
    want_canary(path, FAILS)
    adapter.serve(2)
    before = path.read_bytes()

    def read_only(target: Path, _content: bytes, **_options: int) -> None:
        raise OSError(30, "Read-only file system", str(target))

    with monkeypatch.context() as patched:
        patched.setattr("api.durable.replace", read_only)
        adapter.server.lost(GOOD, "its ranking process ended")
        adapter.server.lost(FAILS, "its ranking process ended")
        adapter.serve(60)
    assert path.read_bytes() == before
    assert (adapter.lanes.canary, adapter.lanes.shadow) == (None, None)
    assert "Read-only file system" in adapter.guards.unwritten


def test_the_same_canary_again_is_watched_from_nothing(adapter: Adapter, path: Path) -> None:
    want_canary(path, FAILS)
    adapter.serve(30, failing=True)
    want_canary(path, FAILS)
    adapter.serve(60)  # it has been mended
    assert adapter.lanes.canary is not None
    assert {verdict.state for verdict in adapter.guards.verdicts} == {Judgement.HELD}


def test_a_mistake_of_ours_ends_nothing(
    adapter: Adapter, loop: VirtualLoop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_role: Role) -> None:
        raise EnsembleUnavailable("oh")

    monkeypatch.setattr(adapter.shadow, "comparison", failing)
    task = loop.create_task(adapter.guards.run())
    loop.advance()
    loop.advance(1.0)
    assert not task.done()
    assert caplog.text.count("a mistake of ours") == 2
    task.cancel()
    loop.advance()


def test_without_a_document_there_is_nothing_beside(adapter: Adapter) -> None:
    told = status(adapter.lanes, None, None)
    assert (told.beside, told.history) == (None, [])
