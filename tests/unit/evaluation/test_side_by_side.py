from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from ensemble.data.dataset import Progress
from ensemble.errors import RacksortError
from ensemble.evaluation.side_by_side import Part, make_all
from tests.waiting import until

ROUNDS = (
    Part("long", ("a", "b")),
    *(Part("first", (str(number),)) for number in range(3)),
    *(Part("second", (str(number),), after="first") for number in range(3)),
)


@dataclass(frozen=True)
class Diary:
    """A run that writes down in a folder what it makes, in files named by their turn."""

    folder: Path
    breaks: str = ""
    """Kind of the part that fails; ``killed`` ends the process."""

    def __call__(self, progress: Progress) -> Written:
        return Written(self, progress)


@dataclass(frozen=True)
class Written:
    diary: Diary
    progress: Progress

    def make(self, part: Part) -> None:
        folder = self.diary.folder
        if part.kind == "long":  # until another process has done the rest: it does with one process less
            until(lambda: len(list(folder.glob("second-*"))) == 3)
        if part.kind == self.diary.breaks:
            raise RacksortError(f"{part.kind} {part.names[0]} can't be made")
        if part.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if part.kind == "second":
            assert len(list(folder.glob("first-*"))) == 3
        for name in part.names:
            (folder / f"{part.kind}-{name}").write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")
        self.progress(part.kind, 1.0)


def test_every_part_is_made_once_and_none_before_what_it_waits_for(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    make_all(Diary(tmp_path), ROUNDS, 2, lambda *each: told.append(each))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{part.kind}-{name}" for part in ROUNDS for name in part.names
    }
    assert sorted(told) == sorted((part.kind, 1.0) for part in ROUNDS)
    texts = {path.read_text() for path in tmp_path.iterdir()}
    assert len({text.split()[0] for text in texts}) == 2
    assert str(os.getpid()) not in {text.split()[0] for text in texts}


def test_the_cores_are_shared_among_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    make_all(Diary(tmp_path), ROUNDS[1:], 2, lambda *_: None)
    assert {path.read_text().split()[1] for path in tmp_path.iterdir()} == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_what_can_not_be_made_ends_all_with_its_own_reason(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match=r"^first 0 can't be made$"):
        make_all(Diary(tmp_path, breaks="first"), ROUNDS, 2, lambda *_: None)


def test_a_process_that_ends_is_named_by_what_it_made(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match=r"^the process that made killed it ended, as it does where"):
        make_all(Diary(tmp_path), [Part("killed", ("it",)), *ROUNDS[1:3]], 2, lambda *_: None)
