"""The simulated machine obeys the laws of queues, and costs are told from calls of different sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ensemble.errors import RacksortError
from racksort.cli import app
from racksort.dev.capacity.costs import MODELS, PROCESSES, Costs, Point, Work, fit, read
from racksort.dev.capacity.machine import Machine
from racksort.dev.capacity.nodes import Assumed, most, need
from racksort.dev.capacity.report import run
from racksort.dev.scaling.service import BATCH, CALLS
from tests.k8s.manifests import ROOT

MEASURED = ROOT / "docs" / "capacity.json"
micros = st.floats(1.0, 100.0)
works = st.builds(lambda call, row: Work(call * 1e-5, row * 1e-6), micros, micros)
costs = st.builds(
    lambda each, generator: Costs(dict(zip(PROCESSES, each, strict=True)), generator * 1e-6),
    st.lists(works, min_size=len(PROCESSES), max_size=len(PROCESSES)),
    micros,
)
EVEN = Costs(dict.fromkeys(PROCESSES, Work(200e-6, 10e-6)), 20e-6)


def points(of: Costs, *rows: float) -> list[Point]:
    return [Point("lists", int(each * 3), 1.0, 1.0, each, of.request_us(each), of.generator_s * 1e6) for each in rows]


@given(costs, st.floats(2.0, 20.0), st.floats(25.0, 64.0))
def test_costs_are_found_again(of: Costs, few: float, many: float) -> None:
    found = fit(points(of, few, many))
    assert found.generator_s == pytest.approx(of.generator_s)
    for name in PROCESSES:
        assert found.work[name].of(32) == pytest.approx(of.work[name].of(32))
        assert found.work[name].of(1) == pytest.approx(of.work[name].of(1))


def test_calls_of_one_size_do_not_tell() -> None:
    with pytest.raises(RacksortError, match="calls of 60, 64 rows don't tell calls from rows"):
        fit(points(EVEN, 60, 64))


@given(costs, st.integers(1, 300))
def test_a_closed_loop_keeps_the_laws_of_queues(of: Costs, connections: int) -> None:
    seen = Machine(of).closed(connections, 0.5)
    assert seen.waiting == connections
    assert seen.rows <= min(BATCH, connections)
    # Little's law, but for what begins and ends outside of the time that counts.
    assert seen.rate * seen.mean_ms / 1e3 == pytest.approx(connections, rel=0.25)
    # No more than the cores' time, nor than the busiest process does, in calls as full as can be.
    full = of.request_us(min(BATCH, connections))
    slack = 1 + CALLS * BATCH / max(seen.rate * 0.4, 1.0)
    assert seen.rate <= 2e6 / (sum(full.values()) + of.generator_s * 1e6) * slack
    assert seen.rate <= 1e6 / max(*full.values(), of.generator_s * 1e6) * slack


def test_more_connections_fill_calls_and_one_waits_for_nobody() -> None:
    alone, few, many = (Machine(EVEN).closed(count, 1.0) for count in (1, 32, 400))
    assert (alone.rows, many.rows) == (1.0, float(BATCH))
    assert alone.rate < few.rate < many.rate
    # The three models take turns on two cores: 3 / 2 of one's time.
    steps = 3 + 1.5
    assert alone.mean_ms == pytest.approx(steps * 0.21 + 0.02, abs=0.02)


def test_beyond_what_it_can_do_the_queue_grows() -> None:
    rate = most(EVEN, 2.0)
    assert rate < 2e6 / sum(EVEN.request_us(BATCH).values())
    assert Machine(EVEN).open(rate * 0.9, 3.0).p99_ms < 50
    assert Machine(EVEN).open(rate * 1.5, 3.0).waiting > rate * 0.05
    assert most(EVEN, 4.0) > rate


def test_ten_times_the_load_takes_ten_times_the_cores() -> None:
    of, alone = {"lists": EVEN, "grids": EVEN}, {"lists": 4_000.0, "grids": 2_000.0}
    small, large = (need(of, alone, 2.0, rate, Assumed()) for rate in (100_000, 1_000_000))
    assert large.cores == pytest.approx(10 * small.cores)
    assert large.per_million == pytest.approx(small.per_million, rel=0.01)
    # Half of each: a second of it takes 2 / 4,000 and 2 / 2,000 core seconds a request, at 60 %.
    assert small.cores == pytest.approx(100_000 * (0.5 * 2 / 4_000 + 0.5 * 2 / 2_000) / 0.6)
    assert small.adapter_cores == pytest.approx(small.cores / len(PROCESSES))
    assert small.model_cores == pytest.approx(len(MODELS) * small.adapter_cores)
    dear = need(of, alone, 2.0, 100_000, replace(Assumed(), core_hour=0.1, used=0.3))
    assert dear.per_million == pytest.approx(4 * small.per_million, rel=0.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "isn't what"),
        ('{"cases": [{"server": "racksort"}]}', "'measured'"),
        ('{"cases": []}', "has 0 runs over lists"),
    ],
)
def test_a_file_that_is_none_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(RacksortError, match=said):
        run(path, [1.0], Assumed(), lambda _what, _done: None)
    with pytest.raises(RacksortError, match="can't be read"):
        read(tmp_path / "none.json")


def test_the_verb_reckons_with_the_measured_machine_and_comes_near_it() -> None:
    done = CliRunner().invoke(app, ["dev", "capacity", "--measured", str(MEASURED), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [each["rate"] for each in found["needs"]] == [1e4, 1e5, 1e6]
    off = [each["simulated"]["rate"] / each["measured"]["rate"] for each in found["compared"]]
    assert len(off) >= 8
    assert all(0.75 < each < 1.25 for each in off), off
