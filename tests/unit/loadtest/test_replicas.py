"""What is measured of more replicas, and its picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ensemble.errors import RacksortError
from loadtest import bench, replicas
from loadtest.growth import Plan
from loadtest.measurement import Measurement
from loadtest.replicas import Case, Load, spread, together
from racksort.cli import app
from racksort.replicas_plot import draw


def one(requests: int, mean_ms: float, p99_ms: float, rows: float | None, **cpu_us: float) -> bench.Case:
    measured = Measurement(32, 5.0, requests, 0, mean_ms, mean_ms, p99_ms)
    return bench.Case("racksort", "lists", measured, 0, cpu_us, rows)


@given(st.integers(1, 40), st.integers(0, 500))
def test_connections_are_spread_evenly_and_none_is_lost(count: int, more: int) -> None:
    parts = spread(count + more, count)
    assert len(parts) == count
    assert sum(parts) == count + more
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 1


def test_replicas_together_are_weighed_by_their_answers() -> None:
    both = together([one(3_000, 10.0, 20.0, 4.0, adapter=100.0), one(1_000, 30.0, 50.0, 8.0, adapter=300.0)])
    assert both == Load(rate=800.0, mean_ms=15.0, p99_ms=50.0, cpu_us={"adapter": 150.0}, rows_per_call=5.0)


def test_a_process_that_one_replica_alone_has_is_counted_for_its_share() -> None:
    both = together([one(1_000, 1.0, 1.0, 1.0, adapter=100.0, extra=40.0), one(1_000, 1.0, 1.0, 1.0, adapter=100.0)])
    assert both.cpu_us == {"adapter": 100.0, "extra": 20.0}


def test_more_replicas_than_connections_are_one_line_before_any_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_runs(*_: object) -> None:
        pytest.fail("the measurement began")

    monkeypatch.setattr(bench, "keep_to", nothing_runs)
    with pytest.raises(RacksortError, match="2 connections can't be spread over 4 replicas"):
        replicas.run(Plan(tmp_path, tmp_path, (1, 4), connections=2), nothing_runs)


def test_the_picture_has_each_kind_and_is_the_same_each_time() -> None:
    load = Load(800.0, 15.0, 50.0, {"adapter": 150.0}, 5.0)
    cases = [Case(count, 3.0, 200.0 * count, dict.fromkeys(replicas.KINDS, load)) for count in (1, 2, 4)]
    drawn = draw(cases)
    assert drawn == draw(cases)
    assert ">lists<" in drawn
    assert ">grids<" in drawn


def test_counts_that_are_none_are_named() -> None:
    shown = CliRunner().invoke(app, ["dev", "scale", "replicas", "--counts", "1,none"])
    assert shown.exit_code == 2
    assert "--counts" in shown.output
