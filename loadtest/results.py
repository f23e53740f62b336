"""What a load run came to, as a file: figures by phase, with every latency in an HdrHistogram."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from api import durable
from ensemble.errors import RacksortError
from loadtest.latencies import Latencies

FORMAT: Final = 1


class Phase(msgspec.Struct, kw_only=True):
    """Requests of one phase of the load."""

    name: str
    asked: float | None = None
    """Requests a second that were asked for, on average; None where nobody asked for a rate."""
    counted: bool = True
    """Whether it counts; a warm-up doesn't."""
    right: int = 0
    """Answers that were right, degraded ones among them."""
    degraded: int = 0
    errors: dict[str, int] = {}
    """Requests without a right answer, by what was wrong."""
    first: float | None = None
    """When its first answer came, Unix time; None before that."""
    last: float | None = None
    """When its latest one came."""
    cpu_s: float = 0.0
    """CPU time of the processes that generated the load: near a core for each, they are the limit themselves."""
    latencies: str = ""
    """Of the right answers: an HdrHistogram in µs, compressed V2 encoding, base64."""

    @property
    def seconds(self) -> float:
        """From the first answer to the last one."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first

    def note(self, first: float, last: float) -> None:
        """Answers came from ``first`` to ``last``."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


class Result(msgspec.Struct, kw_only=True):
    """A run."""

    generator: str
    url: str
    shape: str
    phases: list[Phase]
    format: int = FORMAT

    @property
    def counted(self) -> list[Phase]:
        """The phases that count and in which anything happened."""
        return [phase for phase in self.phases if phase.counted and phase.right + sum(phase.errors.values())]

    @property
    def requests(self) -> int:
        """Right answers and errors."""
        return self.right + self.errors

    @property
    def right(self) -> int:
        """Right answers."""
        return sum(phase.right for phase in self.counted)

    @property
    def errors(self) -> int:
        """Requests without a right answer."""
        return sum(sum(phase.errors.values()) for phase in self.counted)

    @property
    def degraded_share(self) -> float:
        """Of the right answers; NaN without any."""
        return sum(phase.degraded for phase in self.counted) / self.right if self.right else float("nan")

    @property
    def rate(self) -> float:
        """Right answers a second."""
        seconds = sum(phase.seconds for phase in self.counted)
        return self.right / seconds if seconds else 0.0

    def latencies(self) -> Latencies:
        """Of all phases that count."""
        together = Latencies()
        for phase in self.counted:
            if phase.latencies:
                together.add(phase.latencies)
        return together

    def flaws(self) -> dict[str, int]:
        """What was wrong, most frequent first."""
        found: dict[str, int] = {}
        for phase in self.counted:
            for flaw, count in phase.errors.items():
                found[flaw] = found.get(flaw, 0) + count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read(path: Path) -> Result:
    """Read what ``Result.save`` wrote.

    Raises:
        RacksortError: there is no such file, or it is something else.
    """
    try:
        result = msgspec.json.decode(path.read_bytes(), type=Result)
        result.latencies()
    except OSError as error:
        raise RacksortError(
            f"{path}: can't be read ({error.strerror}): racksort loadtest run --result {path} writes it"
        ) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise RacksortError(f"{path}: isn't the result of a load run ({error})") from error
    if result.format != FORMAT:
        raise RacksortError(f"{path}: is of format {result.format}, not {FORMAT}: run the load again")
    return result
