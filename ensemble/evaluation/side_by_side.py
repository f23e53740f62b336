"""Makes the parts of an evaluation in several processes; what they leave is found by the run that asked for it.

One process measures on one core: most of the work is a few long loops over weeks and settings. Parts leave their
results in the checkpoints' folder, so that processes share nothing but that, and a run that was broken off goes on with
any number of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from ensemble.data.dataset import Progress
from ensemble.errors import RacksortError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_ENDS_WITHIN_S: Final = 20.0
"""A process that was asked to end has a server to stop at most."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
"""Variables by which libraries choose how many threads they start, when they are imported."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some units of a run that belong into one process."""

    kind: str
    names: tuple[str, ...]
    after: str = ""
    """A kind of which all parts must be made before; empty: none."""


class Run(Protocol):
    """What a process makes parts of."""

    def make(self, part: Part) -> None:
        """Leave the part's results in the checkpoints.

        Raises:
            RacksortError: it can't be made.
        """


Opening = Callable[[Progress], Run]
"""Opens the run in another process, and is told where to report progress; must be picklable."""


def make_all(opening: Opening, parts: Sequence[Part], processes: int, progress: Progress) -> None:
    """Make ``parts`` in ``processes`` processes, each with its share of the cores; earlier parts are begun earlier.

    Raises:
        RacksortError: a part can't be made, or a process ended. The others are ended.
    """
    waiting, doing = list(parts), dict[connection.Connection, Part]()

    def begin(worker: connection.Connection) -> None:
        held_up = {part.kind for part in (*waiting, *doing.values())}
        ready = next((part for part in waiting if part.after not in held_up), None)
        if ready is not None:
            waiting.remove(ready)
            doing[worker] = ready
            worker.send(ready)

    with _started(opening, min(processes, len(parts))) as workers:
        idle = list(workers)
        while waiting or doing:
            for worker in idle:
                begin(worker)
            heard = connection.wait(list(doing))
            for worker in [each for each in doing if each in heard]:
                _hear(worker, doing, progress)
            idle = [worker for worker in workers if worker not in doing]


def _hear(worker: connection.Connection, doing: dict[connection.Connection, Part], progress: Progress) -> None:
    try:
        said = worker.recv()
    except EOFError:
        names = ", ".join(doing[worker].names)
        raise RacksortError(
            f"the process that made {doing[worker].kind} {names} ended, as it does where memory is short: run again "
            "with fewer --processes; what is finished is kept"
        ) from None
    match said:
        case None:
            del doing[worker]
        case Exception() as error:
            raise error
        case (stage, fraction):
            progress(stage, fraction)


@contextmanager
def _started(opening: Opening, processes: int) -> Iterator[list[connection.Connection]]:
    """Connections to processes that end with the context."""
    context = get_context("spawn")
    held: list[tuple[SpawnProcess, connection.Connection]] = []
    try:
        with _threads(max((os.cpu_count() or 1) // processes, 1)), _uninterrupted():
            for _ in range(processes):
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(opening, there), daemon=True)
                process.start()
                there.close()  # so that the end of the process is the end of the connection
                held.append((process, here))
        yield [here for _, here in held]
    finally:
        for process, here in held:
            here.close()
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process, _ in held:
            process.join(_ENDS_WITHIN_S)
            process.kill()
            process.join()


@contextmanager
def _threads(each: int) -> Iterator[None]:
    """Processes that are started here have so many threads, unless the environment says otherwise."""
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(each)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started here put off an interrupt until they can end in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(opening: Opening, caller: connection.Connection) -> None:
    """Make what is asked for until nobody asks any more."""

    def say(what: Any) -> None:  # a stage with its fraction, an error, or None: what was asked for is made
        caller.send(what)

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell lets background jobs ignore
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        run: Run | None = None
        while True:
            part = caller.recv()
            try:
                run = run or opening(lambda stage, fraction: say((stage, fraction)))
                run.make(part)
            except Exception as error:  # noqa: BLE001 - the caller's to raise, as if it had made the part itself
                say(error)
            else:
                say(None)
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        return
