"""What an adapter's telemetry is made of: put together when it starts, taken apart when it ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.metrics import Metrics
from api.settings import Settings
from api.telemetry.answer_log import AnswerLog
from api.telemetry.choice import Choice
from api.telemetry.export import Exporter, Sender
from api.telemetry.figures import TraceFigures
from api.telemetry.tracer import Tracer


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The parts that routes use."""

    answers: AnswerLog
    tracer: Tracer | None = None
    """None where nothing is traced."""


def untraced(*, clock: Callable[[], float] = time.monotonic) -> Telemetry:
    """Telemetry without traces and sampled lines: what there is where the settings name nothing else."""
    return Telemetry(AnswerLog(0.0, clock=clock, rng=random.Random()))  # noqa: S311 - draws nothing


@asynccontextmanager
async def telemetry(
    settings: Settings, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Telemetry]:
    """The telemetry that the settings say, working.

    Raises:
        SettingsInvalid: OpenTelemetry isn't installed.
    """
    rng = random.Random()  # noqa: S311 - ids of spans and a share of requests need no secrecy
    answers = AnswerLog(settings.access_log_sample, clock=clock, rng=rng)
    endpoint = settings.otlp_endpoint
    if endpoint is None:
        yield Telemetry(answers)
        return

    def sender() -> Sender:
        from api.telemetry.otlp import OtlpSender  # noqa: PLC0415 - an extra's packages, which only this needs

        return OtlpSender(endpoint)

    exporter = Exporter(sender)
    choice = Choice(settings.trace_sample, settings.trace_parents_per_s, clock=clock, rng=rng)
    metrics.registry.register(TraceFigures(choice.made, exporter))
    try:
        yield Telemetry(answers, Tracer(choice, exporter.put, clock=clock, rng=rng))
    finally:
        await asyncio.to_thread(exporter.close)
