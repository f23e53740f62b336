"""Whether a load run holds what it must: one verdict for each bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ensemble.errors import RacksortError
from loadtest.results import Result


@dataclass(frozen=True, slots=True)
class Bounds:
    """What must hold; None isn't looked at."""

    min_rate: float | None = None
    """Right answers a second."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_errors: int | None = None
    """Requests without a right answer."""
    max_degraded: float | None = None
    """Share (0..1) of the right answers."""

    @property
    def any(self) -> bool:
        """Whether there is anything to look at."""
        return any(getattr(self, name) is not None for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bound and the figure that it was held against."""

    bound: str
    limit: float
    figure: float | None
    """None where there is none: a percentile without any right answer."""
    unit: str
    held: bool

    def line(self) -> str:
        """For people."""
        digits = {"%": 3, "": 0}.get(self.unit, 1)
        limit, figure = (
            "none" if value is None else f"{value:,.{digits}f}{self.unit}" for value in (self.limit, self.figure)
        )
        side = "at least" if self.bound == "rate" else "at most"
        return f"{'held  ' if self.held else 'broken'}  {self.bound:<9} {figure:>12}   ({side} {limit})"


def judge(result: Result, bounds: Bounds) -> list[Verdict]:
    """Hold the phases of ``result`` that count against ``bounds``.

    Raises:
        RacksortError: there is no bound, or nothing to hold against it.
    """
    if not bounds.any:
        raise RacksortError("nothing to judge by: give a bound, such as --min-rate 4000 or --p99 50ms")
    if not result.requests:
        raise RacksortError("the run holds no requests that count: it was over before its warm-up was, or never began")
    return list(_verdicts(result, bounds))


def _verdicts(result: Result, bounds: Bounds) -> Iterator[Verdict]:
    if bounds.min_rate is not None:
        yield Verdict("rate", bounds.min_rate, result.rate, "/s", result.rate >= bounds.min_rate)
    latencies = result.latencies()
    for bound, share, limit in (
        ("p50", 50, bounds.p50_ms),
        ("p99", 99, bounds.p99_ms),
        ("p99.9", 99.9, bounds.p999_ms),
    ):
        if limit is not None:
            figure = latencies.percentile(share) if latencies.count else None
            yield Verdict(bound, limit, figure, " ms", figure is not None and figure <= limit)
    if bounds.max_errors is not None:
        yield Verdict("errors", bounds.max_errors, result.errors, "", result.errors <= bounds.max_errors)
    if bounds.max_degraded is not None:
        degraded = result.degraded_share if result.right else None
        held = degraded is not None and degraded <= bounds.max_degraded
        yield Verdict("degraded", 100 * bounds.max_degraded, None if degraded is None else 100 * degraded, "%", held)


def milliseconds(text: str) -> float:
    """``"50ms"``, ``"0.05s"`` or ``"50"`` in ms.

    Raises:
        RacksortError: it is something else.
    """
    number, factor = (
        (text[:-2], 1.0) if text.endswith("ms") else (text[:-1], 1e3) if text.endswith("s") else (text, 1.0)
    )
    return factor * _number(number, f"{text!r} isn't a time: write it as 50ms or 0.05s")


def share(text: str) -> float:
    """``"0.1%"`` or ``"0.001"`` as a share.

    Raises:
        RacksortError: it is something else.
    """
    wrong = f"{text!r} isn't a share: write it as 0.1% or 0.001"
    value = _number(text[:-1], wrong) / 100 if text.endswith("%") else _number(text, wrong)
    if value > 1:
        raise RacksortError(wrong)
    return value


def _number(text: str, wrong: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise RacksortError(wrong) from None
    if not 0 <= value < float("inf"):
        raise RacksortError(wrong)
    return value
