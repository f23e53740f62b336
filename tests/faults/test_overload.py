"""Three times more requests than can be ranked, for as long as it takes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.conftest import REPOSITORY
from tests.faults.served import DEADLINE_MS, Served, Shop, serving, usual_share
from tests.pace import RETRIED, timed

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900), RETRIED]

OVERLOAD_S = float(os.environ.get("FAULTS_OVERLOAD_S", "10"))


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started meanwhile runs there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def shop(catalog_dir: Path) -> Shop:
    return asyncio.run(Shop.of(catalog_dir, kind="grid"))


@pytest.fixture(scope="module")
def served(shop: Shop, catalog_dir: Path) -> Iterator[Served]:
    """Triton has a core of its own, as it has a node of its own in production: the surplus costs it nothing."""
    *others, last = sorted(os.sched_getaffinity(0))
    with (
        on_cores({last}),
        EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as triton,
        on_cores(set(others) or {last}),
        serving(shop, catalog_dir, "--triton", triton.address) as served,
    ):
        yield served


def peak(served: Served) -> float:
    """The most full answers a second in time that the server can give, for longer than a lucky moment."""
    best = 0.0
    at = rate = 200.0
    while True:
        good = served.load(4.0, rate=rate).between(1.0, 4.0).goodput(DEADLINE_MS)
        if good > best:
            best, at = good, rate
        if good < 0.7 * rate:
            return served.load(10.0, rate=at).between(1.0, 10.0).goodput(DEADLINE_MS)
        rate *= 1.2


def test_the_surplus_is_answered_or_refused_at_once_and_what_is_let_in_is_in_time(served: Served) -> None:
    served.load(2.0, rate=100.0)
    capacity = peak(served)
    calm = served.load(8.0, rate=0.5 * capacity).between(1.0, 8.0)
    record = served.load(OVERLOAD_S, rate=3 * capacity, connections=2_000).between(2.0, OVERLOAD_S)
    after = served.load(10.0, rate=0.5 * capacity)
    again = peak(served)  # a machine doesn't stay as quick as it was
    assert record.wrong == []
    assert after.wrong == []
    refused = record.count(429)
    assert record.count(200) + refused == record.status.size
    assert after.count(200, 429) == after.status.size
    # A machine that stands still for 50 ms now and then never answers 99 % in full: as before the surplus is normal.
    usual = usual_share(calm)
    normal = [second for second in range(9) if after.between(second, 10.0).full.mean() >= usual]
    with timed():
        assert normal
    good = record.goodput(DEADLINE_MS)
    print(  # noqa: T201 - figures for people
        f"\npeak {capacity:,.0f}/s, {again:,.0f}/s afterwards; at 3 x that for {OVERLOAD_S:.0f} s {good:,.0f}/s "
        f"in time ({2 * good / (capacity + again):.0%} of the peaks' mean), {record.full.sum():,} full, p99 of those "
        f"{record.percentile(99, full=True):.1f} ms, p50 {record.percentile(50, full=True):.1f} ms, p99 of all "
        f"{record.percentile(99):.1f} ms; of the rest "
        f"{record.count(200) - record.full.sum():,} next rung, {refused:,} refused; {usual:.1%} full again after "
        f"{min(normal, default=float('nan'))} s; half load before: {calm.full.mean():.1%} full, p99 "
        f"{calm.percentile(99):.1f} ms"
    )
