"""The embedded server on the committed release: starts, says clearly why it can't, and leaves nothing behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.conftest import REPOSITORY
from tests.pace import RETRIED, soon
from tests.waiting import until

pytestmark = [pytest.mark.e2e, RETRIED]


def shared_memory() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").glob("racksort-triton-*")}


def group_members(leader: int) -> list[int]:
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            members.append(int(entry.name))
    return members


def until_left(leader: int, before: set[str]) -> None:
    """See that at once there is no process of the server, and no shared memory but what there was ``before``."""
    with soon():
        until(lambda: group_members(leader), lambda members: not members)
        until(shared_memory, before.issuperset)


@pytest.fixture
def copied_repository(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "model_repository"
    shutil.copytree(REPOSITORY, target)
    yield target
    shutil.rmtree(target)


@pytest.mark.slow
def test_it_leaves_no_process_no_file_and_no_shared_memory() -> None:
    before = shared_memory()
    server = EmbeddedTriton(TritonOptions(repository=REPOSITORY))
    server.start()
    leader = server.pid
    assert len(group_members(leader)) == 1 + len(contract.MODELS)  # the server and a stub per model
    assert shared_memory() > before
    server.stop()
    until_left(leader, before)


def test_a_killed_server_is_cleaned_up_after() -> None:
    before = shared_memory()
    server = EmbeddedTriton(TritonOptions(repository=REPOSITORY))
    server.start()
    leader = server.pid
    os.kill(leader, signal.SIGKILL)
    server.stop()
    until_left(leader, before)


@pytest.mark.slow
def test_it_ends_with_its_parent_and_the_next_start_sweeps_up() -> None:
    before = shared_memory()
    script = (
        "import sys, signal; from pathlib import Path\n"
        "from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions\n"
        "server = EmbeddedTriton(TritonOptions(repository=Path(sys.argv[1])))\n"
        "server.start(); print(server.pid, flush=True); signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(REPOSITORY)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        leader = int(parent.stdout.readline())
        family = {pid: os.pidfd_open(pid) for pid in group_members(leader)}
        assert len(family) == 1 + len(contract.MODELS)
        parent.kill()
    try:
        for pid, descriptor in family.items():  # readable once the process has ended: waits for that, not for a time
            assert select.select([descriptor], [], [], 30)[0], f"process {pid} outlived its parent"
    finally:
        for descriptor in family.values():
            os.close(descriptor)
        if group_members(leader):
            os.killpg(leader, signal.SIGKILL)
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY)):
        pass
    until_left(leader, before)


def test_stopping_twice_and_an_unknown_end_are_told_apart() -> None:
    server = EmbeddedTriton(TritonOptions(repository=REPOSITORY))
    server.start()
    os.kill(server.pid, signal.SIGKILL)
    assert "Triton ended with status -9" in server.wait()
    server.stop()
    server.stop()
    assert server.wait() == ""


@pytest.mark.slow
def test_proxies_have_no_business_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as server:
        assert server.alive()


def test_an_unknown_configuration_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RacksortError, match=r"'nonsense'.*gpu"):
        EmbeddedTriton(TritonOptions(repository=REPOSITORY, config_name="nonsense")).start()


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RacksortError, match=rf"port {port} .*in use"):
            EmbeddedTriton(TritonOptions(repository=REPOSITORY, grpc_port=port)).start()


def test_a_missing_release_names_the_file_and_the_remedy() -> None:
    with pytest.raises(RacksortError, match=r"no release 99: .*personalize_v99/config\.pbtxt.*racksort train"):
        EmbeddedTriton(TritonOptions(repository=REPOSITORY, releases=(99,))).start()


@pytest.mark.parametrize("model", [model.name for model in contract.ONNX_MODELS])
def test_a_corrupt_model_is_named(copied_repository: Path, model: str) -> None:
    (copied_repository / model / "1" / "model.onnx").write_bytes(b"\x00corrupt")
    server = EmbeddedTriton(TritonOptions(repository=copied_repository))
    with pytest.raises(RacksortError, match=model) as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert not server.alive()


@pytest.mark.parametrize("file", ["model.py", "ranking.py", "settings.json"])
def test_a_missing_file_of_the_ranking_step_is_named(copied_repository: Path, file: str) -> None:
    (copied_repository / "ranking" / "1" / file).unlink()
    server = EmbeddedTriton(TritonOptions(repository=copied_repository))
    with pytest.raises(RacksortError, match=f"ranking/1/{file}") as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert not server.alive()


def test_a_gpu_configuration_is_refused_where_there_is_none(copied_repository: Path) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RacksortError, match="ended while starting"):
        EmbeddedTriton(TritonOptions(repository=copied_repository, config_name="gpu")).start()
