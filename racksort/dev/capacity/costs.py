"""What a request costs each process, taken from a benchmark's CPU times.

A call of a process costs something whatever it carries and something for each row, so a request costs
row + call / rows. Two numbers of connections with different fillings give both (least squares, neither below 0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ensemble import contract
from ensemble.errors import RacksortError

ADAPTER: Final = "adapter"
TRITON: Final = "tritonserver"
MODELS: Final = tuple(spec.name for spec in contract.ONNX_MODELS)
RANKING: Final = contract.RANKING.name
PROCESSES: Final = (ADAPTER, TRITON, *MODELS, RANKING)


@dataclass(frozen=True, slots=True)
class Point:
    """One run of the closed loop."""

    pools: str
    connections: int
    rate: float
    """Requests/s."""
    mean_ms: float
    rows: float
    """Of a call, on average."""
    cpu_us: Mapping[str, float]
    """Microseconds of CPU for each request, by process."""
    generator_us: float
    """The load generator's."""


@dataclass(frozen=True, slots=True)
class Work:
    """CPU seconds of a process."""

    call_s: float
    row_s: float

    def of(self, rows: int) -> float:
        """Seconds of a call."""
        return self.call_s + self.row_s * rows


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of everything that works for a request."""

    work: Mapping[str, Work]
    generator_s: float
    """A request's, in the load generator."""

    def request_us(self, rows: float) -> dict[str, float]:
        """Microseconds of a request by process, in calls of ``rows``."""
        return {name: 1e6 * (each.row_s + each.call_s / rows) for name, each in self.work.items()}


def read(path: Path) -> list[Point]:
    """Runs of racksort in what ``racksort bench --json`` printed.

    Raises:
        RacksortError: it is no such file, or lacks what a call carries.
    """
    try:
        cases = json.loads(path.read_bytes())["cases"]
        return [_point(case) for case in cases if case["server"] == "racksort"]
    except OSError as error:
        raise RacksortError(f"{path}: can't be read ({error.strerror}): `racksort bench --json` makes it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RacksortError(f"{path}: isn't what `racksort bench --json` prints ({error}): make it again") from error


def _point(case: Mapping[str, Any]) -> Point:
    measured = case["measured"]
    missing = [name for name in PROCESSES if name not in case["cpu_us"]]
    if missing or case["generator_us"] is None or not (case["rows_per_call"] or 0) >= 1:
        raise ValueError(f"{missing[0] if missing else 'rows_per_call'} is missing")
    return Point(
        pools=case["pools"],
        connections=measured["connections"],
        rate=case["rate"],
        mean_ms=measured["mean_ms"],
        rows=case["rows_per_call"],
        cpu_us=case["cpu_us"],
        generator_us=case["generator_us"],
    )


def fit(points: Sequence[Point]) -> Costs:
    """Costs of runs over the same pools.

    Raises:
        RacksortError: the runs don't tell what a call costs from what a row does.
    """
    rows = np.array([point.rows for point in points])
    if rows.size < 2 or rows.max() < 1.2 * rows.min():
        said = ", ".join(f"{each:.0f}" for each in rows)
        raise RacksortError(f"calls of {said or 'no'} rows don't tell calls from rows: measure other connections, too")
    work = {name: _split(1 / rows, np.array([point.cpu_us[name] for point in points])) for name in PROCESSES}
    return Costs(work, float(np.mean([point.generator_us for point in points])) / 1e6)


def _split(shares: np.ndarray[tuple[int], np.dtype[Any]], cpu_us: np.ndarray[tuple[int], np.dtype[Any]]) -> Work:
    """Cost of a call and of a row from costs of requests that had a share of a call each."""
    slope, level = (float(each) for each in np.polyfit(shares, cpu_us, 1))
    if slope < 0:
        slope, level = 0.0, float(cpu_us.mean())
    elif level < 0:
        slope, level = float((shares * cpu_us).sum() / (shares * shares).sum()), 0.0
    return Work(slope / 1e6, level / 1e6)
