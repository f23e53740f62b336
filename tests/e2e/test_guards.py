"""Canaries that are bad in different ways on the real server and a real Triton: each is taken back, and a good one not.

Every release has a ranking of its own; the models are the committed release's.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from api.releases import document, store
from ensemble import configs, contract
from tests.conftest import REPOSITORY
from tests.faults.served import Served, Shop, serving
from tests.pace import RETRIED, timed
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900), RETRIED]

RATE: Final = 60.0
"""Requests a second, half of them the canary's."""
PIECE_S: Final = 2.0
AT_MOST_S: Final = 150.0
"""Until a bad canary must be gone, on a machine that has other things to do."""
GOOD, FAILING, SLOW, REVERSING, CRASHING = 2, 3, 4, 5, 6

FAILS: Final = '''
_execute = TritonPythonModel.execute


def _every_fifth_fails(self, requests):
    """Once it has been warmed up, which takes some 330 requests."""
    responses = _execute(self, requests)
    for place in range(len(requests)):
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen > 400 and self.seen % 5 == 0:
            responses[place] = pb_utils.InferenceResponse(error=pb_utils.TritonError("every fifth fails"))
    return responses


TritonPythonModel.execute = _every_fifth_fails
'''
SLEEPS: Final = """
_rank = rank


def rank(*arguments, **options):
    import time

    time.sleep(0.1)
    return _rank(*arguments, **options)
"""
REVERSES: Final = """
_rank = rank


def rank(*arguments, **options):
    ranked = _rank(*arguments, **options)
    for row in ranked.product_id:
        shown = int((row != 0).sum())
        row[:shown] = row[:shown][::-1].copy()
    return ranked
"""
CRASHES: Final = """
_execute = TritonPythonModel.execute


def _ends(self, requests):
    import os

    self.seen = getattr(self, "seen", 0) + len(requests)
    if self.seen > 420:
        os._exit(1)
    return _execute(self, requests)


TritonPythonModel.execute = _ends
"""
CHANGES: Final = {GOOD: ("ranking.py", ""), FAILING: ("model.py", FAILS), SLOW: ("ranking.py", SLEEPS)} | {
    REVERSING: ("ranking.py", REVERSES),
    CRASHING: ("model.py", CRASHES),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed release, and others that share its models."""
    folder = tmp_path_factory.mktemp("guards") / "repository"
    shutil.copytree(REPOSITORY, folder)
    history_until = configs.pinned(folder / contract.ensemble_name(1) / configs.CONFIG).history_until_day
    for release, (name, text) in CHANGES.items():
        ranking = folder / contract.RANKING.name / str(release)
        shutil.copytree(folder / contract.RANKING.name / "1", ranking)
        with (ranking / name).open("a") as file:
            file.write(text)
        configs.write(folder, configs.generate(release, {contract.RANKING.name: release}, history_until))
        extras = folder / contract.ensemble_name(release) / "1"
        shutil.copytree(folder / contract.ensemble_name(1) / "1", extras, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def served(repository: Path, catalog_dir: Path) -> Iterator[Served]:
    shop = asyncio.run(Shop.of(catalog_dir))
    with serving(
        shop, catalog_dir, "--repository", str(repository), DEADLINE_MS="1000", MAX_DEADLINE_MS="1000"
    ) as server:
        yield server


def asked(server: Served) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.url}/v1/releases", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def begin(server: Served, repository: Path, release: int, role: str = "canary") -> None:
    """Give half of the customers a canary, or a shadow half of the requests, and wait until they have it."""
    at, verb = datetime.now(UTC), document.canary if role == "canary" else document.shadow
    store.change(repository / store.NAME, lambda traffic: verb(traffic, release, 50.0, at=at))
    until(lambda: asked(server), lambda found: found[role] == release, within_s=AT_MOST_S, every_s=0.1)


def loaded(server: Served) -> None:
    """Some traffic, of which no request may fail."""
    record = server.load(PIECE_S, rate=RATE, connections=64)
    assert record.count(200) == record.status.size
    assert record.wrong == []


def asked_after_load(server: Served) -> dict[str, Any]:
    loaded(server)
    return asked(server)


@pytest.mark.parametrize(
    ("release", "guards"),
    [(FAILING, {"errors", "fallback"}), (SLOW, {"p99"}), (REVERSING, {"churn"})],
    ids=["every fifth request fails", "100 ms slower", "the reversed order"],
)
def test_a_bad_canary_is_taken_back_by_itself(served: Served, repository: Path, release: int, guards: set[str]) -> None:
    begin(served, repository, release)
    began = time.monotonic()
    found = until(lambda: asked_after_load(served), lambda found: found["canary"] is None, within_s=AT_MOST_S)
    took = time.monotonic() - began
    taken_back = found["beside"]["taken_back"]
    assert taken_back["release"] == release
    assert taken_back["guard"] in {*guards, "fallback"}
    with timed():  # what a standstill made late was answered by the ladder, which counts as well
        assert taken_back["guard"] in guards
    assert taken_back["unwritten"] == ""
    written = store.read(repository / store.NAME)
    assert written.canary is None
    assert written.change == f"canary {release} off"
    assert written.why == f"guard {taken_back['guard']}: {taken_back['why']}"
    assert served.metric("racksort_release_guard_broken_total", guard=taken_back["guard"]) >= 1
    loaded(served)
    print(f"release {release} after {took:.0f} s: {written.why}")  # noqa: T201 - a figure for who runs it


@pytest.mark.parametrize("role", ["canary", "shadow"])
def test_what_crashes_beside_the_live_release_goes_alone(served: Served, repository: Path, role: str) -> None:
    reloads = served.metric("racksort_triton_reloads_total")
    restarts = served.metric("racksort_triton_restarts_total")
    live = served.tritons()
    begin(served, repository, CRASHING, role)
    full = asked_for = 0

    def asked_meanwhile() -> dict[str, Any]:
        nonlocal full, asked_for
        record = served.load(PIECE_S, rate=RATE, connections=64)
        assert record.count(200) == record.status.size
        full, asked_for = full + int(record.full.sum()), asked_for + record.status.size
        return asked(served)

    found = until(asked_meanwhile, lambda found: found[f"wanted_{role}"] is None, within_s=AT_MOST_S)
    assert "its ranking process ended (exit status 1)" in store.read(repository / store.NAME).why
    loaded(served)
    assert served.tritons() == live
    assert served.metric("racksort_triton_reloads_total") == reloads
    assert served.metric("racksort_triton_restarts_total") == restarts
    with timed():
        assert asked_for - full <= RATE  # what its process had, and what came until it was seen that it has ended
    if role == "canary":
        assert found["beside"]["taken_back"]["guard"] == "process"
    print(f"{role}: {asked_for - full} of {asked_for} by the ladder")  # noqa: T201 - a figure for who runs it


def test_a_good_canary_stays(served: Served, repository: Path) -> None:
    begin(served, repository, GOOD)

    def held(found: dict[str, Any]) -> bool:
        assert found["canary"] == GOOD, found
        return all(each["state"] == "held" for each in found["beside"]["guards"])

    found = until(lambda: asked_after_load(served), held, within_s=AT_MOST_S)
    (comparison,) = found["beside"]["comparisons"]
    assert (comparison["role"], comparison["release"], comparison["live"]) == ("canary", GOOD, 1)
    assert comparison["rbo"] == pytest.approx(1)


def test_a_triton_that_dies_is_no_fault_of_the_canary(served: Served, repository: Path) -> None:
    if asked(served)["canary"] != GOOD:
        begin(served, repository, GOOD)
    loaded(served)
    for pid in served.tritons():
        os.kill(pid, signal.SIGKILL)

    def again(found: dict[str, Any]) -> bool:
        assert found["canary"] == GOOD, found
        states = {each["release"]: each["state"] for each in found["releases"]}
        serving_both = states[1] == states[GOOD] == "serving"
        return bool(served.tritons()) and serving_both and served.readiness()[1] == "ready"

    until(lambda: asked_after_load(served), again, within_s=AT_MOST_S)  # the ladder answers meanwhile
    for _ in range(5):
        loaded(served)
    found = asked(served)
    assert found["canary"] == GOOD, found
    assert store.read(repository / store.NAME).canary is not None
