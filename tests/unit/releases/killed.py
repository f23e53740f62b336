"""Publishes or withdraws a release and kills itself at a step: ``killed.py VERB STEP REPOSITORY [CANDIDATE]``."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from ensemble.releases.layout import release_in
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.withdraw import withdraw


def main(verb: str, last: str, repository: Path, candidate: str = "") -> None:
    def step(name: str) -> None:
        if name == last:
            os.kill(os.getpid(), signal.SIGKILL)

    if verb == "publish":
        now = datetime(2026, 9, 1, tzinfo=UTC)
        publish(release_in(Path(candidate)), repository, Publisher("0.1.0", now=lambda: now, step=step))
    else:
        withdraw(repository, 2, step=step)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
