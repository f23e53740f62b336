"""Locust as users run it against the real server: every answer right, the gate's verdicts, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.locust_run import LOCUSTFILE
from loadtest.results import read
from tests.conftest import REPOSITORY
from tests.e2e.test_serve import free_port, serving
from tests.pace import RETRIED, timed
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600), RETRIED]

PATIENT = {"RACKSORT_DEADLINE_MS": "1000", "RACKSORT_MAX_DEADLINE_MS": "1000"}
"""Whatever else the machine does, answers are full ones."""
RUN_TIME = "15s"
"""Of users without a shape: on a machine that is busy, Locust spends seconds of it on starting them."""


@pytest.fixture(scope="module")
def served(catalog_dir: Path) -> Iterator[str]:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    with serving(*options, environment=PATIENT) as (_, curl):
        yield curl.split("/v1/")[0]


def racksort(folder: Path, *arguments: str, status: int = 0) -> str:
    """What the command prints, run in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-m", "racksort", "loadtest", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": _path()},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def _path() -> str:
    """So that these sources are used in whichever folder a command runs."""
    return os.pathsep.join([str(REPOSITORY.parent), os.environ.get("PYTHONPATH", "")])


def locust(folder: Path, url: str, catalog: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Locust itself, as its users start it."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
            *("--host", url, "--catalog", str(catalog), *arguments),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": _path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, catalog_dir: Path) -> Path:
    """A folder with traffic, in which the commands run."""
    folder = tmp_path_factory.mktemp("load")
    figures = json.loads(racksort(folder, "prepare", "--catalog", str(catalog_dir), "--json"))
    assert figures["sessions"] > 10_000
    return folder


def test_a_headless_run_in_two_processes_has_no_failure_and_passes_the_gate(
    served: str, catalog_dir: Path, workplace: Path
) -> None:
    options = ["--url", served, "--catalog", str(catalog_dir), "--rate", "120", "--seconds", "5", "--processes", "2"]
    said = json.loads(racksort(workplace, "run", *options, "--json"))
    assert said["errors"] == {}
    assert said["requests"] > 0
    with timed():
        assert said["requests"] > 200  # of some 420
    file = workplace / "var" / "loadtest" / "run.json"
    result = read(file)
    assert [phase.name for phase in result.phases] == ["warm-up", "hold", "between"]
    assert result.phases[0].right > 0
    assert result.latencies().count == result.right == said["requests"]  # both workers' reports, to the last one
    low = ["gate", "--min-rate", "20", "--max-errors", "0", "--p999", "30s"]
    assert racksort(workplace, *low, str(file)).count("held") == 3
    high = json.loads(racksort(workplace, "gate", "--min-rate", "100000", "--json", str(file), status=2))
    assert high["held"] is False


@pytest.mark.parametrize("client", ["lean", "fasthttp"])
def test_locust_alone_counts_users_and_checks_their_answers(
    served: str, catalog_dir: Path, workplace: Path, client: str
) -> None:
    file = workplace / f"{client}.json"
    options = ["--users", "10", "--spawn-rate", "10", "--run-time", RUN_TIME, "--client", client, "--result", str(file)]
    done = locust(workplace, served, catalog_dir, *options, "--json-file", str(workplace / f"{client}-stats"))
    assert done.returncode == 0, done.stderr
    result = read(file)
    assert result.errors == 0
    assert result.right > 50
    stats: list[dict[str, Any]] = json.loads((workplace / f"{client}-stats.json").read_text())
    assert sum(each["num_requests"] for each in stats) == result.right
    names = {each["name"].removesuffix(" (degraded)") for each in stats}
    assert {"list", "grid", "grid, next page"} <= names


def test_steps_end_where_the_server_does_not_keep_up(served: str, catalog_dir: Path, workplace: Path) -> None:
    file = workplace / "steps.json"
    options = ["--shape-name", "steps", "--rate", "80000", "--steps", "20", "--seconds", "80", "--user-rate", "200"]
    done = locust(workplace, served, catalog_dir, *options, "--warm-up", "2", "--result", str(file))
    assert "Shape test stopping" in done.stderr
    begun = [phase for phase in read(file).phases if phase.right]
    assert 2 <= len(begun) < 20  # of 20 steps of 4 s, most weren't reached


def test_the_open_loop_sweeps_rates_and_draws_them(served: str, catalog_dir: Path, workplace: Path) -> None:
    options = ["--url", served, "--catalog", str(catalog_dir), "--sweep", "40,80", "--seconds", "2", "--warm-up", "1"]
    picture = workplace / "deep" / "rates.svg"
    said = json.loads(racksort(workplace, "open-loop", *options, "--plot", str(picture), "--json"))
    assert said["errors"] == {}
    assert [phase["asked"] for phase in said["phases"]] == [40, 80]
    assert said["requests"] == 240
    assert b"<svg" in picture.read_bytes()


def test_a_wrong_answer_is_a_failure_of_its_kind(served: str, catalog_dir: Path, workplace: Path) -> None:
    """The traffic says that deals has other products than the server's catalog has."""
    import numpy as np

    from loadtest.replay import Replay

    replay = Replay.load(workplace / "var" / "loadtest" / "traffic-1.npz")
    spoiled = Replay(
        **{name: getattr(replay, name) for name in Replay.__slots__ if name != "members"},
        members=np.where(np.arange(replay.members.size) % 2, replay.members, replay.members + 1),
    )
    file = workplace / "spoiled.npz"
    spoiled.save(file)
    out = workplace / "spoiled.json"
    done = locust(
        *(workplace, served, catalog_dir, "--traffic", str(file), "--users", "5", "--spawn-rate", "5"),
        *("--run-time", RUN_TIME, "--result", str(out)),
    )
    assert done.returncode == 1
    flaws = read(out).flaws()
    assert flaws["a product that isn't of the container"] > 10
    assert "isn't of the container" in done.stdout + done.stderr


def test_what_cannot_be_run_is_refused_before_anything_is_sent(catalog_dir: Path, workplace: Path) -> None:
    elsewhere = "http://192.0.2.1:8080"
    assert "--allow-remote" in racksort(workplace, "run", "--url", elsewhere, status=2)
    assert "--allow-remote" in racksort(workplace, "open-loop", "--url", elsewhere, status=2)
    assert not (workplace / "var" / "catalog").exists()  # nothing was prepared for it either
    for url, more, named in (
        (elsewhere, (), "--allow-remote"),
        ("https://127.0.0.1:1", (), "--client fasthttp"),
        ("http://127.0.0.1:1", ("--user-rate", "0"), "--user-rate"),
        ("http://127.0.0.1:1", ("--shape-name", "soak", "--seconds", "10"), "--seconds 60"),
    ):
        done = locust(workplace, url, catalog_dir, "--users", "1", "--run-time", "1s", *more)
        assert done.returncode == 2
        assert named in done.stderr
        assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there_fails_every_request(catalog_dir: Path, workplace: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        out = workplace / "nobody.json"
        done = locust(
            *(workplace, url, catalog_dir, "--users", "3", "--spawn-rate", "3"),
            *("--run-time", RUN_TIME, "--result", str(out)),
        )
    assert done.returncode == 1
    assert set(read(out).flaws()) == {"ConnectionRefusedError"}


def test_a_worker_started_by_itself_does_the_master_s_work(served: str, catalog_dir: Path, workplace: Path) -> None:
    file, port = workplace / "distributed.json", str(free_port())
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--catalog", str(catalog_dir)]
    with subprocess.Popen(
        [*command, "--worker", "--master-port", port],
        cwd=workplace,
        env=os.environ | {"PYTHONPATH": _path()},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            options = ["--master", "--expect-workers", "1", "--master-bind-port", port, "--shape-name", "hold"]
            options += ["--rate", "60", "--seconds", "4", "--warm-up", "1", "--result", str(file)]
            done = locust(workplace, served, catalog_dir, *options)
            assert done.returncode == 0, done.stderr
            assert worker.wait(30) == 0
        finally:
            worker.kill()
    result = read(file)
    assert [phase.name for phase in result.phases] == ["warm-up", "hold", "between"]
    assert result.phases[1].right > 0
    with timed():
        assert result.phases[1].right > 50  # of some 150
    assert result.errors == 0


def test_the_web_page_starts_and_ends_a_run(served: str, catalog_dir: Path, workplace: Path) -> None:
    """The page's own calls: start with 4 users, look at the figures, stop."""
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", served, "--catalog", str(catalog_dir)]
    with subprocess.Popen(
        [*command, "--web-host", "127.0.0.1", "--web-port", str(port)],
        cwd=workplace,
        env=os.environ | {"PYTHONPATH": _path()},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: b"<html" in _asked(page).lower(), every_s=0.1, not_yet=OSError)
            assert json.loads(_asked(f"{page}/swarm", b"user_count=4&spawn_rate=4"))["success"] is True
            until(lambda: _total(page)["num_requests"], lambda total: total > 20, every_s=0.1, not_yet=OSError)
            assert _total(page)["num_failures"] == 0
            assert json.loads(_asked(f"{page}/stop", b""))["success"] is True
        finally:
            process.terminate()
            process.wait(30)


def _asked(url: str, form: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, form, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def _total(page: str) -> Any:
    return json.loads(_asked(f"{page}/stats/requests"))["stats"][-1]
