from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble.data.dataset import silent
from ensemble.errors import RacksortError
from ensemble.evaluation.side_by_side import Part, cores, make_all, share
from tests.conftest import REPOSITORY
from tests.unit.evaluation.diary import Diary
from tests.waiting import until

LONG = Part("long", ("a", "b"))
FIRST = tuple(Part("first", (str(number),)) for number in range(3))
SECOND = tuple(Part("second", (str(number),), after="first") for number in range(3))
ALL = (LONG, *FIRST, *SECOND)


def made(folder: Path, *parts: Part, opens: bool = True) -> int:
    return make_all(Diary(folder, opens), parts, 2, silent, lambda _line: None)


def test_every_part_is_made_once_and_none_before_what_it_waits_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, float]] = []
    lines: list[str] = []
    assert make_all(Diary(tmp_path), ALL, 2, lambda *each: told.append(each), lines.append) == 8
    assert {path.name for path in tmp_path.iterdir()} == {f"{part.kind}-{name}" for part in ALL for name in part.names}
    assert sorted(told) == [("first", 0.5), ("long", 0.5), ("second", 0.5)]  # a stage never goes back
    assert sorted(lines) == sorted(map(str, ALL))
    by, _, masked = zip(*(path.read_text().split() for path in tmp_path.iterdir()), strict=True)
    assert len(set(by)) == 2
    assert str(os.getpid()) not in by
    assert set(masked) == {"False"}  # they can be interrupted
    assert capfd.readouterr() == ("", "")  # and end without a word


def test_the_cores_are_shared_among_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(6))
    made(tmp_path, *FIRST)
    assert {path.read_text().split()[1] for path in tmp_path.iterdir()} == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_what_can_not_be_made_ends_all_with_its_own_reason(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match=r"^it can't be made$"):
        made(tmp_path, LONG, Part("refused"))
    with pytest.raises(RacksortError, match=r"^the data isn't there$"):
        made(tmp_path, *FIRST, opens=False)


def test_a_defect_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r'(?s)^broken it has a defect:.*raise TwoPartError\("an", " error"\)'):
        made(tmp_path, Part("broken", ("it",)), LONG)


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ((Part("killed", ("it",)), *FIRST), "while it made killed it"),
        ((FIRST[0], Part("idle")), "while (nothing was asked of it|it made first 0)"),
    ],
)
def test_a_process_that_ends_is_noticed_whatever_it_does(tmp_path: Path, parts: tuple[Part, ...], what: str) -> None:
    with pytest.raises(RacksortError, match=f"^a process of the evaluation ended by SIGKILL {what}: run again"):
        made(tmp_path, *parts)


def test_one_that_can_not_start_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("tests", "ensemble"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(7)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(RacksortError, match=r"^a process of the evaluation ended with status 7"):
        made(tmp_path, *FIRST)


def test_parts_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="these parts wait for each other: a, b"):
        made(tmp_path, Part("a", after="b"), Part("b", after="a"))
    with pytest.raises(ValueError, match="nothing to make"):
        made(tmp_path)


RUN = """
import sys
from pathlib import Path
from ensemble.data.dataset import silent
from ensemble.evaluation.side_by_side import Part, make_all
from tests.unit.evaluation.diary import Diary

if __name__ == "__main__":
    parts = [Part("forever", (name,)) for name in "ab"]
    make_all(Diary(Path(sys.argv[1])), parts, 2, silent, lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGKILL, False)])
def test_nobody_is_left_behind(tmp_path: Path, number: signal.Signals, to_all: bool) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY.parent)}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (os.killpg if to_all else os.kill)(process.pid, number)
        assert process.wait(60) != 0
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    ended = len(list(tmp_path.glob("ended-*")))
    assert ended == (2 if number == signal.SIGINT else 0)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("999", cores()), ("", cores()), ("0", cores()), ("2,1", cores())]
)
def test_a_process_starts_as_many_threads_as_are_its_share(
    text: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert share() == expected


def test_alone_a_process_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert share() == cores()
