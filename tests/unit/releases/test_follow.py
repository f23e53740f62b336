"""A running adapter goes over to what the document says: beside what serves, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.app import create_app
from api.errors import EnsembleUnavailable, ReleasesInvalid
from api.metrics import Metrics
from api.releases import document as verbs
from api.releases import store
from api.releases.comparison import Role
from api.releases.counts import Unjudged
from api.releases.document import Traffic
from api.releases.follow import GRACE_S, Releases
from api.releases.lanes import Lanes
from api.releases.server import Followed
from api.releases.states import State
from api.releases.status import status
from api.releases.windows import Seen
from api.settings import Settings
from api.types import Query
from ensemble import contract
from tests.fakes.releases import FakeReleases
from tests.unit.api.shelf import make_shelf
from tests.unit.releases.test_lanes import maker
from tests.waiting import until_async

AT = datetime(2026, 11, 27, 9, tzinfo=UTC)
TODAY = 20_000.0


async def looked(releases: Releases) -> None:
    """Look, and let what has begun go as far as it can."""
    await releases.look()
    for _ in range(200):
        await asyncio.sleep(0)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


class World:
    """Releases that are looked after when a test says so, on a clock that it moves."""

    def __init__(self, folder: Path, server: FakeReleases | None = None) -> None:
        self.time = 0.0
        self.path = folder / store.NAME
        self.server = server or FakeReleases(1)
        self.metrics = Metrics()
        self.maker = maker(self.metrics)
        document = store.read(self.path)
        self.lanes = Lanes(self.maker.open(document.live, self.server.ensemble(document.live)))
        self.releases = Releases(
            Followed(self.path, document, self.server),
            self.lanes,
            self.maker,
            self.metrics,
            today=lambda: TODAY,
            now=lambda: 1_000.0 + self.time,
            clock=lambda: self.time,
        )

    def change(self, verb: str, *arguments: Any) -> None:
        store.change(self.path, lambda traffic: getattr(verbs, verb)(traffic, *arguments, at=AT))

    async def look(self, seconds: float = 0.0) -> None:
        """Some time later."""
        self.time += seconds
        await looked(self.releases)

    def state(self, release: int) -> State | None:
        known = self.releases.states.get(release)
        return None if known is None else known.state

    async def close(self) -> None:
        await self.releases.close()
        for lane in self.releases.open():
            await lane.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.look()
    yield made
    made.server.gate.set()
    await made.close()


async def test_a_release_gets_traffic_once_it_is_loaded_and_warm(world: World) -> None:
    world.server.gate.clear()
    world.change("promote", 2)
    await world.look()
    assert world.server.loads == [2]
    assert world.state(2) is State.LOADING
    assert world.lanes.of(Query("deals", 7)).number == 1
    world.server.gate.set()
    await world.look()
    assert world.lanes.of(Query("deals", 7)).number == 2
    assert (world.state(1), world.state(2)) == (State.STANDBY, State.SERVING)
    (warmed,) = world.server.ensembles[2]
    assert [(batch.bucket, len(batch.rows)) for batch in warmed.calls] == [
        (bucket, rows) for bucket in contract.BUCKETS for rows in (1, contract.MAX_BATCH_SIZE)
    ]
    for batch in warmed.calls:  # equal rows would be one to product pool
        moments = np.frombuffer(b"".join(batch.parts()[-1]), np.float32).reshape(-1, 2)[:, 0]
        assert np.unique(moments).size == len(batch.rows)
    assert world.server.used[-1] == (2, 1)


async def test_a_rollback_needs_no_loading(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    before = world.lanes.live
    world.change("rollback")
    await world.releases.look()  # and nothing more
    assert world.lanes.live.number == 1
    assert world.lanes.live is not before
    assert world.server.loads == [2]
    assert len(world.server.ensembles[1]) == 1


async def test_what_can_not_be_loaded_leaves_everything_as_it_was(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.refused[3] = "its tables are torn"
    world.change("canary", 2, 5.0)
    await world.look()
    world.change("shadow", 3, 5.0)
    for _ in range(5):
        await world.look(100.0)
    assert world.server.loads == [2, 3]  # not again before something changes
    assert errors(caplog) == ["release 3 can't have traffic, release 1 goes on: its tables are torn"]
    assert world.lanes.live.number == 1
    assert world.lanes.canary is not None
    said = status(world.lanes, world.releases)
    assert (said.live, said.canary, said.shadow) == (1, 2, None)
    assert {each.release: (each.state, each.why) for each in said.releases} == {
        1: (State.SERVING, ""),
        2: (State.SERVING, ""),
        3: (State.REFUSED, "its tables are torn"),
    }
    del world.server.refused[3]
    world.change("shadow", 3, 1.0)
    await world.look()
    assert world.lanes.shadow is not None


async def test_the_release_that_shall_be_live_is_tried_again_and_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.refused[2] = "the repository can't be read just now"
    world.change("promote", 2)
    for _ in range(5):
        await world.look(100.0)
    assert world.server.loads == [2] * 5
    assert world.state(2) is State.REFUSED
    assert errors(caplog) == ["release 2 can't have traffic, release 1 goes on: the repository can't be read just now"]
    del world.server.refused[2]
    await world.look(0.1)
    assert world.lanes.live.number == 1  # less and less often
    await world.look(100.0)
    assert world.lanes.live.number == 2


async def test_what_serves_until_another_can_is_looked_after_as_well(world: World) -> None:
    world.server.refused[2] = "its tables are torn"
    world.change("promote", 2)
    await world.look()
    world.server.loaded.clear()
    for _ in range(10):  # while release 2 is tried again, a miss may be its doing
        await world.look(3.0)
    assert world.lanes.live.number == 1
    assert world.server.loaded == {1}
    assert world.state(1) is State.SERVING


async def test_a_refusal_of_what_had_traffic_already_is_not_the_last_word(world: World) -> None:
    world.server.loaded.clear()
    world.server.refused[1] = "the repository can't be read just now"
    for _ in range(4):
        await world.look(3.0)
    assert world.state(1) is State.REFUSED
    world.server.refused.clear()
    await world.look(100.0)
    assert world.server.loaded == {1}
    assert world.state(1) is State.SERVING


async def test_a_server_that_cant_be_asked_is_asked_again_less_and_less_often(world: World) -> None:
    world.server.gone = True
    world.change("promote", 2)
    await world.look()
    assert world.state(2) is State.LOADING
    assert "nobody answers" in world.releases.states[2].why
    world.server.gone = False
    await world.look(0.5)
    assert world.lanes.live.number == 1
    await world.look(0.6)
    assert world.lanes.live.number == 2


async def test_a_release_of_a_later_time_is_refused(tmp_path: Path) -> None:
    server = FakeReleases(1, 2)
    server.history_until[2] = TODAY + 1
    world = World(tmp_path, server)
    world.change("promote", 2)
    await world.look()
    assert world.lanes.live.number == 1
    assert world.state(2) is State.REFUSED
    assert "look into the future" in world.releases.states[2].why
    assert all(each.closed for each in server.ensembles[2])
    await world.close()


async def test_a_lane_knows_where_its_tables_end(tmp_path: Path) -> None:
    server = FakeReleases(1, 2)
    server.history_until[2] = TODAY - 3
    world = World(tmp_path, server)
    world.change("promote", 2)
    await world.look()
    assert world.lanes.live.history_until == TODAY - 3
    await world.close()


async def test_what_nobody_wants_is_unloaded_after_a_while_and_what_was_live_last_is_kept(world: World) -> None:
    for release in (2, 3):
        world.change("promote", release)
        await world.look()
    await world.look()
    assert world.state(1) is State.RETIRING
    assert world.server.loaded == {1, 2, 3}
    await world.look(GRACE_S - 0.1)
    assert world.server.loaded == {1, 2, 3}
    await world.look(0.2)
    assert world.server.loaded == {2, 3}
    assert all(each.closed for each in world.server.ensembles[1])
    assert world.state(1) is None
    assert world.server.used[-1] == (3, 2)
    await world.look(10 * GRACE_S)
    assert world.server.loaded == {2, 3}


async def test_the_document_is_followed_while_a_release_is_unloaded(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    world.change("canary", 3, 5.0)
    await world.look()
    world.change("end_canary")
    await world.look()
    world.server.unloading.clear()
    await world.look(GRACE_S)
    assert world.state(3) is State.RETIRING
    world.change("rollback")
    await world.look(0.5)
    assert world.lanes.live.number == 1
    world.server.unloading.set()
    await world.look(0.5)
    assert world.server.loaded == {1, 2}
    assert world.state(3) is None


async def test_a_release_that_is_wanted_while_it_is_unloaded_comes_in_again(world: World) -> None:
    world.change("canary", 2, 5.0)
    await world.look()
    world.change("end_canary")
    await world.look()
    world.server.unloading.clear()
    await world.look(GRACE_S)
    world.change("canary", 2, 5.0)
    await world.look(0.5)
    assert world.lanes.canary is None
    world.server.unloading.set()
    await world.look(0.5)
    await world.look(0.5)
    assert world.lanes.canary is not None
    assert world.state(2) is State.SERVING
    assert world.server.loads == [2, 2]


async def test_a_call_under_way_keeps_its_release_open(world: World) -> None:
    world.change("canary", 2, 5.0)
    await world.look()
    assert world.lanes.canary is not None
    ensemble = world.server.ensembles[2][0]
    ensemble.gate.clear()
    explained = asyncio.create_task(world.lanes.canary.ensemble.explain(ensemble.calls[0]))
    await asyncio.sleep(0)
    world.change("end_canary")
    await world.look()
    await world.look(6 * GRACE_S)
    assert not ensemble.closed
    ensemble.gate.set()
    assert (await explained).release == "personalize_v2"
    await world.look(0.5)
    assert ensemble.closed
    assert world.server.loaded == {1}


async def test_a_release_that_is_wanted_again_in_time_stays(world: World) -> None:
    world.change("canary", 2, 5.0)
    await world.look()
    world.change("end_canary")
    await world.look()
    assert world.state(2) is State.RETIRING
    world.change("shadow", 2, 5.0)
    await world.look(GRACE_S - 0.1)
    await world.look(GRACE_S)
    assert world.lanes.shadow is not None
    assert world.state(2) is State.SERVING
    assert world.server.loads == [2]


async def test_a_document_that_cant_be_read_leaves_the_last_one_in_force(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.change("promote", 2)
    await world.look()
    good = world.path.read_bytes()
    world.path.write_text('{"live": 3')
    for _ in range(3):
        await world.look(0.5)
    (said,) = errors(caplog)
    assert "version 1 stays in force" in said
    assert world.lanes.live.number == 2
    assert "isn't a document" in status(world.lanes, world.releases).broken
    world.path.write_bytes(good)
    await world.look(0.5)
    assert not world.releases.broken


async def test_a_document_that_can_be_read_again_is_read_although_nothing_of_it_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path, **_live: int) -> None:
        raise ReleasesInvalid(f"{path}: can't be read (Permission denied); check its permissions")

    world.change("promote", 2)
    with monkeypatch.context() as patched:
        patched.setattr(store, "read", refused)
        for _ in range(3):
            await world.look(0.5)
    assert len(errors(caplog)) == 1
    assert "Permission denied" in world.releases.broken
    await world.look(0.5)
    assert not world.releases.broken
    assert world.lanes.live.number == 2


async def test_a_server_that_was_started_anew_without_a_release_loads_it_again(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    world.server.loaded = {1}
    for _ in range(4):
        await world.look(3.0)
    assert world.server.loaded == {1, 2}
    assert world.server.loads == [2, 2]
    assert world.state(2) is State.SERVING


async def test_a_rollback_to_what_the_server_has_lost_meanwhile_waits_until_it_has_it_again(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    world.server.loaded = {2}
    world.server.gate.clear()
    world.change("rollback")
    await world.look()
    assert world.lanes.live.number == 2
    assert world.state(1) is State.LOADING
    world.server.gate.set()
    await world.look()
    assert world.lanes.live.number == 1
    assert world.server.loaded == {1, 2}


async def test_a_rollback_needs_no_answer_of_a_server_that_the_live_release_has_broken(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    world.server.gone = True
    world.change("rollback")
    await world.look()
    assert world.lanes.live.number == 1
    assert world.server.used[-1] == (1, 2)  # so that the next start is on release 1
    assert world.state(1) is State.LOADING  # not serving, as long as the server is down
    assert "nobody answers" in world.releases.states[1].why
    world.server.gone = False
    await world.look(3.0)
    await world.look()
    assert world.state(1) is State.SERVING


async def test_what_was_live_before_serves_while_the_server_comes_back_without_the_live_release(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    world.server.loaded = {1}
    world.server.refused[2] = "it was damaged"
    for _ in range(4):
        await world.look(3.0)
    assert world.lanes.of(Query("deals", 7)).number == 1
    assert world.server.used[-1] == (1,)  # the next start needn't try release 2 first
    assert (world.state(1), world.state(2)) == (State.SERVING, State.REFUSED)
    assert status(world.lanes, world.releases).wanted_live == 2


async def test_a_canary_that_is_still_loading_costs_its_customers_nothing(world: World) -> None:
    world.server.gate.clear()
    world.change("canary", 2, 50.0)
    await world.look()
    assert {world.lanes.of(Query("deals", each)).number for each in range(1, 50)} == {1}
    assert world.lanes.missing > 0
    world.server.gate.set()
    await world.look()
    assert {world.lanes.of(Query("deals", each)).number for each in range(1, 50)} == {1, 2}


@asynccontextmanager
async def adapter(
    path: Path, server: FakeReleases, document: Traffic | None = None, *, deadline_ms: int = 10_000
) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    settings = Settings(
        deadline_ms=deadline_ms, max_deadline_ms=10_000, call_timeout_ms=20_000, releases=path, probe_interval_ms=20
    )
    app = create_app(settings, catalog=make_shelf(), server=server, document=document)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://adapter") as client,
    ):
        await app.state.services.readiness.ready.wait()
        yield client, app.state.services
    assert server.closed
    assert all(each.closed for made in server.ensembles.values() for each in made)


async def test_answers_name_the_release_that_made_them_and_pages_never_mix(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    server = FakeReleases(1, 2)
    async with adapter(path, server) as (client, services):
        store.change(path, lambda traffic: verbs.canary(traffic, 2, 50.0, at=AT))
        await looked(services.releases)
        assert services.lanes.canary is not None
        seen: dict[str, int] = {}
        for customer in range(1, 41):
            asked = f"/v1/containers/deals/products?customer_id={customer}"
            body = (await client.get(asked)).json()
            number = services.lanes.of(Query("deals", customer)).number
            assert body["release"] == contract.ensemble_name(number)
            assert body["source"] == "ensemble"
            explained = (await client.get(f"{asked}&explain=true")).json()
            assert explained["release"] == body["release"]
            assert explained["product_ids"] == body["product_ids"]
            for release in (1, 2):
                named = (await client.get(f"{asked}&release={release}")).json()
                assert named["release"] == contract.ensemble_name(release)
                named = (await client.get(f"{asked}&release={release}&why_not=1")).json()
                assert named["release"] == contract.ensemble_name(release)
            seen[body["release"]] = seen.get(body["release"], 0) + 1
        assert set(seen) == {"personalize_v1", "personalize_v2"}
        counted = {lane.release: lane.counts for lane in services.lanes.all()}
        assert counted["personalize_v2"].requests == seen["personalize_v2"]
        assert counted["personalize_v2"].unjudged == {
            Unjudged.NAMED: 40,
            Unjudged.EXPLAINED: seen["personalize_v2"] + 40,
        }
        refused = await client.get("/v1/containers/deals/products?release=9")
        assert refused.status_code == 404
        assert refused.json()["errors"] == [
            {"field": "release", "message": "9 isn't served now; give one of 1, 2, or none"}
        ]
        said = (await client.get("/v1/releases")).json()
        assert (said["live"], said["canary"], said["version"]) == (1, 2, 1)
        text = (await client.get("/metrics")).text
        assert 'racksort_release_state{release="personalize_v2",state="serving"} 1.0' in text
        assert "racksort_releases_version 1.0" in text


async def test_a_scroll_goes_on_in_its_windows_order_and_the_next_window_is_the_customers_release_then(
    tmp_path: Path,
) -> None:
    path = tmp_path / store.NAME
    async with adapter(path, FakeReleases(1, 2)) as (client, services):
        shown: list[int] = []
        made: list[str] = []
        cursor: dict[str, str] = {}
        while cursor or not shown:
            query = {"customer_id": 7, "limit": 100, **cursor}
            body = (await client.get("/v1/containers/grid/products", params=query)).json()
            shown += body["product_ids"]
            made.append(body["release"])
            cursor = {"cursor": body["next_cursor"]} if body["next_cursor"] else {}
            if len(made) == 2:
                store.change(path, lambda traffic: verbs.promote(traffic, 2, at=AT))
                await looked(services.releases)
                assert services.lanes.live.number == 2
        assert sorted(shown) == list(range(1, 2_001))
        pages = -(-contract.MAX_CANDIDATES // 100)
        assert made == ["personalize_v1"] * pages + ["personalize_v2"] * (len(made) - pages)


async def test_a_canary_that_fails_is_degraded_for_its_customers_and_then_the_live_release_takes_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / store.NAME
    store.change(path, lambda traffic: verbs.canary(traffic, 2, 50.0, at=AT))
    server = FakeReleases(1, 2)
    async with adapter(path, server) as (client, services):
        await looked(services.releases)
        assert services.lanes.canary is not None
        server.ensembles[2][0].failure = EnsembleUnavailable("it is torn")
        customer = next(each for each in range(1, 100) if services.lanes.of(Query("deals", each)).number == 2)
        asked = f"/v1/containers/deals/products?customer_id={customer}"
        answers = [(await client.get(asked)).json() for _ in range(12)]
        assert answers[0]["degraded_reasons"] == ["ensemble_unavailable"]
        assert answers[-1]["release"] == "personalize_v1"
        assert answers[-1]["degraded"] is False
        assert services.readiness.ensemble_up  # the live one is well
        diverted = services.lanes.canary.counts.diverted
        assert diverted >= 1


async def test_who_names_a_canary_can_neither_end_nor_save_it(tmp_path: Path) -> None:
    """Nor can who gives its requests no time, or has them explained: guards and churn see the customers' own alone."""
    path = tmp_path / store.NAME
    store.change(path, lambda traffic: verbs.canary(traffic, 2, 50.0, at=AT))
    server = FakeReleases(1, 2)
    async with adapter(path, server) as (client, services):
        await looked(services.releases)
        canary = services.lanes.canary
        assert canary is not None
        customer = next(each for each in range(1, 100) if services.lanes.of(Query("grid", each)) is canary)
        asked = f"/v1/containers/grid/products?customer_id={customer}"
        before = Seen.of(canary.counts)
        ensemble = server.ensembles[2][0]
        ensemble.gate.clear()
        late = {"X-Timeout-Ms": "1"}
        for parameters in ("&release=2", "&release=2&explain=true", "&explain=true", ""):
            for _ in range(3):
                body = (await client.get(asked + parameters, headers=late)).json()
                assert body["degraded_reasons"] == ["ensemble_timeout"]
        ensemble.gate.set()
        await until_async(lambda: not canary.batcher.in_flight)  # what is late goes on
        for _ in range(20):
            assert (await client.get(f"{asked}&release=2")).json()["degraded_reasons"] == []
        seen = Seen.of(canary.counts).since(before)
        assert (seen.requests, seen.errors, seen.fallbacks, seen.timed) == (0, 0, 0, 0)
        beside = services.guards.shadow
        assert beside.comparison(Role.CANARY).rankings + sum(beside.dropped.values()) == 0  # none was even taken
        assert canary.counts.unjudged == {Unjudged.NAMED: 23, Unjudged.EXPLAINED: 6, Unjudged.IMPATIENT: 3}
        text = (await client.get("/metrics")).text
        assert 'racksort_release_unjudged_total{release="personalize_v2",why="impatient"} 3.0' in text


