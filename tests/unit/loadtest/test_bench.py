"""The benchmark counts full answers only, draws the same traffic each time, and both generators agree."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ensemble.errors import RacksortError
from loadtest import closed_loop, wrk
from loadtest.bench import Case, counted, ratio
from loadtest.catalogs import ELASTICSEARCH, EMBEDDED, Comparison
from loadtest.measurement import Measurement
from loadtest.traffic import product_paths


def case(server: str, rate: int, mean_ms: float = 10.0, errors: int = 0, degraded: int = 0) -> Case:
    measured = Measurement(64, 1.0, rate, errors, mean_ms, mean_ms, mean_ms)
    return Case(server, "lists", measured, degraded)


@pytest.mark.parametrize("bad", [case("racksort", 9, errors=1), case("racksort", 9, degraded=1)])
def test_a_run_with_an_error_or_a_degraded_answer_does_not_count(bad: Case) -> None:
    with pytest.raises(RacksortError, match="doesn't count"):
        counted(bad)
    peer = case("FastAPI x 1", 9, errors=1, degraded=-1)
    assert counted(peer) is peer  # its rate counts as it is, errors and all


def test_the_ratio_takes_each_one_s_best_under_the_bound() -> None:
    cases = [
        case("racksort", 8000),
        case("racksort", 9000, mean_ms=60),
        case("FastAPI x 1", 2000),
        case("FastAPI x 2", 4000),
    ]
    assert ratio(cases) == 2.0
    assert ratio(cases, mean_bound_ms=100) == 2.25
    assert ratio(cases, "grids") != ratio(cases, "grids")  # nothing measured is not a number


def test_traffic_is_seeded_and_covers_containers_and_customers() -> None:
    paths = product_paths(["a", "b"], [1, 2, 3], 500, seed=3)
    assert paths == product_paths(["a", "b"], [1, 2, 3], 500, seed=3)
    assert paths != product_paths(["a", "b"], [1, 2, 3], 500, seed=4)
    assert len(set(paths)) == 6
    with pytest.raises(ValueError, match="at least one"):
        product_paths([], [1], 1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        body = b"{}"
        self.send_response(500 if self.path == "/fails" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Recording", (Handler,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}", seen
        http.shutdown()


@pytest.mark.parametrize(
    "generator",
    [closed_loop, pytest.param(wrk, marks=pytest.mark.skipif(not wrk.available(), reason="wrk isn't installed"))],
)
def test_generators_cycle_through_the_paths_and_count_errors(generator, server: tuple[str, list[str]]) -> None:  # type: ignore[no-untyped-def]  # a module
    url, seen = server
    fine = generator.run(url, ["/a", "/b"], 2, 1)
    assert fine.requests > 2
    assert fine.errors == 0
    assert set(seen) == {"/a", "/b"}
    assert 0 < fine.p50_ms <= fine.p99_ms
    assert fine.connections == 2
    failing = generator.run(url, ["/fails"], 1, 1)
    assert failing.errors == failing.requests > 0


def test_a_given_rate_is_not_exceeded_and_every_moment_is_used(server: tuple[str, list[str]]) -> None:
    url, seen = server
    measured = closed_loop.run(url, ["/a"], 4, 1, rate=50.0)
    assert measured.errors == 0
    assert 2 <= measured.requests == len(seen) <= 50


def turn(server: str, rate: int) -> Case:
    return replace(case(server, rate), server=server)


def test_catalogs_are_compared_by_the_median_of_their_turns() -> None:
    cases = [turn(EMBEDDED, rate) for rate in (100, 50, 90)] + [turn(ELASTICSEARCH, rate) for rate in (45, 200, 81)]
    assert Comparison(cases, []).ratio() == 0.9


def test_a_run_from_elasticsearch_with_a_degraded_answer_doesnt_count() -> None:
    with pytest.raises(RacksortError, match="doesn't count"):
        counted(case(ELASTICSEARCH, 9, degraded=1))


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    if not wrk.available():
        pytest.skip("wrk isn't installed")
    with pytest.raises(RacksortError, match="wrk failed"):
        wrk.run("http://127.0.0.1:9", ["/"], 1, 1)
