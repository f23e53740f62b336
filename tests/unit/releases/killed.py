"""Publishes or withdraws a release and kills itself at a step: ``killed.py VERB STEP REPOSITORY [CANDIDATE [KEY]]``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from ensemble.releases.layout import release_in
from ensemble.releases.object_publish import publish_object
from ensemble.releases.object_store import is_url, open_store
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.withdraw import withdraw

ROOT = Path(__file__).parents[3]


def kill_at(*arguments: str | Path) -> None:
    """Run this module until it kills itself."""
    command = [sys.executable, "-m", __name__, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def main(verb: str, last: str, repository: str, candidate: str = "", key: str = "") -> None:
    def step(name: str) -> None:
        if name == last:
            os.kill(os.getpid(), signal.SIGKILL)

    now = datetime(2026, 9, 1, tzinfo=UTC)
    publisher = Publisher("0.1.0", Path(key) if key else None, now=lambda: now, step=step)
    if verb == "withdraw":
        withdraw(Path(repository), 2, step=step)
    elif is_url(repository):
        publish_object(release_in(Path(candidate)), open_store(repository), publisher)
    else:
        publish(release_in(Path(candidate)), Path(repository), publisher)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *sys.argv[4:])
