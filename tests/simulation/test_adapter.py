"""The whole adapter survives what its dependencies do to it, seed by seed; and the simulation notices where it doesn't.

A failure names the command that replays its seed. More seeds: ``python -m tests.simulation.adapter --seeds 0:10000``.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from api.batcher import Batcher
from api.catalog.elastic import answer as answers
from api.catalog.elastic.fetcher import Fetcher
from api.catalog.entries import Entries
from api.edge import ProductsEndpoint
from api.ladder import Ladder
from api.pipeline import Pipeline
from api.resilience.breaker import Breaker
from api.resilience.limiter import Limiter, Permit
from api.tensors import Batch
from api.types import Ranking, Source
from tests.simulation.adapter import result, summary
from tests.simulation.virtual_loop import Deadlock, VirtualTimeLoop
from tests.simulation.world import World, simulate

_ONE = os.environ.get("SIMULATION_SEED")
_CHUNK = 25
FAST = range(25) if _ONE is None else range(int(_ONE), int(_ONE) + 1)
MORE = range(25, 500) if _ONE is None else range(0)
MUTANT_SEEDS = range(40)
"""A broken adapter must show within so many."""


def chunks(seeds: range, size: int = _CHUNK) -> list[range]:
    return [seeds[at : at + size] for at in range(0, len(seeds), size)]


def check(seeds: range) -> None:
    failed = [str(found) for found in map(result, seeds) if found.violations]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("seeds", chunks(FAST, 5), ids=str)
def test_every_request_gets_one_valid_answer_in_time(seeds: range) -> None:
    check(seeds)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", chunks(MORE), ids=str)
def test_every_request_gets_one_valid_answer_in_time_on_more_seeds(seeds: range) -> None:
    check(seeds)


def test_the_same_seed_leaves_the_same_trace_whatever_the_hash_seed() -> None:
    seeds = range(3)
    code = f"from tests.simulation.adapter import result\nprint(*(result(seed).digest for seed in {seeds!r}))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1234"},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    digests = [result(seed).digest for seed in seeds]
    assert other.stdout.split() == digests
    assert [result(seed).digest for seed in seeds] == digests
    assert len(set(digests)) == len(seeds)


def test_nothing_on_a_requests_way_reads_a_clock_or_chance_of_its_own() -> None:
    clocks = {time.monotonic, time.time, time.perf_counter, time.monotonic_ns, time.time_ns, random.random, os.urandom}
    read: set[str] = set()
    chances: list[random.Random] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or not str(frame.f_globals.get("__name__")).startswith("api."):
            return
        owner = getattr(called, "__self__", None)
        if called in clocks:
            read.add(f"{frame.f_globals['__name__']}.{frame.f_code.co_name} calls {called.__name__}")
        elif isinstance(owner, random.Random) and not any(owner is each for each in chances):
            chances.append(owner)

    sys.setprofile(watch)
    try:
        run = simulate(3)
    finally:
        sys.setprofile(None)
    assert not run.violations
    assert not read
    assert len(chances) == 1  # the one that the world has handed in


def test_a_deadlock_is_an_error_and_not_a_hang() -> None:
    loop = VirtualTimeLoop()
    with pytest.raises(Deadlock):
        loop.run_until_complete(asyncio.Event().wait())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_trying_in_vain_for_ever_is_an_error_too() -> None:
    loop = VirtualTimeLoop()

    def again() -> None:
        loop.call_later(60, again)

    again()
    with pytest.raises(Deadlock, match="timers go on"):
        loop.run_until_complete(asyncio.Event().wait())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_time_jumps_to_the_next_timer() -> None:
    loop = VirtualTimeLoop(100.0)
    loop.run_until_complete(asyncio.sleep(3_600))
    assert loop.time() == pytest.approx(3_700)
    loop.close()


def _believe_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "flaw", lambda _self, _ranked: "")


def _ignore_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Batcher.submit

    def patient(self: Batcher, row: Any, _: float, gone: Any = None, **__: Any) -> Any:
        return submit(self, row, float("inf"), gone)

    monkeypatch.setattr(Batcher, "submit", patient)


def _show_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Ladder,
        "without_ensemble",
        lambda _self, query, pool: Ranking(pool.product_id[: query.limit], Source.POPULARITY),
    )


def _answer_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ProductsEndpoint.__call__

    async def twice(self: ProductsEndpoint, container_id: bytes, scope: Any, receive: Any, send: Any) -> None:
        await answer(self, container_id, scope, receive, send)
        await answer(self, container_id, scope, receive, send)

    monkeypatch.setattr(ProductsEndpoint, "__call__", twice)


def _leak_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Permit.release
    monkeypatch.setattr(
        Permit, "release", lambda self, outcome: release(self, outcome) if outcome.name == "ANSWERED" else None
    )


def _let_everybody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    acquire = Limiter.acquire

    def generous(self: Limiter, priority: Any, came: float | None = None) -> Any:
        self._rooms, rooms = [10**6] * 3, self._rooms
        try:
            return acquire(self, priority, came)
        finally:
            self._rooms = rooms

    monkeypatch.setattr(Limiter, "acquire", generous)
    monkeypatch.setattr(Limiter, "full", lambda _self, _priority: False)


def _never_close_the_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "_close", lambda _self, _now: None)


def _forget_pools_on_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    drop = Entries.drop_older_than
    monkeypatch.setattr(Entries, "drop_older_than", lambda self, _since: drop(self, float("inf")))


def _never_say_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = answers.parse

    def whole(body: bytes, **how: Any) -> Any:
        found = parse(body, **how)
        object.__setattr__(found, "partial", False)
        return found

    monkeypatch.setattr(answers, "parse", whole)
    monkeypatch.setattr(answers, "check_count", lambda _answer, _expected: None)


def _ask_nobody_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Fetcher.fetch

    async def stubborn(self: Fetcher, *what: Any) -> Any:
        try:
            return await fetch(self, *what)
        except Exception:
            await asyncio.Event().wait()
            raise

    monkeypatch.setattr(Fetcher, "fetch", stubborn)


def _send_what_isnt_in_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Pipeline._order

    async def by_id(self: Pipeline, *asked: Any) -> Any:
        found = await order(self, *asked)
        return found._replace(product_id=np.sort(found.product_id)[::-1])

    monkeypatch.setattr(Pipeline, "_order", by_id)


def _leave_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Batcher.close

    async def careless(self: Batcher) -> None:
        self.left = asyncio.get_running_loop().create_task(asyncio.Event().wait())  # type: ignore[attr-defined]
        await close(self)

    monkeypatch.setattr(Batcher, "close", careless)


@pytest.mark.parametrize(
    ("break_it", "shows"),
    [
        (_believe_everything, "not the order of ensemble"),
        (_ignore_deadlines, "answered after"),
        (_show_excluded, "not the order of popularity"),
        (_answer_twice, "not one answer"),
        (_leak_permits, "permits of the limiter weren't given back"),
        (_let_everybody_in, "requests are let in"),
        (_never_close_the_breaker, "after the faults only"),
        (_forget_pools_on_failure, "were lost"),
        (_never_say_partial, "a pool of"),
        (_ask_nobody_again, "after the faults only"),
        (_send_what_isnt_in_the_pool, "not the order of ensemble"),
        (_leave_a_task, "a task was left over"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_adapter_is_found_out(
    break_it: Callable[[pytest.MonkeyPatch], None], shows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    for seed in MUTANT_SEEDS:
        if any(shows in violation for violation in result(seed).violations):
            return
    pytest.fail(f"{len(MUTANT_SEEDS)} seeds, and no violation says {shows!r}")


def test_a_failing_seed_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_judge_recovery", lambda self: self.run.blame("something is wrong"))
    found = summary(simulate(7))
    assert "python -m tests.simulation.adapter --seed 7" in str(found)
    assert "something is wrong" in str(found)
