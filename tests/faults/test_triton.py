"""The whole of racksort under load while its Triton dies, hangs or loses a model, on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from loadtest.open_loop import Record
from tests.conftest import REPOSITORY
from tests.faults.served import (
    RATE,
    Recovery,
    Served,
    Shop,
    all_answered,
    bound_ms,
    full_share,
    serving,
    usual_share,
)
from tests.pace import RETRIED, timed
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600), RETRIED]


@pytest.fixture(scope="module")
def shop(catalog_dir: Path) -> Shop:
    return asyncio.run(Shop.of(catalog_dir))


@pytest.fixture
def served(shop: Shop, catalog_dir: Path) -> Iterator[Served]:
    with serving(shop, catalog_dir) as served:
        served.load(2.0)  # what is made once is made
        yield served


def survived(record: Record, healthy: Record) -> None:
    """What must hold whatever happens behind the adapter."""
    all_answered(record)
    with timed():
        assert record.percentile(99) <= bound_ms(healthy)


def report(name: str, record: Record, **figures: float) -> None:
    """For people: run pytest with -s."""
    told = "  ".join(f"{key} {value:,.2f}" for key, value in figures.items())
    print(  # noqa: T201 - figures for people
        f"\n{name}: {record.status.size:,} requests at {RATE:,.0f}/s, {record.full.mean():.1%} full, "
        f"p50 {record.percentile(50):.1f} ms, p99 {record.percentile(99):.1f} ms, "
        f"slowest {record.percentile(100):.1f} ms  {told}"
    )


def test_triton_is_killed(served: Served) -> None:
    healthy = served.load(2.0)
    (triton,) = served.tritons()
    recovery = Recovery(served.triton_address())

    def kill() -> None:
        os.kill(triton, signal.SIGKILL)
        recovery.begin()

    record = served.load(15.0, (1.0, kill))
    back_s = recovery.join() - record.started
    survived(record, healthy)
    assert back_s > 1.0
    with timed():
        assert back_s < 12.0
    without = record.between(1.1, back_s)
    assert without.full.size
    assert without.full.mean() < 0.5  # it was felt
    again = full_share(record, back_s + 2.0)
    with timed():
        assert again >= usual_share(healthy)
    assert len(served.tritons()) == 1
    assert served.metric("racksort_triton_restarts_total") == 1
    until(lambda: served.metric("racksort_triton_healthy") == 1)
    report("killed", record, back_after_s=back_s - 1.0, full_2_s_later=again)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_ranking_step_is_killed(served: Served, number: signal.Signals) -> None:
    healthy = served.load(2.0)
    stub = served.stub("ranking")
    recovery = Recovery(served.triton_address())

    def kill() -> None:
        os.kill(stub, number)
        recovery.begin()

    record = served.load(12.0, (1.0, kill))
    back_s = recovery.join() - record.started
    survived(record, healthy)
    with timed():
        assert back_s < 10.0
        assert full_share(record, back_s + 2.0) >= usual_share(healthy)
    report(f"stub killed by {number.name}", record, back_after_s=back_s - 1.0)


def test_triton_hangs_for_ten_seconds(shop: Shop, catalog_dir: Path) -> None:
    """One that nobody supervises, so that it stays so."""
    with (
        EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as triton,
        serving(shop, catalog_dir, "--triton", triton.address) as served,
    ):
        healthy = served.load(3.0)
        recovery = Recovery(triton.address)

        def go_on() -> None:
            os.kill(triton.pid, signal.SIGCONT)
            recovery.begin()

        try:
            record = served.load(16.0, (1.0, lambda: os.kill(triton.pid, signal.SIGSTOP)), (11.0, go_on))
        finally:
            os.kill(triton.pid, signal.SIGCONT)
        back_s = recovery.join() - record.started
        survived(record, healthy)
        # An open breaker answers at once instead of at the deadline.
        hanging = record.between(1.5, 10.9)
        assert hanging.full.sum() == 0
        at_once = float((hanging.latency_ms < 25.0).mean())
        with timed():
            assert at_once >= 0.9
        assert served.metric("racksort_breaker_opened_total", dependency="ensemble") >= 1
        with timed():
            assert full_share(record, back_s + 2.0) >= usual_share(healthy)
        opened = record.between(1.0, 2.0)
        waited = opened.moment_s[opened.latency_ms > 30.0]
        report(
            "stopped for 10 s",
            record,
            last_wait_ms=float((waited.max() - 1.0) * 1e3) if waited.size else 0.0,
            at_once=at_once,
            hanging_p99_ms=hanging.percentile(99),
        )


def test_everything_behind_the_adapter_is_gone(shop: Shop, catalog_dir: Path) -> None:
    """Nobody reads the metrics either; the adapter says that it is degraded, and stays in service."""
    with (
        EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as triton,
        serving(shop, catalog_dir, "--triton", triton.address) as served,
    ):
        healthy = served.load(3.0)
        triton.stop()
        record = served.load(5.0)
        survived(record, healthy)
        assert record.full.sum() == 0
        assert served.readiness() == (200, "degraded")
        attempts = sum(
            served.metric("racksort_ensemble_calls_total", outcome=each)
            for each in ("ensemble_unavailable", "ensemble_timeout")
        )
        assert attempts <= 0.1 * record.status.size
        report("Triton gone", record, calls_tried=attempts)
