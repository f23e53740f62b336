"""What a running adapter is made of: put together when it starts, taken apart when it ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.catalog.protocol import Catalog
from api.ensemble_client import Ensemble
from api.events.intake import Events
from api.explain.calls import ExplainedCalls
from api.explain.pages import ExplainedPages
from api.explain.rules import rules_of
from api.fallback.rung import PrecomputedRung
from api.fallback.shadow import Shadow
from api.ladder import Ladder
from api.metrics import Metrics
from api.pipeline import Pipeline
from api.prober import Prober
from api.ranker import Ranker
from api.readiness import Readiness
from api.releases.figures import LaneFigures, ReleasesFigures
from api.releases.follow import Followed, Releases
from api.releases.lane import Lane
from api.releases.lanes import Lanes
from api.releases.opening import LaneMaker
from api.resilience.budget import BudgetPolicy, Budgets
from api.resilience.limiter import Limiter
from api.resilience.loop_lag import LoopLag
from api.resilience.waiting_room import WaitingRoom
from api.rules.figures import RulesFigures
from api.rules.live import Rules
from api.scroll.scroll import Scroll
from api.scroll.seal import Seal
from api.settings import Settings
from api.types import Source

SECONDS_A_DAY = 86_400

_BUSY = 0.1
"""Share of the deadline. A loop that is so late on average has no CPU time to spare, and what the ladder's answers to
the surplus take is missing to those who were let in."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that the routes use."""

    catalog: Catalog
    pipeline: Pipeline
    explained: ExplainedPages
    readiness: Readiness
    metrics: Metrics
    prober: Prober
    lanes: Lanes
    max_body_bytes: int
    events: Events | None = None
    """None where events are off."""
    releases: Releases | None = None
    """None where one release serves alone."""


