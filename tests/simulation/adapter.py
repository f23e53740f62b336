"""The whole adapter in virtual time, over an Elasticsearch and a Triton that delay, fail, hang and lie.

``python -m tests.simulation.adapter --seed 7`` replays a seed and shows all that happens in it; ``--seeds 0:10000``
runs many of them on all cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from rich.progress import track

from tests.simulation import precomputed
from tests.simulation.world import Run, simulate

_CHUNK = 20
"""Seeds that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Result:
    """A seed's outcome, small enough to travel between processes."""

    seed: int
    digest: str
    """Of the trace."""
    answers: Counter[str]
    """By source, or by status where it wasn't a page."""
    reasons: Counter[str]
    violations: tuple[str, ...]

    @property
    def replay(self) -> str:
        """The command that shows it again."""
        return f"python -m tests.simulation.adapter --seed {self.seed}"

    def __str__(self) -> str:
        """For people: what is wrong, and how to see it."""
        shown = "\n  ".join(self.violations[:10])
        return f"seed {self.seed}, {len(self.violations)} violations; replay with `{self.replay}`\n  {shown}"


def result(seed: int) -> Result:
    """Simulate one seed."""
    return summary(simulate(seed))


def summary(run: Run) -> Result:
    """What is worth telling of a run."""
    digest = hashlib.blake2b(repr(run.trace).encode(), digest_size=16).hexdigest()
    answers = Counter(source or ("gone" if status is None else str(status)) for _, _, status, source, _, _ in run.trace)
    reasons = Counter(reason for *_, reasons, _ in run.trace for reason in reasons)
    return Result(run.plan.seed, digest, answers, reasons, tuple(run.violations))


def results(seeds: Iterable[int], *, processes: int) -> Iterator[Result]:
    """Simulate many, in order."""
    if processes == 1:
        yield from map(result, seeds)
        return
    precomputed.folder()  # one for all processes, which goes with this one
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(result, seeds, chunksize=_CHUNK)


def show(run: Run) -> None:
    """Print what was drawn, every answer, and what was wrong."""
    plan, out = run.plan, sys.stdout
    out.write(f"seed {plan.seed}: {plan.capacity.rows_a_second:.0f} requests/s, precomputed lists: {plan.store}\n")
    out.write(f"  {plan.settings.model_dump(include=set(plan.settings.model_fields_set))}\n  {plan.options}\n")
    for name, schedule in (("Triton", plan.faults.triton), ("Elasticsearch", plan.faults.elasticsearch)):
        for phase in schedule.phases:
            out.write(f"  {name}: {phase}\n")
    for at, seconds in plan.faults.stalls:
        out.write(f"  event loop: held at {at:.2f} s for {seconds * 1e3:.0f} ms\n")
    for at in plan.switches:
        out.write(f"  Elasticsearch: another version is live from {at:.2f} s\n")
    for burst in plan.bursts:
        out.write(f"  burst: {burst.rate:.0f} requests/s from {burst.start:.2f} s for {burst.seconds * 1e3:.0f} ms\n")
    asked = {served.asked.number: served for served in run.served}
    for at, number, status, source, reasons, ids in run.trace:
        request = asked[number].asked
        what = f"{request.path.decode()}?{request.query.decode()}"
        limit = "" if request.timeout_ms is None else f" within {request.timeout_ms} ms"
        answer = f"{status} {source} {', '.join(reasons)}" if status else "gone"
        out.write(f"{request.at:9.4f} {at:9.4f} #{number} {request.method} {what}{limit}: {answer} {ids:08x}\n")
    for violation in run.violations:
        out.write(f"VIOLATION {violation}\n")
    out.write(f"{summary(run).digest}, {dict(summary(run).answers)}, {len(run.violations)} violations\n")


def main() -> int:
    """Replay one seed or run many; the exit status is 1 where something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.adapter", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="replay it with all its answers")
    which.add_argument("--seeds", help="A:B, from A until before B")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core")
    given = parser.parse_args()
    if given.seed is not None:
        run = simulate(given.seed)
        show(run)
        return int(bool(run.violations))
    first, last = (int(part) for part in given.seeds.split(":"))
    answers: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failed = 0
    every = results(range(first, last), processes=given.processes)
    for each in track(every, total=last - first, description="seeds", disable=not sys.stderr.isatty()):
        answers += each.answers
        reasons += each.reasons
        if each.violations:
            failed += 1
            sys.stdout.write(f"{each}\n")
    sys.stdout.write(f"{last - first} seeds, {answers.total()} requests, {failed} seeds with violations\n")
    for counts in (answers, reasons):
        sys.stdout.write(", ".join(f"{name}: {count}" for name, count in counts.most_common()) + "\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
