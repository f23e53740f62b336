"""Runs Locust without its web page, in processes of its own, and reads what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import loadtest
from ensemble.errors import RacksortError
from loadtest import results, shapes
from loadtest.loopback import require_loopback
from loadtest.results import Result

LOCUSTFILE: Final = Path(loadtest.__file__).parent / "locustfile.py"
_BEYOND_S: Final = 90.0
"""Seconds that starting, making the traffic and stopping may take."""
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run of Locust."""

    url: str
    shape: str
    asked: shapes.Asked
    processes: int = 1
    seed: int = 1
    catalog: Path = Path("var/catalog")
    traffic: Path | None = None
    """A traffic file to use as it is."""
    user_rate: float = 10.0
    """Pages a second that one user asks for."""
    client: str = "lean"
    allow_remote: bool = False

    def curve(self) -> shapes.Curve:
        """The load over time.

        Raises:
            RacksortError: the plan can't be run.
        """
        require_loopback(self.url, allow_remote=self.allow_remote)
        return shapes.curve(self.shape, self.asked)

    def command(self, result: Path) -> list[str]:
        """The command line that a user would type."""
        asked = self.asked
        return [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
            *("--stop-timeout", "5"),  # the last requests are waited for, so that the slow ones count
            *(
                "--host",
                self.url,
                "--shape-name",
                self.shape,
                "--rate",
                str(asked.rate),
                "--seconds",
                str(asked.seconds),
            ),
            *("--warm-up", str(asked.warm_up), "--factor", str(asked.factor), "--steps", str(asked.steps)),
            *("--seed", str(self.seed), "--catalog", str(self.catalog), "--user-rate", str(self.user_rate)),
            *("--client", self.client, "--result", str(result)),
            *(("--processes", str(self.processes)) if self.processes > 1 else ()),
            *(("--traffic", str(self.traffic)) if self.traffic is not None else ()),
            *(("--allow-remote",) if self.allow_remote else ()),
        ]


def run(plan: Plan, result: Path, report: Report) -> Result:
    """Load ``plan.url`` and return the result, which is written to ``result`` as well.

    Raises:
        RacksortError: the plan can't be run, or Locust ended without a result; names its last line.
    """
    seconds = plan.curve().seconds
    label = f"Locust: {plan.shape}, {plan.asked.rate:,.0f}/s"
    with suppress(FileNotFoundError):
        result.unlink()  # so that an old one isn't taken for this run's
    with tempfile.TemporaryFile(prefix="racksort-locust-") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            plan.command(result), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            began = time.monotonic()
            while process.poll() is None and time.monotonic() < began + seconds + _BEYOND_S:
                report(label, min(0.99, (time.monotonic() - began) / seconds))
                time.sleep(0.1)
        finally:
            _end(process)
        report(label, 1.0)
        if not result.exists():
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["it wrote nothing"]
            raise RacksortError(f"Locust ended without a result: {last[0].removeprefix('racksort: ')}")
    return results.read(result)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask Locust to end, then insist on all of its processes."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
