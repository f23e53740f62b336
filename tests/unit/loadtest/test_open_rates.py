"""The open loop finds wrong answers, counts what each rate came to, and times from the moment a request was due."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from ensemble.errors import RacksortError
from loadtest import open_loop, open_rates
from loadtest.checks import FOREIGN
from loadtest.open_rates import Plan
from loadtest.rate_plot import draw
from loadtest.replay import ANONYMOUS, Replay
from loadtest.results import Phase, Result


class Shop(BaseHTTPRequestHandler):
    """Answers right for list a, degraded for list b, with a foreign product for list c, and 429 for list d."""

    protocol_version = "HTTP/1.1"
    stall_s: ClassVar[list[float]] = []
    """How long the next answers take; 0 for all others."""

    def do_GET(self) -> None:
        name = self.path.split("/")[3]
        if self.stall_s:
            time.sleep(self.stall_s.pop())  # a slow server
        page = {
            "container_id": name,
            "customer_id": None,
            "product_ids": [1, 2, 9 if name == "c" else 3],
            "release": None,
            "source": "popularity" if name == "b" else "ensemble",
            "degraded": name == "b",
            "degraded_reasons": ["overloaded"] if name == "b" else [],
            "next_cursor": None,
        }
        body = json.dumps(page, separators=(",", ":")).encode()
        self.send_response(429 if name == "d" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def traffic(*lists: str) -> Replay:
    """One anonymous session for each of ``lists``, all of which have the products 1, 2 and 3."""
    count = len(lists)
    return Replay(
        customer=np.full(count, ANONYMOUS),
        target=np.arange(count, dtype=np.int32),
        limit=np.full(count, 3, np.int16),
        pages=np.ones(count, np.int16),
        container_id=np.array(lists),
        category=np.full(count, ""),
        grid=np.zeros(count, np.bool_),
        members=np.tile([1, 2, 3], count),
        offsets=np.arange(count + 1) * 3,
    )


def test_each_answer_is_counted_as_what_it_is() -> None:
    with serving() as url:
        plan = Plan(url, (40.0, 80.0), seconds=1.0, warm_up=0.25)
        result = open_rates.run(plan, traffic("a", "b", "c", "d"), lambda _label, _share: None)
    assert [(phase.name, phase.asked, phase.counted) for phase in result.phases] == [
        ("warm-up", 40.0, False),
        ("40/s", 40.0, True),
        ("80/s", 80.0, True),
    ]
    for phase, quarter in zip(result.counted, (10, 20), strict=True):
        assert phase.errors == {FOREIGN: quarter, "status 429": quarter}
        assert (phase.right, phase.degraded) == (2 * quarter, quarter)
    assert result.latencies().count == result.right == 60
    assert result.rate <= 30.1  # half of what was asked for, in the time that it was to take or longer


def test_waiting_behind_a_slow_answer_counts_from_the_moment_a_request_was_due() -> None:
    with serving() as url:
        Shop.stall_s[:] = [0.4]
        record = open_loop.run(url, ["/v1/containers/a/products"], 20.0, 1.0, connections=1)
    assert record.count(200) == 20
    begun = record.moment_s < 0.35
    least = 1e3 * (0.4 - record.moment_s[begun])
    assert begun.sum() == 7
    assert (record.latency_ms[begun] >= least).all()  # a closed loop would have seen one slow answer


def test_nobody_there_is_every_request_without_an_answer() -> None:
    with serving() as url:
        pass
    result = open_rates.run(Plan(url, (20.0,), 0.5, warm_up=0), traffic("a"), lambda _label, _share: None)
    assert result.flaws() == {"broken connection": 10}
    assert result.rate == 0
    with pytest.raises(RacksortError, match="--allow-remote"):
        open_rates.run(Plan("http://192.0.2.7", (1.0,)), traffic("a"), lambda _label, _share: None)


def test_the_picture_is_the_same_for_the_same_runs_and_needs_rates(tmp_path: Path) -> None:
    with serving() as url:
        result = open_rates.run(Plan(url, (20.0, 40.0), 0.5, warm_up=0), traffic("a"), lambda _label, _share: None)
    for name in ("one", "two"):
        draw([result, result], tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    with pytest.raises(RacksortError, match="nothing to draw"):
        draw([Result(generator="", url="", shape="", phases=[Phase(name="all", right=1)])], tmp_path / "none.svg")
