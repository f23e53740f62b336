from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ensemble.runtime import homes


def test_folders_of_the_living_stay_and_those_of_the_dead_go(tmp_path: Path) -> None:
    living = homes.create("racksort-test-", tmp_path)
    dead = homes.create("racksort-test-", tmp_path)
    other = homes.create("racksort-other-", tmp_path)
    unfinished = tmp_path / "racksort-test-unfinished"
    unfinished.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    for folder in (dead, other):
        (folder / "owner").write_text(str(ended.pid))
    homes.sweep("racksort-test-", tmp_path)
    assert living.is_dir()
    assert unfinished.is_dir()
    assert other.is_dir()
    assert not dead.exists()


def test_shared_memory_goes_with_its_folder_alone(tmp_path: Path) -> None:
    home, other = (homes.create("racksort-test-", tmp_path) for _ in range(2))
    mine, theirs = (Path("/dev/shm") / f"{homes.shared_memory_prefix(folder)}1" for folder in (home, other))
    try:
        mine.touch()
        theirs.touch()
        homes.remove(home)
        assert not home.exists()
        assert not mine.exists()
        assert theirs.exists()
    finally:
        homes.remove(other)
    assert not theirs.exists()
