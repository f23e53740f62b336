"""Makes the parts of an evaluation in several processes; what they leave is found by the run that asked for it.

One process measures on one core: most of the work is a few long loops over weeks and settings. Parts leave their
results in the checkpoints' folder, so that processes share nothing but that, and a run that was broken off goes on with
any number of them.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from ensemble.data.dataset import Progress
from ensemble.errors import RacksortError
from ensemble.runtime.processes import end_with_parent

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_ENDS_WITHIN_S: Final = 20.0
"""How long processes that were asked to end may take, all together: one may have a server to stop."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
"""Variables by which libraries choose how many threads they start, when they are imported."""
_STAGE, _NOTICE, _MADE, _REFUSED, _BROKEN = "stage", "notice", "made", "refused", "broken"
"""What a process says: (kind, ...)."""

Notice = Callable[[str], None]
"""Takes a line for people."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some units of a run that belong into one process."""

    kind: str
    names: tuple[str, ...] = ()
    after: str = ""
    """A kind of which all parts must be made before, another than its own; empty: none."""

    def __str__(self) -> str:
        return " ".join((self.kind, ", ".join(self.names))).rstrip()


class Run(Protocol):
    """What a process makes parts of."""

    def make(self, part: Part) -> int:
        """Leave the part's results in the checkpoints, and say how many units had to be made.

        Raises:
            RacksortError: it can't be made.
        """


Opening = Callable[[Progress, Notice], Run]
"""Opens the run in another process, and is told where to report; must be picklable."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def share() -> int:
    """How many threads this process may start: its share of the cores, where it makes parts beside others.

    Threads beyond that would wait for each other, busily: a model takes twice as long then.
    """
    text = os.environ.get(_THREADS[0], "")
    return min(int(text), cores()) if text.isdecimal() and int(text) > 0 else cores()


def make_all(opening: Opening, parts: Sequence[Part], processes: int, progress: Progress, notice: Notice) -> int:
    """Make ``parts`` in ``processes`` processes, each with its share of the cores; earlier parts are begun earlier.

    Returns:
        How many units had to be made.

    Raises:
        RacksortError: a part can't be made, or a process ended. The others are ended.
        RuntimeError: a part has a defect; the text is the other process's traceback.
        ValueError: there are no parts, or some wait for each other.
    """
    if not parts or processes < 1:
        raise ValueError("there is nothing to make, or nobody to make it")
    with _started(opening, min(processes, len(parts))) as workers:
        return _Foreman(workers, parts, progress, notice).see_to_all()


class _Foreman:
    """Hands out parts and hears of them."""

    def __init__(self, workers: Sequence[_Worker], parts: Sequence[Part], progress: Progress, notice: Notice) -> None:
        self._workers, self._waiting = workers, list(parts)
        self._progress, self._notice = progress, notice
        self._reached: dict[str, float] = {}
        """The fraction of each stage: several processes may go through the same one."""
        self._made = 0

    def see_to_all(self) -> int:
        """How many units had to be made."""
        while self._hand_out():
            callers = [worker.caller for worker in self._workers]
            heard = connection.wait([*callers, *(worker.process.sentinel for worker in self._workers)])
            for worker in self._workers:
                if worker.caller in heard:
                    self._hear(worker)
                elif worker.process.sentinel in heard:
                    worker.raise_ended()
        return self._made

    def _hand_out(self) -> bool:
        """Give those who do nothing the first part that waits for nothing; whether there is something to be made."""
        for worker in self._workers:
            if worker.part is not None:
                continue
            held_up = {part.kind for part in (*self._waiting, *(each.part for each in self._workers if each.part))}
            ready = next((part for part in self._waiting if part.after not in held_up), None)
            if ready is not None:
                self._waiting.remove(ready)
                worker.begin(ready)
        busy = any(worker.part for worker in self._workers)
        if self._waiting and not busy:
            raise ValueError(f"these parts wait for each other: {', '.join(map(str, self._waiting))}")
        return busy

    def _hear(self, worker: _Worker) -> None:
        kind, *said = worker.heard()
        if kind == _STAGE:
            stage, fraction = said
            if fraction > self._reached.get(stage, -1.0):
                self._reached[stage] = fraction
                self._progress(stage, fraction)
        elif kind == _NOTICE:
            self._notice(said[0])
        elif kind == _MADE:
            worker.part = None
            self._made += said[0]
        elif kind == _REFUSED:
            raise RacksortError(said[0])
        else:
            raise RuntimeError(f"{worker.part} has a defect:\n{said[0]}")


@dataclass(slots=True)
class _Worker:
    """A process and what it is at."""

    process: SpawnProcess
    caller: connection.Connection
    part: Part | None = None

    def begin(self, part: Part) -> None:
        self.part = part
        try:
            self.caller.send(part)
        except OSError:
            self.raise_ended()

    def heard(self) -> tuple[Any, ...]:
        try:
            said: tuple[Any, ...] = self.caller.recv()
        except (EOFError, OSError):
            self.raise_ended()
        return said

    def raise_ended(self) -> NoReturn:
        """
        Raises:
            RacksortError: always.
        """
        self.process.join(1.0)
        status = self.process.exitcode
        how = f"by {signal.Signals(-status).name}" if status is not None and status < 0 else f"with status {status}"
        what = f"while it made {self.part}" if self.part else "while nothing was asked of it"
        raise RacksortError(
            f"a process of the evaluation ended {how} {what}: run again, with fewer --processes where memory is short; "
            "what is finished is kept"
        )


@contextmanager
def _started(opening: Opening, processes: int) -> Iterator[list[_Worker]]:
    """Processes that end with the context."""
    context = get_context("spawn")
    workers: list[_Worker] = []
    try:
        resource_tracker.ensure_running()  # here, since it lets interrupts through when it starts
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(opening, there), daemon=True)
            with _threads(max(cores() // processes, 1)), _uninterrupted():
                process.start()
                workers.append(_Worker(process, here))
            there.close()  # so that the end of the process is the end of the connection
        yield workers
    except BaseException:
        for worker in workers:
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGINT)
        raise
    finally:
        for worker in workers:
            worker.caller.close()  # which ends those that wait for something to do
        until = time.monotonic() + _ENDS_WITHIN_S
        for worker in workers:
            worker.process.join(max(until - time.monotonic(), 0.0))
            worker.process.kill()
            worker.process.join()


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

    def say(*what: Any) -> None:
        caller.send(what)

    def interrupted(*_: object) -> NoReturn:
        # Once: a terminal's and the caller's are the same wish.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    end_with_parent()()
    try:
        signal.signal(signal.SIGINT, interrupted)  # also where a shell lets background jobs ignore it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        run: Run | None = None
        while True:
            part = caller.recv()
            try:
                run = run or opening(
                    lambda stage, fraction: say(_STAGE, stage, fraction), lambda line: say(_NOTICE, line)
                )
                say(_MADE, run.make(part))
            except RacksortError as error:
                say(_REFUSED, str(error))
            except Exception:  # noqa: BLE001 - the caller's to raise; not every error can be sent, and none with its place
                say(_BROKEN, traceback.format_exc())
    except (KeyboardInterrupt, EOFError, OSError):
        return
