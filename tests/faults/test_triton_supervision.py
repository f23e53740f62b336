"""A supervised Triton, really broken: each fault is noticed, healed without a person, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ensemble import contract
from ensemble.runtime import stubs
from ensemble.runtime.canary import Canary, Health
from ensemble.runtime.supervision_policy import Policy
from ensemble.runtime.supervision_status import Status
from ensemble.runtime.supervisor import Supervisor
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.conftest import REPOSITORY
from tests.e2e.test_serve import descendants, free_port, get, serving
from tests.pace import AT_ONCE_S, RETRIED, timed
from tests.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.e2e, RETRIED]

NOTICED_S = 1.0
SLACK_S = AT_ONCE_S
"""What a machine with other work may add to the promise. The figures are printed (docs/triton-supervision.md)."""
PATIENT = Policy(reload_timeout_s=60.0)
"""A busy machine may need more than the 5 s that are shipped for a reload, which would become a restart."""


class Log:
    """The supervisor's lines; tests wait for them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._news:
            self.lines.append(line)
            self._news.notify_all()

    def wait_for(self, text: str, after: int = 0) -> None:
        with self._news:
            assert self._news.wait_for(lambda: any(text in line for line in self.lines[after:]), PATIENCE_S), self.lines


class Census(threading.Thread):
    """Counts the servers on one port that are alive at the same time, all the time."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._port = f"--grpc-port={address.rsplit(':', 1)[1]}".encode()
        self._ended = threading.Event()
        self.most = 0
        self.counts = 0

    def servers(self) -> set[int]:
        """Process groups, one a server: a stub that is being started looks like its server, but is of its group."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            group = stubs.group_of(int(entry.name))
            if arguments[0].endswith(b"/tritonserver") and self._port in arguments and group is not None:
                found.add(group)
        return found

    def run(self) -> None:
        counted = False
        while not counted or not self._ended.wait(0.05):  # once at least, however short the time
            self.most = max(self.most, len(self.servers()))
            self.counts += 1
            counted = True

    def end(self) -> None:
        self._ended.set()
        self.join()


class Supervised:
    """A server, its supervisor, and what they said."""

    def __init__(self, server: EmbeddedTriton, policy: Policy) -> None:
        self.server = server
        self.log = Log()
        self._homes: set[str] = set()
        self.census = Census(server.address)
        self.canary = Canary(server.address, 1)
        self.supervisor = Supervisor(server, Canary(server.address, 1), policy, on_event=self.log)

    @property
    def status(self) -> Status:
        return self.supervisor.status

    def stub(self, model: str) -> stubs.Stub:
        return next(stub for stub in stubs.of_server(self.server.pid) if stub.model == model)

    def survives(self, fault: Callable[[], None]) -> Status:
        """Break it, wait until it is healed, and check what must hold for every fault."""
        self.nothing_is_left()
        said = len(self.log.lines)
        broken_at = time.monotonic()
        fault()
        self.log.wait_for("ranks again", after=said)
        status = self.status
        with timed():  # a machine that stands still is trouble of its own, before or after this one
            assert status.noticed_at is not None
            assert status.healed_at is not None
            noticed, healed = status.noticed_at - broken_at, status.healed_at - broken_at
            print(f"noticed after {noticed:.2f} s, healed after {healed:.2f} s: {status.why}")  # noqa: T201 - a figure
            assert 0 <= noticed < NOTICED_S + SLACK_S
        assert self.canary.check(10).health is Health.HEALTHY
        assert self.census.most == 1
        assert len(self.census.servers()) == 1
        self.nothing_is_left()
        return status

    def nothing_is_left(self) -> None:
        """One process a model and its shared memory, and no more; what a reload leaves goes within seconds."""
        until(
            lambda: self._shared_memory() == self._in_use() and self._is_whole(),
            every_s=0.05,
            explain=lambda: (self._shared_memory(), stubs.of_server(self.server.pid)),
        )

    def _is_whole(self) -> bool:
        return len(stubs.of_server(self.server.pid)) == len(contract.MODELS)

    def _in_use(self) -> set[str]:
        return {stub.segment for stub in stubs.of_server(self.server.pid)}

    def _shared_memory(self) -> set[str]:
        """Names in /dev/shm of this server and of those that it was before."""
        if self.server._home is not None:
            self._homes.add(self.server._home.name)
        return {entry.name for home in self._homes for entry in Path("/dev/shm").glob(f"{home}-*")}


@contextmanager
def supervised(policy: Policy = PATIENT) -> Iterator[Supervised]:
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as server:
        each = Supervised(server, policy)
        each.census.start()
        try:
            with each.supervisor:
                yield each
        finally:
            each.canary.close()
            each.census.end()
    assert each.census.servers() == set()
    assert each.census.counts


@pytest.fixture(scope="module")
def kept() -> Iterator[Supervised]:
    """One for all the faults that a server is to survive one after the other."""
    with supervised() as each:
        yield each


