"""Releases on the real Triton, while requests run: every answer comes from exactly one, and no switch costs one."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.releases.lanes import PLACES, place
from ensemble import configs, contract
from ensemble.releases.layout import release_in
from loadtest.processes import below
from tests.conftest import REPOSITORY
from tests.e2e.test_serve import free_port, get, serving
from tests.pace import RETRIED, UNHURRIED_VARIABLES, timed
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900), RETRIED]

SEEN_WITHIN_S = 2.0
BACK_WITHIN_S = 5.0
PERCENT = 20.0
RESTARTED_WITHIN_S = 150.0
"""A limit for what includes starts of Triton, which nothing is promised of."""


@dataclass(frozen=True, slots=True)
class Answer:
    at: float
    """When it was asked for."""
    customer: int
    release: str | None
    degraded: tuple[str, ...]
    products: tuple[int, ...]


class Requests:
    """Two clients that ask for page after page, each for one customer after the other."""

    def __init__(self, base: str) -> None:
        self._address = urlsplit(base).netloc
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=[first], daemon=True) for first in (1, 2)]
        self.answers: list[Answer] = []
        self.failures: list[str] = []

    def _ask(self, first: int) -> None:
        client = http.client.HTTPConnection(self._address, timeout=60)
        customer = first
        while not self._ended.is_set():
            customer = customer % 400 + 2
            at = time.monotonic()
            try:
                client.request("GET", f"/v1/containers/popular/products?customer_id={customer}&limit=6")
                response = client.getresponse()
                body = json.load(response)
                if response.status != 200:
                    self.failures.append(str(body))
                    continue
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(repr(error))
                client.close()
                continue
            reasons = tuple(body["degraded_reasons"])
            self.answers.append(Answer(at, customer, body["release"], reasons, tuple(body["product_ids"])))
        client.close()

    def since(self, moment: float) -> list[Answer]:
        """What was asked for from then on."""
        return [each for each in list(self.answers) if each.at >= moment]

    @contextmanager
    def running(self) -> Iterator[Requests]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join(30)


def copied(folder: Path) -> Path:
    """Release 1; release 2 with another ranking; release 3, of which one model is torn."""
    repository = folder / "models"
    shutil.copytree(
        REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__", "releases.json*", ".releases*")
    )
    for release in (2, 3):
        for model in contract.MODELS:
            shutil.copytree(repository / model.name / "1", repository / model.name / str(release))
        versions = {model.name: release for model in contract.MODELS}
        configs.write(repository, configs.generate(release, versions, release_in(repository, 1).history_until_day))
    settings = repository / contract.RANKING.name / "2" / "settings.json"
    given = json.loads(settings.read_text())
    settings.write_text(json.dumps({**given, "affinity": 5.0, "preference": -1.0}))
    torn = repository / contract.COLLABORATIVE_FILTER.name / "3" / "model.onnx"
    torn.write_bytes(torn.read_bytes()[:1_000])
    return repository


@dataclass(frozen=True, slots=True)
class Served:
    base: str
    pid: int
    repository: Path

    def release(self, *arguments: object, url: bool = True) -> subprocess.CompletedProcess[str]:
        """A verb of ``racksort release`` on this server."""
        to = ["--url", self.base] if url else []
        return subprocess.run(
            [sys.executable, "-m", "racksort", "release", *map(str, arguments), "--repository", self.repository, *to],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        _, _, body = get(f"{self.base}/v1/releases")
        return body  # type: ignore[no-any-return]

    def state(self, release: int) -> str | None:
        return next((each["state"] for each in self.status()["releases"] if each["release"] == release), None)

    def triton(self) -> int:
        (pid,) = [pid for pid, name in below(self.pid).items() if name == "tritonserver"]
        return pid

    def triton_or_none(self) -> int | None:
        return next((pid for pid, name in below(self.pid).items() if name == "tritonserver"), None)


@pytest.fixture(scope="module")
def served(catalog_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    repository = copied(tmp_path_factory.mktemp("releases"))
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(repository)]
    # What is asked is which release answers, not how soon.
    with serving(*options, environment=UNHURRIED_VARIABLES) as (process, curl):
        drained = threading.Thread(target=process.stderr.read if process.stderr else print, daemon=True)
        drained.start()  # what it says later must not fill the pipe
        yield Served(curl.split("/v1/")[0], process.pid, repository)


def done(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_release_goes_all_the_way_and_back_while_requests_run(served: Served) -> None:
    with Requests(served.base).running() as requests:
        until(lambda: len(requests.answers) > 100)
        done(served.release("canary", 2, "--percent", PERCENT))
        tried = time.monotonic()
        until(lambda: len(requests.since(tried)) > 600)
        for answer in requests.since(tried):
            theirs = place(2, answer.customer, None) < PERCENT * PLACES / 100
            assert answer.release == ("personalize_v2" if theirs else "personalize_v1")

        done(served.release("shadow", 2, "--percent", 10))
        done(served.release("shadow", "--off"))

        began = time.monotonic()
        done(served.release("promote", 2, "--no-wait"))
        until(lambda: served.status()["live"] == 2)
        promoted = time.monotonic()
        with timed():
            assert promoted - began < SEEN_WITHIN_S + 2  # the command itself takes about a second
        until(lambda: len(requests.since(promoted)) > 200)
        assert {each.release for each in requests.since(promoted)} == {"personalize_v2"}

        back_at = time.monotonic()
        done(served.release("rollback"))
        until(lambda: served.status()["live"] == 1)
        rolled_back = time.monotonic()
        with timed():
            assert rolled_back - back_at < BACK_WITHIN_S
        until(lambda: len(requests.since(rolled_back)) > 200)
        assert {each.release for each in requests.since(rolled_back)} == {"personalize_v1"}

    assert not requests.failures
    assert {each.release for each in requests.answers} == {"personalize_v1", "personalize_v2"}
    assert not [each for each in requests.answers if each.degraded]
    # Each release has one order for a customer, and the two differ: their ranking settings do.
    orders: dict[tuple[int, str | None], set[tuple[int, ...]]] = {}
    for each in requests.answers:
        orders.setdefault((each.customer, each.release), set()).add(each.products)
    assert all(len(found) == 1 for found in orders.values())
    both = {customer for customer, release in orders if release == "personalize_v2"}
    assert any(orders[each, "personalize_v1"] != orders[each, "personalize_v2"] for each in both)
    assert began < promoted


def test_a_switch_is_seen_within_two_seconds_of_the_change(served: Served) -> None:
    from datetime import UTC, datetime

    from api.releases import document, store

    path = served.repository / store.NAME
    until(lambda: served.state(2) in {"standby", "retiring", None, "serving"})
    done(served.release("canary", 2))
    for verb in (document.promote, document.rollback):
        arguments = (2,) if verb is document.promote else ()
        began = time.monotonic()
        changed = store.change(
            path,
            lambda traffic, verb=verb, arguments=arguments: verb(traffic, *arguments, at=datetime.now(UTC)),  # type: ignore[misc]
        )
        until(lambda wanted=changed.after.live: served.status()["live"] == wanted)  # type: ignore[misc]
        with timed():
            assert time.monotonic() - began < SEEN_WITHIN_S


def test_a_torn_release_is_refused_and_a_killed_triton_comes_back_on_what_served(served: Served) -> None:
    done(served.release("promote", 2))
    before = served.status()
    with Requests(served.base).running() as requests:
        ran = served.release("promote", 3)
        assert ran.returncode == 2
        assert "release 3 can't have traffic" in ran.stderr
        assert "collaborative_filter/3" in ran.stderr
        assert "Traceback" not in ran.stderr
        until(lambda: served.status()["wanted_live"] == before["live"])  # put back
        assert served.status()["live"] == before["live"]
        refused = time.monotonic()
        until(lambda: len(requests.since(refused)) > 100)
    assert not requests.failures
    assert {each.release for each in requests.answers} == {f"personalize_v{before['live']}"}
    assert not [each for each in requests.answers if each.degraded]
    history = json.loads(done(served.release("status", "--json")))["history"]
    assert history[0]["change"] == "promote 3 put back"

    done(served.release("canary", 3, "--no-wait"))  # wanted still when Triton is killed
    until(lambda: served.state(3) == "refused")
    pid = served.triton()
    os.kill(pid, signal.SIGKILL)
    until(lambda: _ranks(served, before["live"]), within_s=RESTARTED_WITHIN_S)
    assert served.triton() != pid
    done(served.release("rollback"))  # what was live last is there again as well
    until(lambda: _ranks(served, 1))


def _ranks(served: Served, live: int) -> bool:
    _, _, body = get(f"{served.base}/v1/containers/popular/products?customer_id=1")
    alive = [pid for pid, name in below(served.pid).items() if name == "tritonserver"]
    return bool(alive) and body["source"] == "ensemble" and body["release"] == f"personalize_v{live}"


def test_a_release_that_keeps_triton_from_starting_is_stood_in_for_and_rolled_back(served: Served) -> None:
    done(served.release("status"))
    if served.status()["wanted_live"] != 2:
        done(served.release("promote", 2))
    code = served.repository / contract.RANKING.name / "2" / "model.py"
    whole = code.read_bytes()
    try:
        code.write_text("def broken(:\n")
        before = served.triton()
        os.kill(before, signal.SIGKILL)
        until(lambda: _ranks(served, 1), within_s=RESTARTED_WITHIN_S)  # nobody has done anything
        assert served.state(2) != "serving"
        served.release("rollback", "--wait", 60)
        until(
            lambda: served.status()["wanted_live"] == 1 and served.state(1) == "serving" and _ranks(served, 1),
            within_s=RESTARTED_WITHIN_S,
        )
        pid = served.triton()
        os.kill(pid, signal.SIGKILL)
        until(lambda: served.triton_or_none() not in {None, pid} and _ranks(served, 1), within_s=RESTARTED_WITHIN_S)
    finally:
        code.write_bytes(whole)


def test_a_rollback_while_triton_is_down_is_what_it_comes_back_on(served: Served) -> None:
    done(served.release("promote", 2))
    code = served.repository / contract.RANKING.name / "2" / "model.py"
    whole = code.read_bytes()
    try:
        code.write_text("def broken(:\n")
        os.kill(served.triton(), signal.SIGKILL)
        done(served.release("rollback", "--no-wait"))
        until(lambda: served.state(1) == "serving" and _ranks(served, 1), within_s=RESTARTED_WITHIN_S)
    finally:
        code.write_bytes(whole)


def test_a_release_that_is_not_there_changes_nothing(served: Served) -> None:
    before = served.status()["version"]
    ran = served.release("promote", 99)
    assert ran.returncode == 2
    assert "personalize_v99" in ran.stderr
    assert served.status()["version"] == before
