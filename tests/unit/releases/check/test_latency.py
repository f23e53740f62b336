from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from ensemble.data.dataset import silent
from ensemble.errors import RacksortError
from ensemble.releases.check import latency
from ensemble.releases.check.asking import Asked
from ensemble.releases.check.finding import Result
from ensemble.releases.check.options import Options


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Paced:
    """A release whose calls take as long as ``pace`` says of the call's number and of the candidates of a row."""

    clock: Clock
    pace: Callable[[int, int], float]
    calls: list[int] = field(default_factory=list)

    def order(self, inputs: Any) -> None:
        width = inputs[1].shape()[1]
        self.calls.append(width)
        self.clock.now += self.pace(len(self.calls), width)


def measured(candidate: Callable[[int, int], float], live: Callable[[int, int], float] | None = None) -> Result:
    clock = Clock()
    against = None if live is None else cast("Asked", Paced(clock, live))
    asked = cast("Asked", Paced(clock, candidate))
    return latency.check("personalize_v2", None, asked, against, Options(slower=0.25), silent, clock)


def test_every_bucket_is_measured_with_one_row_and_with_the_largest_batch() -> None:
    result = measured(lambda _n, _w: 0.011, lambda _n, _w: 0.010)
    cells = result.data["cells"]
    assert [(cell["candidates"], cell["rows"]) for cell in cells] == [
        (bucket, rows) for bucket in (64, 128, 256, 512, 1024) for rows in (1, 64)
    ]
    assert all(cell["median_ms"] == pytest.approx(11) and cell["live_p95_ms"] == pytest.approx(10) for cell in cells)
    assert all(cell["ratio"] == pytest.approx(1.1) and cell["rounds"] == 1 for cell in cells)
    assert result.data["ratio"] == pytest.approx(1.1)
    assert result.findings == ()
    json.dumps(result.data)


def test_a_bucket_that_is_too_slow_each_time_is_named_after_three_rounds() -> None:
    result = measured(lambda _n, width: 0.013 if width == 256 else 0.010, lambda _n, _w: 0.010)
    assert [finding.where for finding in result.findings] == ["256 candidates, 1 row", "256 candidates, 64 rows"]
    assert "1.30 times" in result.findings[0].what
    assert {cell["rounds"] for cell in result.data["cells"] if cell["candidates"] == 256} == {latency.ROUNDS}


def test_one_slow_spell_is_forgiven() -> None:
    result = measured(lambda n, _w: 0.020 if n < 40 else 0.010, lambda _n, _w: 0.010)
    assert result.findings == ()
    assert result.data["cells"][0]["rounds"] == 2


def test_single_slow_calls_do_not_decide() -> None:
    assert measured(lambda n, _w: 1.0 if n % 5 == 0 else 0.010, lambda _n, _w: 0.010).findings == ()


def test_without_a_live_release_nothing_is_judged() -> None:
    result = measured(lambda _n, _w: 5.0)
    assert result.findings == ()
    assert "nothing to compare with" in result.figure
    assert result.data["cells"][0]["live_median_ms"] is None


def test_both_are_first_as_often() -> None:
    clock, order = Clock(), []

    def asked(name: str) -> Callable[[], None]:
        def ask() -> None:
            order.append(name)
            clock.now += 0.01

        return ask

    latency._measured(64, 1, [asked("a"), asked("b")], 0.3, clock, 1)
    turns = order[4:]
    pairs = [tuple(turns[at : at + 2]) for at in range(0, len(turns), 2)]
    assert set(pairs) == {("a", "b"), ("b", "a")}
    assert abs(pairs.count(("a", "b")) - pairs.count(("b", "a"))) <= 1


def test_a_server_that_fails_is_a_finding() -> None:
    def fail(_n: int, _w: int) -> float:
        raise RacksortError("it doesn't answer: gone")

    (finding,) = measured(fail, lambda _n, _w: 0.01).findings
    assert "gone" in finding.what