@asynccontextmanager
async def running(
    settings: Settings,
    catalog: Catalog,
    ensemble: Ensemble,
    metrics: Metrics,
    precomputed: PrecomputedRung | None = None,
    rules: Rules | None = None,
    events: Events | None = None,
    *,
    traffic: Followed | None = None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> AsyncIterator[Services]:
    """The adapter's parts, working. Takes over ``catalog``, ``ensemble``, ``precomputed``, ``events`` and the server of
    ``traffic``, and closes them.

    ``ensemble`` is the live release's: the setting's, or what the document of ``traffic`` says. ``clock``, in seconds,
    must advance with the event loop's timers; ``now`` is Unix time; ``rng`` is for jitter and sampling.
    """
    today = _today(settings.now_day, catalog)
    readiness = Readiness(metrics)
    budgets = Budgets(BudgetPolicy(), clock)
    lag = LoopLag(heard=budgets.lagged, clock=clock)
    maker = LaneMaker(
        readiness=readiness,
        metrics=metrics,
        policy=settings.breaker_policy,
        max_calls=settings.max_calls_in_flight,
        max_waiting=settings.max_waiting,
        took=budgets.took,
        awake=lag.awake,
        clock=clock,
        rng=rng,
    )
    lanes = Lanes(maker.open(settings.release if traffic is None else traffic.document.live, ensemble))
    limiter_policy = settings.limiter_policy
    limiter = Limiter(limiter_policy, lag.awake, answer_s=lambda: budgets.answer_s(limiter_policy.deadline_s))
    busy_s = _BUSY * settings.deadline_ms / 1e3
    room = WaitingRoom(limiter, most=settings.max_waiting, clock=clock)
    shadow = None if precomputed is None else _shadow(precomputed, settings.shadow_share, rng, metrics)
    ranker = Ranker(limiter, room, busy=lambda: lag.seconds() > busy_s, today=today, clock=clock)
    ladder = Ladder(precomputed)
    scroll = Scroll(Seal(settings.cursor_secrets, ttl_s=settings.cursor_ttl_s, now=now))
    recall = None if events is None else events.recall(clock)
    explained_calls = ExplainedCalls(ranker, room, clock=clock)
    explained = ExplainedPages(
        catalog,
        lanes,
        explained_calls,
        ladder,
        scroll,
        budgets,
        settings.patience,
        rules=rules_of(rules),
        recall=recall,
        clock=clock,
    )
    pipeline = Pipeline(
        catalog,
        lanes,
        ranker,
        ladder,
        scroll,
        budgets,
        settings.patience,
        rules=rules,
        recall=recall,
        served=None if shadow is None else shadow.served,
        clock=clock,
    )
    prober = Prober(
        pipeline,
        catalog,
        lanes,
        readiness,
        timeout_s=settings.patience.max_deadline_s,
        today=today,
        clock=clock,
    )
    metrics.follow_limiter(limiter)
    metrics.follow_budgets(budgets)
    releases = None if traffic is None else Releases(traffic, lanes, maker, metrics, today=today, now=now, clock=clock)
    opened = _shown(metrics, lanes, releases)
    background = [asyncio.create_task(prober.run(interval_s=settings.probe_interval_ms / 1e3), name="probe")]
    if releases is not None:
        background.append(asyncio.create_task(releases.follow(), name="follow the releases"))
    if rules is not None:
        rules.today = today
        metrics.registry.register(RulesFigures(rules))
        background.append(asyncio.create_task(rules.follow(), name="follow the shop's rules"))
    if precomputed is not None and shadow is not None:
        background += _followed_lists(precomputed, shadow, metrics)
    try:
        with lag.watching():
            yield Services(
                catalog,
                pipeline,
                explained,
                readiness,
                metrics,
                prober,
                lanes,
                settings.max_body_bytes,
                events,
                releases,
            )
    finally:
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        if releases is not None:
            await releases.close()
        await asyncio.gather(*(lane.batcher.close() for lane in opened()))
        await explained_calls.close()
        await asyncio.gather(*(lane.ensemble.close() for lane in opened()))
        await catalog.close()
        if events is not None:
            await events.close()
        if precomputed is not None:
            precomputed.close()


def _shown(metrics: Metrics, lanes: Lanes, releases: Releases | None) -> Callable[[], list[Lane]]:
    """Put the lanes into the metrics; returns what says which are open."""
    metrics.follow_breaker(lanes.live.breaker)
    opened = lanes.all
    if releases is not None:
        opened = releases.open
        metrics.registry.register(ReleasesFigures(releases))
    metrics.follow_batchers(
        lambda: sum(lane.batcher.waiting for lane in opened()), lambda: sum(lane.batcher.in_flight for lane in opened())
    )
    metrics.registry.register(LaneFigures(lanes, opened))
    return opened


def _followed_lists(precomputed: PrecomputedRung, shadow: Shadow, metrics: Metrics) -> list[asyncio.Task[None]]:
    """The tasks that keep the precomputed lists current and exercised."""
    metrics.follow_precomputed(precomputed.age_s, lambda: precomputed.customers, lambda: precomputed.damaged)
    return [
        asyncio.create_task(precomputed.follow(), name="follow the precomputed lists"),
        asyncio.create_task(shadow.run(), name="exercise the precomputed lists"),
    ]


def _shadow(precomputed: PrecomputedRung, share: float, rng: random.Random | None, metrics: Metrics) -> Shadow:
    """The lists' exercise beside healthy requests, in the metrics."""

    def compared(source: Source, overlap: float) -> None:
        metrics.shadow_overlap[source].observe(overlap)

    shadow = Shadow(precomputed, share=share, rng=rng, on_overlap=compared)
    metrics.follow_shadow(shadow)
    return shadow


def _today(setting: float | None, catalog: Catalog) -> Callable[[], float]:
    """Now, as days since 1970-01-01 UTC: as set, else the catalog's moment, else the wall clock."""
    if setting is not None:
        return lambda: setting

    def today() -> float:  # asked for each time: another version of the catalog has another moment
        day = catalog.now_day
        return time.time() / SECONDS_A_DAY if day is None else day

    return today
