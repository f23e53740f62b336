"""A peer's environment is made of its lock, once, and is never taken for whole while it isn't."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from loadtest.peers import environments


def test_an_environment_is_made_once_and_again_when_its_lock_changes(tmp_path: Path) -> None:
    lock, folder, told = tmp_path / "lock.txt", tmp_path / "made", list[str]()
    lock.write_text("# nothing\n")

    def report(stage: str, _: float) -> None:
        told.append(stage)

    assert not environments.is_made("empty", lock, folder)
    python = environments.make("empty", lock, report, folder)
    done = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(folder / "empty")
    assert told
    told.clear()
    environments.make("empty", lock, report, folder)
    assert not told
    lock.write_text("# nothing else\n")
    assert not environments.is_made("empty", lock, folder)
    lock.write_text("no-such-package\n")  # refused without a look at any registry: it has no hash
    with pytest.raises(RacksortError, match="environment of empty can't be made") as error:
        environments.make("empty", lock, report, folder)
    assert "\n" not in str(error.value)
    assert not environments.is_made("empty", lock, folder)
    with pytest.raises(RacksortError, match="can't be read"):
        environments.make("empty", tmp_path / "missing.txt", report, folder)
