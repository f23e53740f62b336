"""``racksort dev elasticsearch`` and the server under it: starts, says why it can't, and leaves nothing behind.

A start takes 7 s and more, so that tests share started servers; those that need one of their own are slow.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from elastic_transport import TlsError
from elasticsearch import AuthenticationException, AuthorizationException, Elasticsearch

from ensemble.errors import RacksortError
from ensemble.runtime import homes
from racksort.cli import main
from racksort.dev.elasticsearch_server import PREFIX, ElasticsearchOptions, EmbeddedElasticsearch
from racksort.dev.provision import Distribution
from tests.conftest import RealElasticsearch, _distribution
from tests.pace import RETRIED, soon
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600), RETRIED]

ENDED_WITHIN_S = 5.0
"""After the command, or the call that stops the server: a JVM gives back gigabytes as it ends."""
TEMPLATE: dict[str, Any] = {"index_patterns": ["racksort-dev-test-*"]}


@pytest.fixture(scope="module")
def distribution() -> Distribution:
    return _distribution()


def homes_of(owner: int) -> set[Path]:
    """Temporary folders of the servers that a process started; others may run theirs."""
    found = set()
    for file in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner"):
        with suppress(FileNotFoundError):
            if file.read_text() == str(owner):
                found.add(file.parent)
    return found


def files_of_jvms(processes: list[int]) -> list[Path]:
    """What JVMs, by their numbers, have put into /tmp, where others' are too."""
    return [
        path
        for process in processes
        for path in (Path(f"/tmp/.java_pid{process}"), *Path("/tmp").glob(f"hsperfdata_*/{process}"))
        if path.exists()
    ]


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


def until_ended(leader: int) -> None:
    """See that no process of the server runs: who was killed may take a moment to end."""
    with soon(ENDED_WITHIN_S):
        until(lambda: group_members(leader), lambda members: not members, every_s=0.05)


