"""Sending to a server that rejects, refuses and fails: what is accepted, what is bad, and what ends the load."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError, Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import Meta
from api.catalog.loading.bad_rows import BadRow, BadRows
from api.catalog.loading.bulk import BulkOptions, send
from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed, told
from api.catalog.loading.load import LoadOptions
from api.catalog.loading.pulse import Pulse

Verdict = Callable[[str, int], tuple[int, dict[str, Any]]]
"""Takes a document's name and how often it came before; gives its status and error."""

OVERLOADED = (429, {"type": "es_rejected_execution_exception", "reason": "rejected execution"})
CREATED: tuple[int, dict[str, Any]] = (201, {})
AT_ONCE = BulkOptions(documents=4, retries=5, first_pause_s=0.0)


@contextmanager
def answering(verdict: Verdict) -> Iterator[tuple[Elasticsearch, list[list[str]]]]:
    """A client of a server that judges each document, and the names of each request's documents."""
    requests: list[list[str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).splitlines()
            heads = [next(iter(json.loads(line).items())) for line in body[::2]]
            names = [head["_id"] for _, head in heads]
            items = []
            for action, head in heads:
                status, error = verdict(head["_id"], sum(request.count(head["_id"]) for request in requests))
                items.append({action: {"_id": head["_id"], "status": status} | ({"error": error} if error else {})})
            requests.append(names)
            content = json.dumps({"errors": True, "items": items}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("x-elastic-product", "Elasticsearch")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with Connection((f"http://127.0.0.1:{server.server_port}",)).synchronous() as client:
                yield client, requests
        finally:
            server.shutdown()
            thread.join()


def some(count: int) -> Iterator[Document]:
    return (Document(str(name), b"{}", Path("p.csv"), name + 1) for name in range(1, count + 1))


def test_what_is_rejected_is_sent_again_alone_and_nothing_else_meanwhile() -> None:
    def verdict(name: str, before: int) -> tuple[int, dict[str, Any]]:
        return OVERLOADED if name in {"2", "3"} and before < int(name) else CREATED

    with answering(verdict) as (client, requests):
        sent = [(document.name, refusal) for document, refusal in send(client, "i", "index", some(6), AT_ONCE)]
    assert sorted(sent) == [(str(name), None) for name in range(1, 7)]
    assert requests == [["1", "2", "3", "4"], ["2", "3"], ["2", "3"], ["3"], ["5", "6"]]


def test_pauses_grow_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("elasticsearch.helpers.actions.time.sleep", pauses.append)
    options = BulkOptions(retries=6, first_pause_s=0.5, longest_pause_s=3.0)
    with answering(lambda _name, before: OVERLOADED if before < 5 else CREATED) as (client, _):
        list(send(client, "i", "index", some(1), options))
    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_who_keeps_rejecting_ends_the_load() -> None:
    with answering(lambda _name, _before: OVERLOADED) as (client, requests):
        with pytest.raises(LoadFailed, match=r"overloaded and keeps rejecting documents \(es_rejected.*: load later"):
            list(send(client, "i", "index", some(1), AT_ONCE))
        assert len(requests) == 6


def test_a_document_that_doesn_t_fit_is_refused_alone_with_its_reason() -> None:
    cause = {"type": "illegal_argument_exception", "reason": "For input\nstring"}
    error = {"type": "document_parsing_exception", "reason": "failed to parse", "caused_by": cause}
    with answering(lambda name, _before: (400, error) if name == "2" else CREATED) as (client, _):
        sent = [(document.line, refusal) for document, refusal in send(client, "i", "index", some(3), AT_ONCE)]
    assert sent == [(2, None), (3, "document_parsing_exception: failed to parse (For input string)"), (4, None)]


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (404, "index_not_found_exception", "i was deleted meanwhile"),
        (403, "cluster_block_exception", r"takes no documents into i \(cluster_block_exception: why\)"),
        (500, "io_exception", r"takes no documents into i \(io_exception: why\)"),
    ],
)
def test_what_isn_t_about_one_document_ends_the_load(status: int, kind: str, said: str) -> None:
    with (
        answering(lambda _name, _before: (status, {"type": kind, "reason": "why"})) as (client, _),
        pytest.raises(LoadFailed, match=said),
    ):
        list(send(client, "i", "index", some(3), AT_ONCE))


def test_an_elasticsearch_that_isn_t_there_is_one_line() -> None:
    connection = Connection(("http://127.0.0.1:9",))
    with (
        pytest.raises(LoadFailed, match=r"Elasticsearch at http://127.0.0.1:9: can't be reached \(") as caught,
        told(connection),
        connection.synchronous() as client,
    ):
        list(send(client, "i", "index", some(1), AT_ONCE))
    assert "\n" not in str(caught.value)


