"""Replayed shopping for Locust: ``locust -f loadtest/locustfile.py --host http://127.0.0.1:8080``.

Each user walks through sessions of the traffic file: opens a container, follows ``next_cursor`` as far as that customer
scrolls, and goes on to the next. Every answer is checked. docs/loadtest.md says how to run it, and what it can drive.
"""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, ClassVar

import gevent
from locust import FastHttpUser, LoadTestShape, events, task
from locust.env import Environment
from locust.exception import CatchResponseError, StopTest
from locust.runners import MasterRunner, WorkerRunner

from ensemble.errors import RacksortError
from loadtest.checks import check
from loadtest.lean_client import LeanClient
from loadtest.ledger import BETWEEN, Ledger
from loadtest.locust_options import LEAN, add_arguments, asked_curve, refuse
from loadtest.loopback import require_loopback
from loadtest.mix import Mix, kept, traffic_file
from loadtest.replay import Replay, Visit, visits
from loadtest.results import Result
from loadtest.shapes import STEPS, Curve

_LOG = logging.getLogger(__name__)
_KEY = "racksort"
"""Of our part of a worker's reports."""
_SHOWN_FLAWS = 5
"""Wrong answers that are logged in full by each process."""
_SETTLING_S = 1.5
"""From a phase's begin until it counts: Locust looks once a second how many users are wanted, then starts them."""
_SATURATED = 0.9
"""Share of the asked rate below which a step counts as too much."""


events.init_command_line_parser.add_listener(add_arguments)


class Replaying(LoadTestShape):
    """Users for the rate that a curve asks for at each moment; ends with the curve."""

    abstract = True  # Locust would use it for every run, also for those that ask for users themselves

    def __init__(self, shape: str, asked: Curve, user_rate: float) -> None:
        """A curve of load by users that ask for ``user_rate`` pages a second each."""
        super().__init__()
        self._curve = asked
        self._user_rate = user_rate
        self._ends_when_saturated = shape == STEPS
        self._step: int | None = None

    def tick(self) -> tuple[int, float] | None:
        """Users at this moment, and how many of them may start in a second; None at the end."""
        now = self.get_run_time()
        rate = self._curve.rate_at(now)
        if rate is None or (self._ends_when_saturated and self._saturated(now)):
            return None
        users = max(1, math.ceil(rate / self._user_rate))
        return users, float(users)

    def _saturated(self, now: float) -> bool:
        """Whether the step that has just ended got less than it asked for."""
        number = self._curve.phase_at(now)
        step, self._step = self._step, number
        if step is None or step == number or not self._curve.phases[step].counted:
            return False
        got = Shopper.ledger.rate(step)
        return got is not None and got < _SATURATED * self._curve.phases[step].begin


class Shopper(FastHttpUser):
    """A place at which one customer after the other shops, at a steady pace."""

    network_timeout = 5.0
    connection_timeout = 5.0
    sessions: ClassVar[Iterator[Visit]]
    """Shared by all users of the process."""
    ledger: ClassVar[Ledger]
    interval: ClassVar[float]
    """Seconds between two pages of a user."""
    random: ClassVar[Random]
    """Where in its pace a user begins."""
    lean: ClassVar[bool] = True
    allow_remote: ClassVar[bool] = False
    flaws_shown: ClassVar[int] = 0

    def __init__(self, environment: Environment) -> None:
        """A user of the host that was asked for, which must be this machine."""
        super().__init__(environment)
        self._cursor = ""
        self._due = 0.0
        self._visit: Visit
        self._lean: LeanClient | None = None
        try:
            require_loopback(self.host or "", allow_remote=self.allow_remote)
            if self.lean:
                self._lean = LeanClient(self.host or "", self.network_timeout)
        except RacksortError as error:
            raise StopTest(str(error)) from None

    def on_start(self) -> None:
        """Begin at any moment of the pace: Locust starts many users at once, who would stay in step."""
        gevent.sleep(self.random.random() * self.interval)
        self._due = perf_counter()
        self._open()

    def wait_time(self) -> float:
        """Until the next page is due. Who waited longer for an answer goes on at once, and doesn't catch up."""
        now = perf_counter()
        self._due = max(self._due + self.interval, now)
        return self._due - now

    @task
    def page(self) -> None:
        """Ask for the next page of the session, and look at it."""
        path = self._visit.path + self._cursor
        if self._lean is None:
            with self.client.get(path, catch_response=True) as response:
                meta, body = response.request_meta, response.content or b""
                error = "" if response.status_code else type(response.error).__name__
                flaw, meta["name"] = self._judge(path, response.status_code, body, meta["response_time"], error)
                if flaw:
                    response.failure(flaw)
                else:
                    response.success()
            return
        answer = self._lean.get(path)
        flaw, name = self._judge(path, answer.status, answer.body, answer.ms, answer.error)
        self.environment.events.request.fire(
            request_type="GET",
            name=name,
            response_time=answer.ms,
            response_length=len(answer.body),
            exception=CatchResponseError(flaw) if flaw else None,
            context={},
        )

    def on_stop(self) -> None:
        """Leave."""
        if self._lean is not None:
            self._lean.close()

    def _judge(self, path: str, status: int, body: bytes, ms: float, error: str = "") -> tuple[str, str]:
        """Check and count an answer, and go on to what is asked for next.

        Returns what is wrong with it, or nothing, and its name in Locust's statistics.
        """
        visit = self._visit
        name = visit.name + (", next page" if self._cursor else "")
        flaw, page = check(status, body, visit.scroll)
        if flaw:
            flaw = error or flaw
            self.ledger.wrong(flaw)
            if Shopper.flaws_shown < _SHOWN_FLAWS:
                Shopper.flaws_shown += 1
                _LOG.warning("%s: %s: %s", flaw, path, body[:500].decode(errors="replace"))
        elif page is not None:
            self.ledger.right(ms, degraded=page.degraded)
            if page.degraded:
                name += " (degraded)"
        if page is not None and not flaw and page.next_cursor and visit.scroll.pages < visit.pages:
            self._cursor = f"&cursor={page.next_cursor}"
        else:
            self._open()
        return flaw, name

    def _open(self) -> None:
        self._visit = next(self.sessions)
        self._cursor = ""


