"""A comparison goes on past peers that can't be measured, and measures none whose answers differ."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ensemble.errors import RacksortError
from loadtest.peers import asking, comparing, pools
from loadtest.peers.known import PEERS
from loadtest.peers.measured import Comparison, Point
from loadtest.peers.shop import page, parse
from loadtest.servers import Server

SIZES = {"list": ("list", 128), "grid": ("grid", 2_000)}


class Handler(BaseHTTPRequestHandler):
    """Answers as racksort does, with products that follow from container and customer and ``shift``."""

    shift = 0

    def do_GET(self) -> None:
        if self.path == "/v1/containers":
            shown = [{"container_id": name, "kind": kind, "size": size} for name, (kind, size) in SIZES.items()]
            self.answer({"containers": shown})
            return
        ask = parse(*self.path.split("?"))
        first = SIZES[ask.container_id][1] + ask.customer_id + self.shift
        self.answer(page(ask, list(range(first, first + ask.limit))))

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(shift: int) -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Shifted", (Handler,), {"shift": shift})) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield Server(f"http://127.0.0.1:{http.server_address[1]}", 1)
        http.shutdown()


class Loaded:
    """Stands in for load: gives each server's rates, better with other settings, and notes who was loaded."""

    def __init__(self, errors: int = 0) -> None:
        self.errors = errors
        self.seen: list[tuple[str, str]] = []

    def closed(self, name: str, pools: Any, _server: Server, *arguments: Any) -> Point:
        connections = arguments[2]
        self.seen.append((name, pools))
        return Point(name, pools, "closed", connections, 1_000.0 + connections, 5.0, 4.0, 20.0, self.errors, 100.0)

    def open_at(self, name: str, pools: Any, _server: Server, *arguments: Any) -> Point:
        rate = arguments[2]
        return Point(name, pools, "open", rate, rate, 5.0, 4.0, 20.0, 0, 100.0)


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> comparing.Plan:
    base = replace(next(peer for peer in PEERS if peer.key == "fastapi"), grid=({"workers": 1}, {"workers": 2}))
    peers = tuple(replace(base, key=key, title=key) for key in ("broken", "wrong", "right"))

    @contextmanager
    def started(peer: Any, *_: Any) -> Iterator[Server]:
        if peer.key == "broken":
            raise RacksortError("it ended")
        with serving(shift=int(peer.key == "wrong")) as server:
            yield server

    monkeypatch.setattr(comparing, "started", started)
    monkeypatch.setattr(pools, "write_folder", lambda _folder, _path: None)
    monkeypatch.setattr(comparing.os, "sched_setaffinity", lambda _pid, _cores: None)  # it would stay
    monkeypatch.setattr(comparing.bench, "start_racksort", lambda _plan: serving(shift=0))
    return comparing.Plan(peers, tmp_path, tmp_path, list_connections=(16, 64), grid_connections=(8,), folder=tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, errors: int = 0) -> Loaded:
    loaded = Loaded(errors)
    monkeypatch.setattr(asking, "closed", loaded.closed)
    monkeypatch.setattr(asking, "open_at", loaded.open_at)
    return loaded


def silent(_stage: str, _fraction: float) -> None:
    pass


@pytest.mark.slow
def test_who_cant_be_measured_is_told_and_the_others_are(plan: comparing.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch)
    told: list[str] = []
    kept: list[int] = []

    def keep(came: Comparison) -> None:
        kept.append(len(came.servers))

    came = comparing.run(plan, silent, told.append, keep)
    assert came.servers == ["racksort", "right"]
    assert kept == [1, 1, 1, 2]
    assert told == [
        "broken isn't measured: it ended",
        f"wrong isn't measured: {came.failed['wrong']}",
    ]
    assert "gives other answers than racksort" in came.failed["wrong"]
    assert {name for name, _ in loaded.seen} == {"racksort", "right"}
    assert [(p.pools, p.loop, p.load) for p in came.points if p.server == "right"] == [
        ("lists", "closed", 16),
        ("lists", "closed", 64),
        ("grids", "closed", 8),
        ("lists", "open", 532.0),
        ("lists", "open", 798.0),
        ("lists", "open", pytest.approx(957.6)),
    ]
    assert came.settings == {"right": {"workers": 2}}
    json.dumps(came.to_json(), allow_nan=False)


@pytest.mark.slow
def test_tuning_tries_every_entry_of_the_grid(plan: comparing.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch)
    only = replace(plan, peers=plan.peers[-1:], tuning_seconds=1, open_loop=False)
    came = comparing.run(only, silent, lambda _: None, lambda _: None)
    assert [tried.settings for tried in came.tried["right"]] == [{"workers": 1}, {"workers": 2}]
    assert came.settings == {"right": {"workers": 1}}  # the first of equals
    assert not [p for p in came.points if p.loop == "open"]


def test_a_run_in_which_racksort_errs_doesnt_count(plan: comparing.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, errors=1)
    with pytest.raises(RacksortError, match="racksort gave 1 errors under load"):
        comparing.run(plan, silent, lambda _: None, lambda _: None)