class Mappings:
    """Stands for a client's indices: notes the times that are written, and has no index after ``lasts`` of them."""

    def __init__(self, lasts: int) -> None:
        self.times: list[float] = []
        self.indices = self
        self._lasts = lasts
        self.asked_for: dict[str, Any] = {}
        self.enough = threading.Event()

    def options(self, **options: Any) -> Mappings:
        self.asked_for = options
        return self

    def put_mapping(self, *, meta: dict[str, Any], **_rest: object) -> None:
        from elasticsearch import ConnectionTimeout, NotFoundError

        self.times.append(meta["racksort"]["changed_at"])
        if len(self.times) == 2:
            raise ConnectionTimeout("not now")
        if len(self.times) > self._lasts:
            self.enough.set()
            raise NotFoundError("index_not_found_exception", None, None)  # type: ignore[arg-type]


def test_a_pulse_goes_on_after_a_failed_call_and_notices_when_its_version_is_gone() -> None:
    clock = iter(range(100))
    indices = Mappings(lasts=3)
    with Pulse(indices, "2026-01-01-1", Meta(), lambda: float(next(clock)), interval_s=0.001) as pulse:  # type: ignore[arg-type]
        pulse.check()
        assert indices.enough.wait(60)
    with pytest.raises(LoadFailed, match="version 2026-01-01-1 was deleted while it was loading"):
        pulse.check()
    assert indices.times == [0.0, 1.0, 2.0, 3.0]


def test_a_pulse_that_gets_no_answer_isn_t_long_in_the_way() -> None:
    indices = Mappings(lasts=0)
    with Pulse(indices, "2026-01-01-1", Meta(), lambda: 0.0, interval_s=0.001):  # type: ignore[arg-type]
        assert indices.enough.wait(60)
    assert indices.asked_for == {"request_timeout": 5.0, "max_retries": 0}


def refused_by(status: int, kind: str) -> LoadFailed:
    """What a person is told of an answer of Elasticsearch."""
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "127.0.0.1", 9))
    body = {"error": {"type": kind, "reason": "api key 401 may not", "root_cause": []}, "status": status}
    with pytest.raises(LoadFailed) as caught, told(Connection(("http://127.0.0.1:9",))):
        raise ApiError(kind, meta, body)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (401, "security_exception", ": set ELASTICSEARCH_API_KEY to a valid key"),
        (403, "security_exception", ": give the API key the privileges all on racksort-*, and monitor"),
        (403, "cluster_block_exception", ": api key 401 may not"),
        (500, "security_exception", ": api key 401 may not"),
    ],
)
def test_the_remedy_goes_by_the_status_and_not_by_the_reason_s_words(status: int, kind: str, remedy: str) -> None:
    before, found, _ = str(refused_by(status, kind)).partition(remedy)
    assert before.startswith(f"Elasticsearch at http://127.0.0.1:9: status {status}: {kind}")
    assert found


def test_the_command_line_knows_the_list_of_bad_rows_without_loading_a_client() -> None:
    code = "import sys, racksort.commands.catalog as c; print(c.BAD_ROWS, 'elasticsearch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == [str(LoadOptions().bad_rows), "False"]


def bad(line: int, lines: int = 1) -> BadRow:
    return BadRow(Path("p.csv"), line, "why", lines)


def test_a_bad_row_counts_by_its_lines(tmp_path: Path) -> None:
    said: list[str] = []
    with BadRows(tmp_path / "bad.jsonl", 1_000, said.append) as rows:
        rows.add([bad(4, 998)])
        rows.add([bad(1_002), bad(1_003)])
        assert rows.count == 1_000
        with pytest.raises(LoadFailed, match="bad rows: 1001, where --max-bad allows 1000"):
            rows.add([bad(1_004)])
    assert said == ["p.csv:4-1001: why", "p.csv:1002: why", "p.csv:1003: why", "p.csv:1004: why"]


def test_bad_rows_are_said_up_to_twenty_and_listed_all(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "var" / "bad.jsonl"
    with BadRows(path, 30, said.append) as rows:
        rows.add([])
        assert not path.parent.exists()
        rows.add([bad(line) for line in range(15)])
        rows.add([bad(line) for line in range(15, 30)])
        with pytest.raises(
            LoadFailed, match=r"bad rows: 31, where --max-bad allows 30: mend those that .*bad\.jsonl lists"
        ):
            rows.add([bad(30)])
    assert said == [f"p.csv:{line}: why" for line in range(20)]
    listed = [json.loads(line) for line in path.read_text().splitlines()]
    assert listed == [{"file": "p.csv", "line": line, "reason": "why"} for line in range(31)]


def test_a_list_that_can_t_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with (
        BadRows(tmp_path / "var" / "bad.jsonl", 1, print) as rows,
        pytest.raises(LoadFailed, match=r"can't be written .*: choose another file by --bad-rows"),
    ):
        rows.add([bad(1)])