@cache
def _replay(path: str, seed: int, catalog: str) -> Replay:
    """The traffic, made where it is missing by a process of its own, which takes the memory that this needs along."""
    if path:
        return Replay.load(Path(path))
    file = traffic_file(seed)
    if (Path(catalog) / "catalog.json").exists() and (replay := kept(file, Path(catalog), Mix(seed=seed))) is not None:
        return replay
    command = [sys.executable, "-m", "racksort", "loadtest", "prepare", "--json", "--seed", str(seed)]
    command += ["--catalog", catalog, "--out", str(file)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own command line
    if done.returncode:
        raise RacksortError(f"{file}: the traffic can't be made")
    return Replay.load(file)


@events.init.add_listener
def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """Refuse what can't be run before anything starts, and take part in the reports of workers and the end."""
    options: Any = environment.parsed_options
    try:
        refuse(environment.host, options)
        asked = asked_curve(options)
        _replay(options.traffic, options.seed, options.catalog)  # a master too, so that it doesn't begin before that
    except RacksortError as error:
        sys.stderr.write(f"racksort: {error}\n")
        sys.exit(2)
    if asked is not None and not isinstance(runner, WorkerRunner):
        environment.shape_class = Replaying(options.shape_name, asked, options.user_rate)
        environment.shape_class.runner = runner
    if isinstance(runner, WorkerRunner):
        return

    @environment.events.quit.add_listener
    def save(**_: Any) -> None:
        if options.result and hasattr(Shopper, "ledger"):
            shape, url = options.shape_name or "users", environment.host or ""
            phases = Shopper.ledger.phases()
            Result(generator="Locust", url=url, shape=shape, phases=phases).save(Path(options.result))


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Count from here, in every process."""
    options: Any = environment.parsed_options
    runner = environment.runner
    Shopper.ledger = Ledger(asked_curve(options))
    Shopper.interval = 1 / options.user_rate
    Shopper.allow_remote = options.allow_remote
    Shopper.lean = options.client == LEAN
    gevent.spawn(_follow_phases, Shopper.ledger, asked_curve(options))
    if isinstance(runner, MasterRunner):
        return
    worker = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    Shopper.random = Random(f"{options.seed}/{worker}")  # noqa: S311 - load, not secrets
    replay = _replay(options.traffic, options.seed, options.catalog)
    Shopper.sessions = visits(replay, Shopper.random.randrange(replay.customer.size))


def _follow_phases(ledger: Ledger, asked: Curve | None) -> None:
    started = perf_counter()
    for number, second in enumerate(asked.starts() if asked is not None else ()):
        gevent.sleep(max(0.0, started + second - perf_counter()))
        if number:
            ledger.enter(BETWEEN)
            gevent.sleep(_SETTLING_S)
        ledger.enter(number)


@events.report_to_master.add_listener
def report(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - Locust passes it by name
    """A worker's counts since its last report."""
    if hasattr(Shopper, "ledger"):
        data[_KEY] = Shopper.ledger.drain()


@events.worker_report.add_listener
def merge(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - Locust passes it by name
    """Take a worker's counts."""
    if data.get(_KEY) and hasattr(Shopper, "ledger"):
        Shopper.ledger.merge(data[_KEY])
