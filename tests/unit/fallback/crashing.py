"""Writes a store again and again, each time killed by SIGKILL right before another step that the disk sees:
``python -m tests.unit.fallback.crashing BEFORE FOLDER``.

Run number ``n`` is killed before its n-th step and finds a copy of BEFORE at FOLDER/n. Ends with the run that none of
its steps has killed. Forks, which a test's own process, full of others' threads, must not.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.fallback import stores
from tests.unit.fallback.stores import small

CREATED_AT = 2_000.0
_STEPS = (
    *((os, name) for name in ("write", "fsync")),
    (shutil, "rmtree"),
    *((Path, name) for name in ("replace", "unlink", "mkdir", "touch")),
)


def main(before: Path, folder: Path) -> None:
    for step in itertools.count():
        out = Path(shutil.copytree(before, folder / str(step)))
        child = os.fork()
        if not child:
            _write(out, step)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return
        if status != -signal.SIGKILL:
            raise SystemExit(f"step {step}: {status}")


def _write(out: Path, step: int) -> None:
    count = itertools.count()

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **named: Any) -> Any:
            if next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return stepping

    for owner, name in _STEPS:
        setattr(owner, name, mortal(getattr(owner, name)))
    whole: Callable[[int, Any], int] = os.write
    # Each write is torn: between two steps, half of it is all there is.
    os.write = lambda descriptor, data: whole(descriptor, data[: max(1, len(data) // 2)])  # type: ignore[assignment,misc]
    stores.write(out, small(), created_at=CREATED_AT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