@contextmanager
def command(*arguments: str, stderr: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """The command at work; a test that fails doesn't leave it behind."""
    with subprocess.Popen(
        [sys.executable, "-m", "racksort", "dev", "elasticsearch", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs the command in this process, which spares a start of Python; returns its complaint."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["racksort", "dev", "elasticsearch", "--port", "0", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said, complaint = capsys.readouterr()
        assert said == ""
        assert len(complaint.splitlines()) == 1, complaint
        return complaint

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def require_own_folder(home: Path, family: list[int]) -> None:
    """What the launcher and the server write while they run goes where it ends with them, but for one socket."""
    assert any((home / "tmp").glob("final-flags*"))  # which the launcher makes, and leaves
    assert not [path for path in files_of_jvms(family) if path.name.isdigit()]


def require_refused(url: str) -> None:
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=1)


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder to keep indices in, which is below none that the server's user can't enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


def test_it_answers(elasticsearch: RealElasticsearch) -> None:
    server = elasticsearch.server
    if server is None:
        pytest.skip("ELASTICSEARCH_URL names another's")
    family = group_members(server.pid)
    assert len(family) == 2  # the launcher and the server
    assert server._home is not None
    require_own_folder(server._home, family)
    assert server.url.startswith("http://127.0.0.1:")
    assert server.reader_key is server.loader_key is server.ca_cert is None
    assert "started" in server.log_tail(400)
    with server.connection.synchronous() as client:
        client.index(index="racksort-dev-test", document={"price": 1.5}, refresh=True)
        assert client.search(index="racksort-dev-test")["hits"]["total"]["value"] == 1
        client.indices.delete(index="racksort-dev-test")


def test_the_command_says_what_to_export_and_leaves_only_the_data(distribution: Distribution, data: Path) -> None:
    assert distribution.home.is_dir()
    with command("--data", str(data)) as process:
        name, _, url = first_line(process).partition("=")
        assert name == "export ELASTICSEARCH_URL"
        with Elasticsearch(url) as client:
            assert len(client.indices.get(index="racksort-*", features="aliases")) == 0
            client.indices.create(index="racksort-dev-test")
        (home,) = homes_of(process.pid)
        leader = os.getpgid(int((home / "pid").read_text()))
        family = group_members(leader)
        assert len(family) == 2
        require_own_folder(home, family)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    require_refused(url)
    until_ended(leader)
    assert homes_of(process.pid) == set()
    assert files_of_jvms(family) == []
    assert (data / "node.lock").is_file()


def test_a_killed_command_leaves_no_process_a_folder_that_is_swept_up_and_its_data(
    distribution: Distribution, data: Path
) -> None:
    assert distribution.home.is_dir()
    with command("--data", str(data), "--json") as process:
        facts = json.loads(first_line(process))
        assert facts.keys() == {"url", "pid"}
        family = group_members(facts["pid"])
        assert len(family) == 2
        assert len(homes_of(process.pid)) == 1
        with Elasticsearch(facts["url"]) as client:
            client.indices.create(index="racksort-dev-test")
        process.kill()
        process.wait()
    until_ended(facts["pid"])
    assert files_of_jvms(family) == []
    homes.sweep(PREFIX)
    assert homes_of(process.pid) == set()
    with command("--data", str(data)) as process:
        url = first_line(process).partition("=")[2]
        with Elasticsearch(url) as client:
            assert list(client.indices.get(index="racksort-*", features="aliases")) == ["racksort-dev-test"]
        process.terminate()
        assert process.wait(60) == 143
    require_refused(url)
    assert (data / "node.lock").is_file()


def test_a_stopped_server_leaves_no_process_and_no_folder(distribution: Distribution) -> None:
    before = homes_of(os.getpid())
    with EmbeddedElasticsearch(distribution) as server:
        family = group_members(server.pid)
        leader = server.pid
        assert len(family) == 2
        assert len(homes_of(os.getpid()) - before) == 1
    until_ended(leader)
    assert homes_of(os.getpid()) == before
    assert files_of_jvms(family) == []
    assert server.wait() == server.log_tail() == ""


def test_a_server_that_ends_by_itself_is_one_line(distribution: Distribution) -> None:
    assert distribution.home.is_dir()
    with command("--json", stderr=subprocess.PIPE) as process:
        facts = json.loads(first_line(process))
        family = group_members(facts["pid"])
        os.killpg(facts["pid"], signal.SIGKILL)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 2
    assert complaint.splitlines()[-1].startswith("racksort: Elasticsearch ended with status -9: ")
    assert "Traceback" not in complaint
    assert files_of_jvms(family) == []
    assert homes_of(process.pid) == set()


def test_a_port_in_use_is_one_line(refused: Callable[..., str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} can't be used (Address already in use)" in refused("--port", str(port))


def test_no_maven_and_an_empty_cache_is_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    complaint = refused()
    assert "apt-get install maven" in complaint
    assert "ELASTICSEARCH_URL" in complaint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ElasticsearchOptions(heap="much"), "isn't a size; write it as 512m or 2g"),
        (ElasticsearchOptions(heap="1k"), "ended while starting: Too small maximum heap"),
        (ElasticsearchOptions(data=Path(__file__).parent), "holds no Elasticsearch data"),
        (ElasticsearchOptions(start_timeout_s=0.2), "wasn't ready within 0.2 s: it doesn't listen"),
    ],
)
def test_what_it_cannot_start_with_is_said(
    distribution: Distribution, options: ElasticsearchOptions, said: str
) -> None:
    before = homes_of(os.getpid())
    server = EmbeddedElasticsearch(distribution, options)
    with pytest.raises(RacksortError, match=said) as caught:
        server.start()
    assert len(str(caught.value).splitlines()) == 1
    assert homes_of(os.getpid()) == before
    assert not server.alive()
    assert server.wait() == server.log_tail() == ""


def test_without_a_key_nothing_is_answered(secured_elasticsearch: EmbeddedElasticsearch) -> None:
    connection = dataclasses.replace(secured_elasticsearch.connection, api_key=None)
    with connection.synchronous() as client, pytest.raises(AuthenticationException) as caught:
        client.search(index="racksort-*")
    assert caught.value.meta.status == 401


