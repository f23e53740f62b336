"""Building the control plane without minutes of it: a stand-in for Go."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from racksort.dev.control_plane import build
from racksort.dev.errors import NotProvisioned

BUILDS = """\
case $1 in
list) echo one; echo two;;
build) echo one >&2; while [ "$1" != -o ]; do shift; done; mkdir -p "$(dirname $2)"; echo '#!/bin/sh\necho "$1"' > $2;;
esac"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The only ``go`` on the path."""
    go = folder / "go"
    go.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the programs' source, which a test may change."""
    copied = shutil.copytree(build.SOURCE, tmp_path / "source")
    monkeypatch.setattr(build, "SOURCE", copied)
    return copied


def test_it_is_built_once_for_each_source(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    stand_in(tmp_path, monkeypatch, BUILDS)
    program = build.provision(lambda _stage, fraction: told.append(fraction), tmp_path / "cache")
    assert subprocess.run([program, "etcd"], capture_output=True, check=True).stdout == b"etcd\n"
    assert told == [0.0, 0.5, 1.0]
    stand_in(tmp_path, monkeypatch, "exit 1")
    assert build.provision(cache=tmp_path / "cache") == program
    (source / "go.mod").write_text((source / "go.mod").read_text() + "// changed\n")
    with pytest.raises(NotProvisioned):
        build.provision(cache=tmp_path / "cache")


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = "echo k8s.io/api >&2; echo 'main.go:3: no such thing' >&2; exit 1"
    stand_in(tmp_path, monkeypatch, f"echo one; [ $1 = list ] || {{ {fails}; }}")
    with pytest.raises(NotProvisioned, match=r"^go build fails in .*programs: .*main\.go:3: no such thing$"):
        build.provision(cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    stand_in(tmp_path, monkeypatch, "echo 'no route to the proxy' >&2; exit 1")
    with pytest.raises(NotProvisioned, match=r"^go list fails in .*: no route to the proxy$"):
        build.provision(cache=tmp_path / "cache")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotProvisioned, match=r"install Go 1\.25"):
        build.provision(cache=tmp_path / "cache")
    stand_in(tmp_path, monkeypatch, BUILDS)
    monkeypatch.setattr(build, "_DISK_BYTES", 1 << 60)
    with pytest.raises(NotProvisioned, match=r"takes up to \d+ GiB, and .* free$"):
        build.provision(cache=tmp_path / "cache")
    (tmp_path / "file").touch()
    with pytest.raises(RacksortError, match=r"set XDG_CACHE_HOME to another folder$"):
        build.provision(cache=tmp_path / "file")


def test_the_version_is_that_of_the_module() -> None:
    assert f"k8s.io/kubernetes v{build.VERSION}\n" in (build.SOURCE / "go.mod").read_text()
