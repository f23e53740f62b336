"""How long a candidate takes beside the live release: both served at once, asked in turn, on the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from ensemble import contract
from ensemble.data.dataset import Progress
from ensemble.errors import RacksortError
from ensemble.evaluation.triton_scorer import inputs_of
from ensemble.releases.check import probes
from ensemble.releases.check.asking import Asked
from ensemble.releases.check.finding import Faults, Result
from ensemble.releases.check.options import Options
from ensemble.releases.golden import Golden

BATCHES: Final = (1, contract.MAX_BATCH_SIZE)
ROUNDS: Final = 3
"""A shape that is too slow is measured again, and fails only if it is too slow each time."""
_FEWEST: Final = 7
_MOST: Final = 150
_WARM_UP: Final = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One shape of batch."""

    candidates: int
    rows: int
    calls: int
    """Of each release, in the round that counts."""
    median_ms: float
    p95_ms: float
    live_median_ms: float | None
    live_p95_ms: float | None
    ratio: float | None
    """Median of the pairs' ratios, the candidate's time over the live release's."""
    rounds: int

    def slower_than(self, share: float) -> bool:
        """Whether the candidate takes longer by more than ``share``."""
        return self.ratio is not None and self.ratio > 1 + share


def check(
    name: str,
    golden: Golden | None,
    candidate: Asked,
    live: Asked | None,
    options: Options,
    progress: Progress,
    clock: Callable[[], float],
) -> Result:
    """Every bucket with one row and with the largest batch.

    Args:
        name: of the candidate.
        golden: whose products are asked.
        candidate: served.
        live: served at the same time; None where there is none, and nothing is judged.
        options: time to spend and bound.
        progress: told the fraction.
        clock: seconds.
    """
    faults = Faults("latency")
    known = probes.Known.of(golden)
    shapes = [(bucket, batch) for bucket in contract.BUCKETS for batch in BATCHES]
    cells = []
    try:
        for number, (bucket, batch) in enumerate(shapes):
            progress("latency", number / len(shapes))
            inputs = inputs_of(probes.rows(known, batch, bucket, seed=3))
            asks = [partial(release.order, inputs) for release in (candidate, live) if release is not None]
            for rounds in range(1, ROUNDS + 1):
                cell = _measured(bucket, batch, asks, options.latency_s, clock, rounds)
                if not cell.slower_than(options.slower):
                    break
            cells.append(cell)
            if cell.slower_than(options.slower):
                faults.add(
                    f"{bucket} candidates, {batch} row{'s' if batch > 1 else ''}",
                    f"{cell.median_ms:.1f} ms, {cell.ratio:.2f} times the live release's {cell.live_median_ms:.1f} ms "
                    f"in each of {ROUNDS} rounds (at most {1 + options.slower:g})",
                    "make the models smaller, or raise --slower where that is wanted",
                )
    except RacksortError as error:
        faults.add(name, str(error), "ask the ensemble yourself to see which step fails")
        return faults.result("no answer")
    ratios = [cell.ratio for cell in cells if cell.ratio is not None]
    data: dict[str, Any] = {"cells": [asdict(cell) for cell in cells]}
    if not ratios:
        return faults.result(f"{cells[0].median_ms:.1f} to {cells[-1].median_ms:.1f} ms, nothing to compare with", data)
    data["ratio"] = float(np.median(ratios))
    return faults.result(f"{np.median(ratios):.2f} times live, at most {max(ratios):.2f}", data)


def _measured(
    bucket: int,
    batch: int,
    asks: Sequence[Callable[[], None]],
    seconds: float,
    clock: Callable[[], float],
    rounds: int,
) -> Cell:
    """Ask each in turn, whoever was second being first the next time, until the time is over."""
    for ask in asks:
        for _ in range(_WARM_UP):
            ask()
    times: list[list[float]] = [[] for _ in asks]
    for turn in _turns(seconds, clock):
        places = range(len(asks)) if turn % 2 else reversed(range(len(asks)))
        for place in places:
            began = clock()
            asks[place]()
            times[place].append(clock() - began)
    taken = np.array(times) * 1e3
    (median, *live_median), (p95, *live_p95) = np.median(taken, axis=1).tolist(), np.quantile(taken, 0.95, 1).tolist()
    return Cell(
        candidates=bucket,
        rows=batch,
        calls=taken.shape[1],
        median_ms=median,
        p95_ms=p95,
        live_median_ms=live_median[0] if live_median else None,
        live_p95_ms=live_p95[0] if live_p95 else None,
        ratio=float(np.median(taken[0] / taken[1])) if len(asks) > 1 else None,
        rounds=rounds,
    )


def _turns(seconds: float, clock: Callable[[], float]) -> Iterator[int]:
    until = clock() + seconds
    for turn in range(_MOST):
        if turn >= _FEWEST and clock() >= until:
            return
        yield turn
