from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.releases.check import ranking_code
from ensemble.releases.check.finding import Finding, Severity
from ensemble.releases.check.isolated import StoppedError, Tell, isolated
from ensemble.releases.check.options import Options
from ensemble.releases.layout import Release
from tests.unit.releases.check.made import candidate


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return candidate(tmp_path)


def test_the_committed_code_loads_and_leaves_nothing_behind(release: Release) -> None:
    before = sorted(release.repository.rglob("*"))
    result = ranking_code.check(release, Options())
    assert result.findings == ()
    assert 0 < result.data["settings"]["category_discount"] <= 1
    assert sorted(release.repository.rglob("*")) == before


def broken(release: Release, name: str, text: str, code_s: float = 30.0) -> Finding:
    (release.version_dirs["ranking"] / name).write_text(text)
    (finding,) = ranking_code.check(release, Options(code_s=code_s)).findings
    assert finding.severity is Severity.UNSERVABLE
    assert finding.where.startswith("ranking/2")
    assert finding.remedy
    return finding


ENOUGH = Options().process_bytes
INITIALIZE = "class TritonPythonModel:\n    def initialize(self, args):\n        "


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("model.py", "def (:\n", "isn't Python: invalid syntax (line 1)"),
        ("ranking.py", "x = (\n", "isn't Python: '(' was never closed (line 1)"),
        ("ranking.py", "x = '\0'\n", "isn't Python"),
        ("ranking.py", "import numpy\n1 / 0\n", "ZeroDivisionError"),
        ("ranking.py", "pass\n", "AttributeError"),
        ("model.py", "import of_nobody\n", "ModuleNotFoundError: No module named 'of_nobody'"),
        ("model.py", "pass\n", "no attribute 'TritonPythonModel'"),
        ("model.py", f"{INITIALIZE}raise ValueError('no tables')\n", "ValueError: no tables"),
        ("model.py", "raise SystemExit(3)\n", "SystemExit: 3"),
        ("settings.json", "{", "not valid JSON"),
        ("settings.json", "[]", "not a JSON object"),
        ("settings.json", '{"category_discount": 1.5}', "category_discount is 1.5"),
        ("settings.json", '{"preference": NaN}', "preference is nan"),
        ("settings.json", '{"colour": 1}', "unknown field 'colour'"),
    ],
)
def test_each_fault_names_the_file_and_the_reason(name: str, text: str, said: str, release: Release) -> None:
    finding = broken(release, name, text)
    assert finding.where == f"ranking/2/{name}"
    assert said in finding.what
    assert "\n" not in finding.line


def test_settings_are_judged_by_the_release_s_own_code(release: Release) -> None:
    code = release.version_dirs["ranking"] / "ranking.py"
    code.write_text(code.read_text().replace("0.0 < self.category_discount <= 1.0", "self.category_discount == 0.125"))
    assert "category_discount is 0.9" in broken(release, "settings.json", '{"category_discount": 0.9}').what
    (release.version_dirs["ranking"] / "settings.json").write_text('{"category_discount": 0.125}')
    assert ranking_code.check(release, Options()).findings == ()


@pytest.mark.slow
def test_code_that_never_ends_is_given_up_and_what_it_was_at_is_named(release: Release) -> None:
    finding = broken(release, "model.py", f"{INITIALIZE}import time\n        time.sleep(1e6)\n", code_s=20.0)
    assert "didn't end within 20 s (model.py, initialize)" in finding.what


def test_code_that_ends_its_process_is_named(release: Release) -> None:
    assert "killed by SIGABRT (ranking.py)" in broken(release, "ranking.py", "import os\nos.abort()\n").what
    assert "status 7 (ranking.py)" in broken(release, "ranking.py", "import os\nos._exit(7)\n").what


def leave_a_child(tell: Tell, path: Path) -> None:
    import subprocess
    import sys
    import time

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path.write_text(str(child.pid))
    tell("waiting")
    time.sleep(600)


@pytest.mark.slow
def test_what_an_isolated_function_started_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pytest.raises(StoppedError, match="waiting"):
        isolated(leave_a_child, path, timeout_s=20.0, most_bytes=ENOUGH)
    state = Path(f"/proc/{path.read_text()}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] in {"Z", "X"}


def test_code_that_takes_all_memory_is_named_and_takes_none(release: Release) -> None:
    (release.version_dirs["ranking"] / "ranking.py").write_text("tables = bytearray(4_000_000_000)\n")
    (finding,) = ranking_code.check(release, Options(model_mb=1.0)).findings
    assert finding.where == "ranking/2/ranking.py"
    assert "MemoryError" in finding.what


def answer_an_object(tell: Tell) -> object:
    tell("making it")
    return object()


def test_only_json_comes_back() -> None:
    with pytest.raises(StoppedError, match="making it"):
        isolated(answer_an_object, timeout_s=30.0, most_bytes=ENOUGH)
