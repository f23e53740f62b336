"""The adapter serves with the packages of its image alone: no Triton's wheel, no ONNX Runtime, no reference data."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from ensemble.runtime import processes
from tests.k8s.manifests import ROOT
from tests.waiting import until

START_S = 60.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.k8s.adapter_only", *arguments]


@pytest.mark.parametrize("verb", ["serve", "probe", "precompute", "prepare"])
def test_commands_start(verb: str) -> None:
    done = subprocess.run(command(verb, "--help"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_lock_lacks_is_hidden() -> None:
    script = "from tests.k8s.adapter_only import hide_other_packages as hide; hide(); import numpy, polars, onnxruntime"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "No module named 'onnxruntime'" in done.stderr


@pytest.mark.slow
def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        command("serve", "--port", "0", "--catalog", str(tmp_path / "catalog")),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.e2e
@pytest.mark.slow
def test_it_serves_full_answers(triton_address: str, catalog_dir: Path) -> None:
    port = processes.claim_port(0, "the adapter")
    server = subprocess.Popen(
        command("serve", "--triton", triton_address, "--catalog", str(catalog_dir), "--port", str(port)),
        cwd=ROOT, env=os.environ | {"RACKSORT_DRAIN_MS": "0"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        page = ask(f"http://127.0.0.1:{port}/v1/containers/deals/products?customer_id=1&limit=5", server)
        assert page["source"] == "ensemble"
        assert len(page["product_ids"]) == 5
    finally:
        server.terminate()
        try:
            assert server.wait(20) == 0
        finally:
            server.kill()
            server.communicate()


def ask(url: str, server: subprocess.Popen[str]) -> dict[str, object]:
    """A full answer as soon as there is one."""

    def page() -> dict[str, object]:
        assert server.poll() is None, server.communicate()
        with urlopen(url, timeout=30) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    return until(page, lambda found: found["source"] == "ensemble", within_s=START_S, every_s=0.1, not_yet=OSError)


@pytest.mark.e2e
@pytest.mark.slow
def test_the_images_installation_works_and_ranks(triton_address: str, tmp_path: Path) -> None:
    """The steps of the adapter's Dockerfile, into an environment of their own, from a copy of what it copies."""
    text = (ROOT / "k8s/images/adapter/Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, target = line.replace("${LOCK}", "adapter").split()
        for source in sources:
            copy = tmp_path / target / ("" if (ROOT / source).is_dir() else Path(source).name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, copy)
    steps = [line.partition("uv pip install")[2] for line in text.splitlines() if "uv pip install" in line]
    assert len(steps) == 2
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    uv = Path(sys.executable).parent / "uv"
    for step in steps:
        words = shlex.split(step.replace("/opt/racksort", "venv").replace("${LOCK}", "adapter"))
        cached = [
            word for word in words if word not in {"--no-cache", "--compile-bytecode"}
        ]  # faster, with the same outcome
        subprocess.run([uv, "pip", "install", "--quiet", *cached], cwd=tmp_path, check=True)
    command = [tmp_path / "venv/bin/racksort", "probe", triton_address, "--timeout-ms", "5000"]
    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
