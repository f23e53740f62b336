"""Latencies keep their percentiles, ledgers of several processes add up, and the gate says what is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ensemble.errors import RacksortError
from loadtest import gate
from loadtest.gate import Bounds, judge
from loadtest.latencies import Latencies
from loadtest.ledger import Ledger
from loadtest.results import Phase, Result, read
from loadtest.shapes import Asked, curve
from racksort.cli import app

MS = st.floats(0.001, 100_000)


def filled(times: list[float]) -> Latencies:
    latencies = Latencies()
    for ms in times:
        latencies.record(ms)
    return latencies


@given(st.lists(MS, min_size=1, max_size=200), st.sampled_from([50, 90, 99, 99.9, 100]))
def test_a_percentile_is_that_of_the_sorted_times_to_three_digits(times: list[float], share: float) -> None:
    at = sorted(times)[max(0, int(np.ceil(share / 100 * len(times) - 1e-9)) - 1)]
    assert filled(times).percentile(share) == pytest.approx(at, rel=2e-3, abs=1.1e-3)


@given(st.lists(MS, max_size=50), st.lists(MS, max_size=50))
def test_histograms_of_two_processes_are_that_of_all_requests(one: list[float], other: list[float]) -> None:
    together = filled(one)
    together.add(filled(other).encode())
    assert together.encode() == filled(one + other).encode()
    at_once = Latencies()
    at_once.record_all(np.array([*one, *other, np.nan]))
    assert at_once.encode() == together.encode()
    assert Latencies(together.encode()).count == len(one) + len(other)


def test_no_latency_is_no_number_and_one_beyond_the_scale_is_the_longest() -> None:
    assert np.isnan(Latencies().percentile(50))
    assert np.isnan(Latencies().mean)
    assert filled([1e12]).percentile(50) == pytest.approx(600_000, rel=1e-3)
    with pytest.raises(ValueError, match="HdrHistogram"):
        Latencies("SGVsbG8=")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(-1, 2), MS, st.sampled_from(["", "status 500", "late"]), st.booleans())))
def test_ledgers_of_two_processes_add_up_however_they_are_drained(
    answers: list[tuple[int, float, str, bool]],
) -> None:
    clock = Clock()
    asked = curve("steps", Asked(10, 10, steps=2))
    alone, master = Ledger(asked, clock, Clock()), Ledger(asked, clock, Clock())
    workers = Ledger(asked, clock, Clock()), Ledger(asked, clock, Clock())
    for number, (phase, ms, flaw, degraded) in enumerate(answers):
        clock.now += 1
        for ledger in (alone, workers[number % 2]):
            ledger.enter(phase)
            if flaw:
                ledger.wrong(flaw)
            else:
                ledger.right(ms, degraded=degraded)
        if number % 3 == 0:
            master.merge(workers[number % 2].drain())
    for worker in workers:
        master.merge(worker.drain())
        assert all(phase["right"] == 0 for phase in worker.drain())
    assert master.phases() == alone.phases()


def test_cpu_time_belongs_to_the_phase_in_which_it_was_used() -> None:
    cpu = Clock()
    ledger = Ledger(curve("hold", Asked(1, 3)), Clock(), cpu)
    cpu.now += 2
    ledger.enter(1)
    cpu.now += 5
    assert [phase.cpu_s for phase in ledger.phases()] == [2, 5, 0]


def test_a_phase_s_rate_is_known_after_a_second_by_the_moments_of_its_answers() -> None:
    clock = Clock()
    ledger = Ledger(curve("hold", Asked(1, 3)), clock, Clock())
    ledger.enter(1)
    for number in range(8):
        ledger.right(1.0, degraded=False) if number % 2 else ledger.wrong("late")
        assert ledger.rate(1) is None
        clock.now += 0.125
    ledger.right(1.0, degraded=False)
    assert ledger.rate(1) == pytest.approx(9)
    assert ledger.rate(0) is None


def result(**changes: object) -> Result:
    """1,000 right answers in 10 s of 1 to 1,000 ms, beside a warm-up in which everything failed."""
    warm = Phase(name="warm-up", counted=False, errors={"status 500": 99}, first=0.0, last=9.0)
    latencies = filled([float(ms) for ms in range(1, 1_001)]).encode()
    fields = {"name": "hold", "asked": 100.0, "right": 1_000, "first": 10.0, "last": 20.0, "latencies": latencies}
    return Result(generator="Locust", url="", shape="hold", phases=[warm, Phase(**(fields | changes))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bounds", "held"),
    [
        (Bounds(min_rate=100), True),
        (Bounds(min_rate=100.1), False),
        (Bounds(p50_ms=500.5), True),
        (Bounds(p50_ms=499), False),
        (Bounds(p99_ms=991), True),
        (Bounds(p99_ms=988), False),
        (Bounds(p999_ms=1_000), True),
        (Bounds(p999_ms=997), False),
        (Bounds(max_errors=0), True),
        (Bounds(max_degraded=0.0), True),
    ],
)
def test_each_bound_is_held_or_broken_by_its_own_figure(bounds: Bounds, held: bool) -> None:
    (verdict,) = judge(result(), bounds)
    assert verdict.held is held
    assert verdict.line().startswith("held" if held else "broken")


def test_errors_and_degraded_answers_break_their_bounds() -> None:
    (verdict,) = judge(result(errors={"status 429": 1, "late": 2}), Bounds(max_errors=2))
    assert (verdict.held, verdict.figure) == (False, 3)
    (verdict,) = judge(result(degraded=2), Bounds(max_degraded=0.001))
    assert (verdict.held, verdict.figure) == (False, 0.2)
    for bounds in (Bounds(p99_ms=1e9), Bounds(max_degraded=1.0)):
        (verdict,) = judge(result(right=0, latencies="", errors={"late": 1}), bounds)
        assert (verdict.held, verdict.figure) == (False, None)  # what was never seen holds no bound
        assert "none" in verdict.line()


def test_nothing_to_judge_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(RacksortError, match="--min-rate"):
        judge(result(), Bounds())
    with pytest.raises(RacksortError, match="no requests"):
        judge(result(right=0, latencies=""), Bounds(max_errors=0))


@pytest.mark.parametrize(("text", "ms"), [("50ms", 50), ("0.05s", 50), ("50", 50), ("1.5s", 1_500)])
def test_times_are_read_with_their_unit(text: str, ms: float) -> None:
    assert gate.milliseconds(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["", "ms", "soon", "-1ms", "inf", "nan", "5 minutes"])
def test_what_is_not_a_time_or_a_share_names_the_remedy(text: str) -> None:
    with pytest.raises(RacksortError, match="50ms"):
        gate.milliseconds(text)
    with pytest.raises(RacksortError, match=r"0\.1%"):
        gate.share(text)


def test_shares_are_read_as_percent_or_as_they_are() -> None:
    assert gate.share("0.1%") == gate.share("0.001") == pytest.approx(0.001)
    with pytest.raises(RacksortError, match=r"0\.1%"):
        gate.share("5")


def test_the_verb_says_each_bound_and_ends_with_two_where_one_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "run.json"
    result().save(file)
    assert read(file) == result()
    fine = CliRunner().invoke(app, ["loadtest", "gate", "--min-rate", "90", "--p50", "0.6s", str(file)])
    assert (fine.exit_code, fine.output.count("held")) == (0, 2)
    broken = CliRunner().invoke(app, ["loadtest", "gate", "--min-rate", "90", "--p99", "50ms", "--json", str(file)])
    assert broken.exit_code == 2
    said = json.loads(broken.stdout)
    assert said["held"] is False
    assert [(each["bound"], each["held"]) for each in said["verdicts"]] == [("rate", True), ("p99", False)]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"generator":1}'])
def test_a_file_that_is_no_result_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RacksortError, match=r"run\.json"):
        read(file)


def test_a_damaged_histogram_is_found_when_the_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    result(latencies="HISTdamaged").save(file)
    with pytest.raises(RacksortError, match="HdrHistogram"):
        read(file)


@pytest.mark.parametrize(
    "arguments", [["run"], ["open-loop"], ["gate", "--min-rate", "1", "run.json"]], ids=lambda arguments: arguments[0]
)
def test_what_is_not_installed_is_named_with_the_remedy(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdrh", None)
    came = CliRunner().invoke(app, ["loadtest", *arguments])
    assert isinstance(came.exception, RacksortError)
    assert str(came.exception) == "load tests need hdrh: install racksort[load]"