def test_a_killed_server_is_restarted_on_the_same_ports(kept: Supervised) -> None:
    address, metrics, pid = kept.server.address, kept.server.metrics_url, kept.server.pid
    restarts = kept.status.restarts
    status = kept.survives(lambda: os.kill(pid, signal.SIGKILL))
    assert status.restarts == restarts + 1
    assert (kept.server.address, kept.server.metrics_url) == (address, metrics)
    assert kept.server.pid != pid
    assert "status -9" in status.why


def test_a_killed_ranking_process_is_replaced_while_the_server_runs_on(kept: Supervised) -> None:
    pid, reloads = kept.server.pid, kept.status.reloads
    status = kept.survives(lambda: os.kill(kept.stub("ranking").pid, signal.SIGKILL))
    assert status.reloads == reloads + 1
    assert kept.server.pid == pid
    assert "ranking" in status.why


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ranking", "collaborative_filter"])
def test_a_crashed_model_process_is_replaced(model: str) -> None:
    with supervised() as each:
        status = each.survives(lambda: os.kill(each.stub(model).pid, signal.SIGSEGV))
        assert (status.reloads, status.restarts) == (1, 0)


@pytest.mark.slow
def test_a_reload_has_time_enough_with_the_policy_that_is_shipped() -> None:
    with supervised(Policy()) as each:
        status = each.survives(lambda: os.kill(each.stub("ranking").pid, signal.SIGKILL))
        assert status.reloads + status.restarts >= 1
        with timed():
            assert (status.reloads, status.restarts) == (1, 0)


@pytest.mark.slow
def test_requests_that_met_the_dead_process_leave_nothing_behind_either() -> None:
    """Triton never finishes unloading a model then, and would keep the dead process's shared memory."""
    with supervised() as each:
        ended = threading.Event()
        asking = threading.Thread(target=_ask_until, args=(each.server.address, ended))
        asking.start()
        try:
            for _ in range(3):
                each.survives(lambda: os.kill(each.stub("ranking").pid, signal.SIGKILL))
            assert each.status.reloads == 3
            pid = each.server.pid
            status = each.survives(lambda: os.kill(each.stub("ranking").pid, signal.SIGKILL))
            assert (status.reloads, status.restarts) == (3, 1)  # too many reloads: what they left goes with the server
            assert each.server.pid != pid
        finally:
            ended.set()
            asking.join()


def _ask_until(address: str, ended: threading.Event) -> None:
    canary = Canary(address, 1)
    while not ended.is_set():
        canary.check(3)
    canary.close()


@pytest.mark.slow
def test_a_stopped_server_is_noticed_and_replaced() -> None:
    with supervised() as each:
        status = each.survives(lambda: os.kill(each.server.pid, signal.SIGSTOP))
        assert (status.reloads, status.restarts) == (0, 1)
        assert "hangs" in status.why


@pytest.mark.slow
def test_a_stopped_model_process_is_noticed_and_replaced() -> None:
    with supervised() as each:
        stub = each.stub("ranking")
        status = each.survives(lambda: os.kill(stub.pid, signal.SIGSTOP))
        assert status.reloads + status.restarts == 1
        assert not stub.alive(each.server.pid)


@pytest.mark.slow
def test_a_server_that_only_stood_still_for_a_moment_is_left_alone() -> None:
    with supervised() as each:
        pid = each.server.pid
        os.kill(pid, signal.SIGSTOP)
        each.log.wait_for("doesn't rank")
        os.kill(pid, signal.SIGCONT)
        each.log.wait_for("ranks again")
        status = each.status
        assert status.reloads == 0
        if status.restarts:  # it had no turn for so long after that, or before, that it hung
            assert "it hangs" in status.why
        else:
            assert each.server.pid == pid
        with timed():
            assert status.restarts == 0


@pytest.mark.slow
def test_stopping_while_a_restart_is_under_way_leaves_no_server() -> None:
    with supervised() as each:
        os.kill(each.server.pid, signal.SIGKILL)
        each.log.wait_for("restarting")
    assert each.census.servers() == set()
    assert not each._shared_memory()
    assert each.census.most <= 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_racksort_serve_survives_the_end_of_its_triton(catalog_dir: Path) -> None:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    with serving(*options) as (process, curl):
        before = descendants(process.pid)
        os.kill(_server_among(before), signal.SIGKILL)
        degraded = 0

        def page() -> tuple[str, set[int]]:
            nonlocal degraded
            status, _, body = get(curl)
            assert status == 200
            degraded += body["degraded"]
            return body["source"], descendants(process.pid)

        _, family = until(
            page,
            lambda found: found[0] == "ensemble" and len(found[1]) == 5 and not found[1] & before,
            every_s=0.05,
        )
        assert degraded
    assert process.returncode in {0, 130}
    assert not {pid for pid in family if stubs.group_of(pid) is not None}


def _server_among(pids: set[int]) -> int:
    return next(pid for pid in pids if stubs.group_of(pid) == pid)