def test_the_loader_writes_and_the_reader_reads_alone(secured_elasticsearch: EmbeddedElasticsearch) -> None:
    loading = secured_elasticsearch.connection
    assert loading.api_key == secured_elasticsearch.loader_key
    reading = dataclasses.replace(loading, api_key=secured_elasticsearch.reader_key)
    with loading.synchronous() as loader, reading.synchronous() as reader:
        loader.indices.put_index_template(name="racksort-dev-test", body=TEMPLATE)
        loader.index(index="racksort-dev-test-1", document={"price": 1.5}, refresh=True)
        loader.indices.put_alias(index="racksort-dev-test-1", name="racksort-dev-test")
        assert reader.search(index="racksort-dev-test")["hits"]["total"]["value"] == 1
        assert reader.indices.get(index="racksort-dev-test-1")
        forbidden: list[Callable[[], object]] = [
            lambda: reader.index(index="racksort-dev-test-1", document={"price": 2}),
            lambda: reader.indices.delete(index="racksort-dev-test-1"),
            lambda: reader.indices.put_index_template(name="racksort-dev-other", body=TEMPLATE),
            reader.cluster.health,
            lambda: loader.index(index="another-shop", document={"price": 2}),
        ]
        for act in forbidden:
            with pytest.raises(AuthorizationException) as caught:
                act()
            assert caught.value.meta.status == 403
        loader.indices.delete(index="racksort-dev-test-1")
        loader.indices.delete_index_template(name="racksort-dev-test")


def test_a_certificate_of_another_authority_is_refused(
    secured_elasticsearch: EmbeddedElasticsearch, tmp_path: Path
) -> None:
    other = tmp_path / "ca.crt"
    trustme.CA().cert_pem.write_to_path(other)
    connection = dataclasses.replace(secured_elasticsearch.connection, ca_cert=other)
    with connection.synchronous() as client, pytest.raises(TlsError):
        client.cluster.health()


def test_cleaning_takes_what_is_ours_alone(elasticsearch: RealElasticsearch, request: pytest.FixtureRequest) -> None:
    with elasticsearch.connection.synchronous() as client:
        for index in ("racksort-dev-test-1", "racksort-dev-test-2", "other-dev-test"):
            client.options(ignore_status=400).indices.create(index=index)
        client.indices.put_index_template(name="racksort-dev-test", body=TEMPLATE)
        assert request.getfixturevalue("clean_elasticsearch") is elasticsearch
        assert not client.indices.get(index="racksort-*", expand_wildcards="all", features="aliases")
        assert not client.indices.exists_index_template(name="racksort-dev-test")
        assert client.indices.exists(index="other-dev-test")
        client.indices.delete(index="other-dev-test")


@pytest.mark.parametrize(
    ("required", "raised", "said"),
    [
        ("0", pytest.skip.Exception, "which isn't installed: apt-get install maven, or set ELASTICSEARCH_URL"),
        ("1", pytest.fail.Exception, "REQUIRE_ES=1: Elasticsearch for development comes by Maven"),
    ],
)
def test_a_test_without_a_server_is_skipped_unless_one_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str, raised: type[BaseException], said: str
) -> None:
    for name, value in (("PATH", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path)), ("REQUIRE_ES", required)):
        monkeypatch.setenv(name, value)
    with pytest.raises(raised, match=said):
        _distribution()


@pytest.mark.parametrize(
    ("environment", "outcome", "said"),
    [
        ({"REQUIRE_ES": "0"}, "1 skipped", "which isn't installed: apt-get install maven, or set ELASTICSEARCH_URL"),
        ({"REQUIRE_ES": "1"}, "1 error", "REQUIRE_ES=1: Elasticsearch for development comes by Maven"),
        ({"ELASTICSEARCH_URL": "http://127.0.0.1:9"}, "1 error", "TEST_CLEAN_ELASTICSEARCH=1 if it may"),
    ],
)
def test_where_it_cannot_run_a_test_says_how_it_could(
    tmp_path: Path, environment: dict[str, str], outcome: str, said: str
) -> None:
    test = "test_cleaning_takes_what_is_ours_alone" if "REQUIRE_ES" in environment else "test_a_user_is_asked_first"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::{test}"],
        env={name: value for name, value in os.environ.items() if not name.startswith("ELASTICSEARCH_")}
        | {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "COLUMNS": "400", "TEST_CLEAN_ELASTICSEARCH": ""}
        | environment,
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in ended.stdout.splitlines()[-1]
    assert said in ended.stdout


def test_a_user_is_asked_first(clean_elasticsearch: RealElasticsearch) -> None:
    with clean_elasticsearch.connection.synchronous() as client:
        assert client.cluster.health()["status"] in {"green", "yellow"}
