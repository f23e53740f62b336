"""What the processes of the tests of ``side_by_side`` make; they import little, since each of them does."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from ensemble.data.dataset import Progress
from ensemble.errors import RacksortError
from ensemble.evaluation.side_by_side import Notice, Part
from tests.waiting import until


class TwoPartError(Exception):
    """One that doesn't survive being sent."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


@dataclass(frozen=True)
class Diary:
    """A run that writes down in a folder what it makes; some kinds of parts go wrong."""

    folder: Path
    opens: bool = True

    def __call__(self, progress: Progress, notice: Notice) -> Written:
        if not self.opens:
            raise RacksortError("the data isn't there")
        return Written(self.folder, progress, notice)


@dataclass(frozen=True)
class Written:
    folder: Path
    progress: Progress
    notice: Notice

    def make(self, part: Part) -> int:
        match part.kind:
            case "long":  # until another process has done the rest
                until(lambda: len(list(self.folder.glob("second-*"))) == 3)
            case "second":
                assert len(list(self.folder.glob("first-*"))) == 3
            case "refused":
                raise RacksortError("it can't be made")
            case "broken":
                raise TwoPartError("an", " error")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "idle":  # this process gets on, the other one is killed where it waits for something to do
                until((self.folder / "first-0").exists)
                os.kill(int((self.folder / "first-0").read_text().split()[0]), signal.SIGKILL)
                until(lambda: False)
            case "forever":
                try:
                    self.notice("begun")
                    until(lambda: False)
                finally:
                    (self.folder / f"ended-{os.getpid()}").touch()
        for name in part.names:
            threads = os.environ.get("OMP_NUM_THREADS")
            masked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
            (self.folder / f"{part.kind}-{name}").write_text(f"{os.getpid()} {threads} {masked}")
        self.progress(part.kind, 0.5)
        self.notice(str(part))
        return len(part.names)
