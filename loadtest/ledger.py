"""Counts answers by phase while a load runs, in one process; the ledgers of several processes add up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from loadtest.latencies import Latencies
from loadtest.results import Phase
from loadtest.shapes import Curve

BETWEEN: Final = -1
"""Instead of a phase's number: the users for the next phase aren't all there yet."""


class Ledger:
    """For one thread."""

    def __init__(
        self,
        curve: Curve | None,
        clock: Callable[[], float] = time.time,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """Empty, with the phases of ``curve``, or with a single one.

        Args:
            curve: of the load.
            clock: Unix time.
            cpu: CPU seconds that the process has used.
        """
        self._clock = clock
        self._cpu = cpu
        self._cpu_before = cpu()
        self._phases = (
            [Phase(name="all")]
            if curve is None
            else [
                *(
                    Phase(name=each.name, asked=(each.begin + each.end) / 2, counted=each.counted)
                    for each in curve.phases
                ),
                Phase(name="between", counted=False),
            ]
        )
        self._latencies = [Latencies() for _ in self._phases]
        self._phase = 0

    def enter(self, number: int) -> None:
        """Answers belong to phase ``number``, or ``BETWEEN`` two, from now on."""
        self._note_cpu()
        self._phase = number

    def right(self, ms: float, *, degraded: bool) -> None:
        """Count a right answer that took ``ms``."""
        phase = self._at_now()
        phase.right += 1
        phase.degraded += degraded
        self._latencies[self._phase].record(ms)

    def wrong(self, flaw: str) -> None:
        """Count a request without a right answer."""
        phase = self._at_now()
        phase.errors[flaw] = phase.errors.get(flaw, 0) + 1

    def _at_now(self) -> Phase:
        phase, now = self._phases[self._phase], self._clock()
        phase.note(now, now)
        return phase

    def rate(self, number: int) -> float | None:
        """Answers a second in phase ``number``, right or wrong, as far as they are known; None within its first second.

        By the moments of the answers, so that it doesn't matter how late a worker's report of them comes.
        """
        phase = self._phases[number]
        answers = phase.right + sum(phase.errors.values())
        return answers / phase.seconds if phase.seconds >= 1 else None

    def _note_cpu(self) -> None:
        before, self._cpu_before = self._cpu_before, self._cpu()
        self._phases[self._phase].cpu_s += self._cpu_before - before

    def phases(self) -> list[Phase]:
        """What was counted so far."""
        self._note_cpu()
        return [
            msgspec.structs.replace(phase, latencies=latencies.encode())
            for phase, latencies in zip(self._phases, self._latencies, strict=True)
        ]

    def drain(self) -> list[dict[str, Any]]:
        """What was counted since the last drain, as plain values for another process."""
        drained: list[dict[str, Any]] = [msgspec.structs.asdict(phase) for phase in self.phases()]
        for number, phase in enumerate(self._phases):
            self._phases[number] = Phase(name=phase.name, asked=phase.asked, counted=phase.counted)
            self._latencies[number] = Latencies()
        return drained

    def merge(self, drained: Sequence[dict[str, Any]]) -> None:
        """Add what another process has drained."""
        for phase, latencies, values in zip(self._phases, self._latencies, drained, strict=True):
            other = msgspec.convert(values, Phase)
            phase.right += other.right
            phase.degraded += other.degraded
            phase.cpu_s += other.cpu_s
            for flaw, count in other.errors.items():
                phase.errors[flaw] = phase.errors.get(flaw, 0) + count
            if other.first is not None and other.last is not None:
                phase.note(other.first, other.last)
            latencies.add(other.latencies)
