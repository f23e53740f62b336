import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
STOP_AT = "week 11 full catalogue personal frequency"


@contextlib.contextmanager
def started(*arguments: Path | str) -> Iterator[subprocess.Popen[str]]:
    """The evaluation in a process of its own, which doesn't outlive the test."""
    command = [sys.executable, "-m", "tests.unit.evaluation.interrupted", *map(str, arguments)]
    with subprocess.Popen(command, cwd=REPOSITORY.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def made(process: subprocess.Popen[str], until: str | None = None) -> list[str]:
    """The units that the process makes, up to ``until`` or to its end."""
    assert process.stdout is not None
    units = []
    for line in process.stdout:
        units.append(line.rstrip().removeprefix("making "))
        if units[-1] == until:
            break
    return units


def test_a_killed_run_is_gone_on_with_and_gives_the_same_figures(tmp_path: Path) -> None:
    with started(tmp_path / "whole", tmp_path / "whole.json") as process:
        everything = made(process)
    with started(tmp_path / "kept", tmp_path / "never.json", STOP_AT) as process:
        before = made(process, STOP_AT)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "never.json").exists()
    with started(tmp_path / "kept", tmp_path / "resumed.json") as process:
        after = made(process)
    assert before[-1] == after[0] == STOP_AT
    assert [*before[:-1], *after] == everything
    assert len(before) > 10
    assert json.loads((tmp_path / "resumed.json").read_text()) == json.loads((tmp_path / "whole.json").read_text())


def test_a_write_that_was_broken_off_leaves_no_half_file(tmp_path: Path) -> None:
    with started(tmp_path / "kept", tmp_path / "whole.json") as process:
        everything = made(process)
    (folder,) = (tmp_path / "kept").iterdir()
    # What a kill in the middle of a write leaves: the file under its temporary name.
    unit = next(folder.glob("week-11-full-catalogue-popularity-*.npz"))
    unit.rename(folder / ".half.new")
    with started(tmp_path / "kept", tmp_path / "again.json") as process:
        assert made(process) == ["week 11 full catalogue popularity"]
    assert len(everything) > 10
    assert (tmp_path / "again.json").read_text() == (tmp_path / "whole.json").read_text()