async def test_who_gives_requests_no_time_makes_nobody_else_fail(tmp_path: Path) -> None:
    """Calls whose callers are gone after 1 ms fill the slots for a moment; they don't hang."""
    async with adapter(tmp_path / store.NAME, FakeReleases(1)) as (client, services):
        ensemble = services.lanes.live.ensemble._ensemble
        ensemble.gate.clear()
        asked = "/v1/containers/deals/products?customer_id=7"
        while services.lanes.live.batcher.in_flight < services.lanes.live.batcher._max_calls:
            await client.get(asked, headers={"X-Timeout-Ms": "1"})
        patient = asyncio.create_task(client.get(asked))
        for _ in range(50):
            await asyncio.sleep(0)
        ensemble.gate.set()
        assert (await patient).json()["degraded_reasons"] == []


@pytest.mark.alone  # within a deadline of 50 ms
async def test_a_canary_is_judged_by_those_who_wait_as_long_as_all_do(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    store.change(path, lambda traffic: verbs.canary(traffic, 2, 50.0, at=AT))
    server = FakeReleases(1, 2)
    async with adapter(path, server, deadline_ms=50) as (client, services):
        await looked(services.releases)
        canary = services.lanes.canary
        assert canary is not None
        customer = next(each for each in range(1, 100) if services.lanes.of(Query("deals", each)) is canary)
        asked = f"/v1/containers/deals/products?customer_id={customer}"
        server.ensembles[2][0].gate.clear()
        for headers in ({}, {"X-Timeout-Ms": "50"}, {"X-Timeout-Ms": "60"}):
            await client.get(asked, headers=headers)
        server.ensembles[2][0].gate.set()
        seen = Seen.of(canary.counts)
        assert (seen.requests, seen.errors) == (3, 3)
        assert not canary.counts.unjudged


async def test_the_document_says_which_release_is_live_from_the_start(tmp_path: Path) -> None:
    server = FakeReleases(7)
    store.change(tmp_path / store.NAME, lambda traffic: verbs.promote(traffic, 7, at=AT))
    async with adapter(tmp_path / store.NAME, server) as (client, _):
        body = (await client.get("/v1/containers/deals/products?customer_id=1")).json()
        assert body["release"] == "personalize_v7"


async def test_an_adapter_begins_with_what_its_server_was_started_on_and_goes_over_to_what_has_changed_since(
    tmp_path: Path,
) -> None:
    path = tmp_path / store.NAME
    before = store.read(path)
    store.change(path, lambda traffic: verbs.promote(traffic, 2, at=AT))
    server = FakeReleases(1)
    server.gate.clear()
    async with adapter(path, server, before) as (client, services):
        assert services.lanes.live.number == 1
        server.gate.set()
        async with asyncio.timeout(30):
            while services.lanes.live.number != 2:
                await looked(services.releases)
        assert [lane.number for lane in services.releases.open()] == [1, 2]  # release 1 isn't left without a lane
        body = (await client.get("/v1/containers/deals/products?customer_id=1")).json()
        assert body["release"] == "personalize_v2"


async def test_a_broken_document_keeps_an_adapter_from_starting(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    path.write_text("{")
    app = create_app(Settings(releases=path), catalog=make_shelf(), server=FakeReleases(1))
    with pytest.raises(ReleasesInvalid, match="isn't a document"):
        async with app.router.lifespan_context(app):
            pytest.fail("it started")


async def test_a_canary_that_the_server_has_lost_has_no_traffic_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.change("canary", 2, 50.0)
    await world.look()
    assert world.lanes.canary is not None
    world.server.crash(2, "its ranking process ended")
    assert world.lanes.canary is None
    assert {world.lanes.of(Query("deals", customer)).number for customer in range(1, 50)} == {1}
    assert errors(caplog) == ["release 2 can't have traffic, release 1 goes on: its ranking process ended"]
    assert world.releases.lost == [(2, "its ranking process ended")]
    for _ in range(5):
        await world.look(10.0)
    assert world.server.loads == [2]  # not again before the document changes
    assert world.state(2) is State.REFUSED
    told = len(world.server.used)
    world.change("canary", 2, 50.0)
    await world.look()
    assert world.server.loads == [2, 2]
    assert world.server.used[told:] == [(1, 2)]  # has other processes now
    assert world.lanes.canary is not None


async def test_a_spare_that_the_server_has_lost_comes_in_again(world: World) -> None:
    world.change("promote", 2)
    await world.look()
    assert world.state(1) is State.STANDBY
    world.server.crash(1, "its ranking process ended")
    world.server.crash(9, "nobody knows it")
    assert world.state(1) is State.LOADING
    assert world.releases.lost == []
    await world.look(2.0)
    await world.look()
    assert world.server.loads == [2, 1]
    assert world.state(1) is State.STANDBY
    assert world.lanes.live.number == 2
