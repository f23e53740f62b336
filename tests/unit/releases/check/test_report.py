from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ensemble.data.dataset import silent
from ensemble.data.weeks import week_start
from ensemble.errors import RacksortError
from ensemble.releases.check import quality
from ensemble.releases.check.finding import Finding, Report, Section, Severity, Verdict
from ensemble.releases.check.options import CHECKS, Options
from ensemble.releases.check.run import check
from ensemble.releases.layout import Release
from ensemble.releases.payload import payload
from racksort.check_report.page import rendered
from racksort.cli import app
from tests.unit.releases.check.made import POOL, candidate, whole

WHEN = datetime(2026, 3, 1, tzinfo=UTC)
BAD_NAME = "<script>alert(1)</script>"


def report(release: Release, **options: Any) -> Report:
    return check(release, None, Options(**options), now=lambda: WHEN)


def test_one_run_shows_the_faults_of_all_checks_that_can_still_run(tmp_path: Path) -> None:
    release = candidate(tmp_path)  # its ONNX files are text
    (release.version_dirs["ranking"] / "settings.json").write_text('{"bias": "much"}')
    (release.repository / "product_pool" / "config.pbtxt").write_text("name: 'x'")
    (release.extras_dir / "golden.npz").write_bytes(b"?")
    (release.repository / BAD_NAME.replace("/", "")).write_text("?")
    found = report(release)
    assert not found.passed
    by_check = {finding.check for finding in found.findings}
    assert by_check == {"files", "configs", "onnx", "ranking", "golden"}
    assert sum(finding.check == "onnx" for finding in found.findings) == 3
    verdicts = {section.name: section.verdict for section in found.sections}
    assert list(verdicts) == list(CHECKS)
    assert verdicts["serving"] is verdicts["quality"] is Verdict.NOT_RUN
    assert found.summary().startswith("personalize_v2 is refused: ")
    assert found.summary().endswith(f"(and {len(found.refusals) - 1} more)")
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["passed"] is False
    page = rendered(found)
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)


def test_a_candidate_with_links_is_not_opened(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    for folder in release.version_dirs.values():
        for path in folder.iterdir():
            moved = path.rename(tmp_path / f"outside-{folder.parent.name}-{path.name}")
            path.symlink_to(moved)
    found = report(release)
    assert {finding.check for finding in found.findings} == {"files"}
    assert found.digest == ""


def test_a_name_that_is_no_utf_8_is_a_fault_like_any_other(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    strange = release.version_dirs["ranking"] / os.fsdecode(b"strange-\xff.py")
    strange.write_text("?")
    found = report(release)
    assert "ranking/2/strange-?.py" in {finding.where for finding in found.refusals if finding.check == "files"}
    rendered(found).encode()
    with pytest.raises(RacksortError, match="can't be printed; remove it") as refused:
        payload(release)
    str(refused.value).encode()


def test_a_page_that_can_not_be_written_is_said_before_the_check(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    for page in ("/proc/nope/page.html", str(tmp_path)):
        result = CliRunner().invoke(app, ["release", "check", str(release.repository), "--no-live", "--html", page])
        assert isinstance(result.exception, RacksortError)
        assert f"{page}: the page can't be written" in str(result.exception)


@pytest.mark.slow
def test_a_truncated_model_of_the_committed_release_is_refused_with_the_file_s_name(tmp_path: Path) -> None:
    release = whole(tmp_path)
    content = POOL.read_bytes()
    (release.version_dirs["product_pool"] / "model.onnx").write_bytes(content[: len(content) // 2])
    (finding,) = report(release).refusals
    assert finding.where == "product_pool/2/model.onnx"
    assert "isn't a whole ONNX file" in finding.what


@pytest.mark.slow
def test_a_release_that_changes_itself_is_found_out(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    code = release.version_dirs["ranking"] / "ranking.py"
    changing = "p = Path(__file__).with_name('settings.json')\np.write_text(p.read_text() + ' ')\n"
    code.write_text(f"{code.read_text()}\n{changing}")
    assert "changed while it was checked" in {finding.what for finding in report(release).refusals}


@pytest.mark.slow
@pytest.mark.e2e
def test_a_tiny_release_is_served_and_its_golden_answers_are_missed(tmp_path: Path) -> None:
    release = whole(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in release.repository.rglob("*")}
    found = report(release, skip=frozenset({"live", "latency", "memory", "quality"}))
    assert {path: path.stat().st_mtime_ns for path in release.repository.rglob("*")} == before
    verdicts = {section.name: section.verdict for section in found.sections}
    assert verdicts["serving"] is Verdict.PASSED
    assert verdicts["golden"] is Verdict.REFUSED
    assert {finding.where for finding in found.refusals} >= {"affinity", "demand", "preference", "personalize_v2"}
    assert found.skipped == ("live", "latency", "memory", "quality")


@pytest.mark.slow
@pytest.mark.e2e
def test_nan_weights_are_refused_and_the_other_checks_still_run(tmp_path: Path) -> None:
    release = whole(tmp_path)
    path = release.version_dirs["product_pool"] / "model.onnx"
    proto = onnx.load(str(path))
    proto.graph.node.insert(2, onnx.helper.make_node("Add", ["blank", "sick"], ["worse"]))
    proto.graph.node[3].input[0] = "worse"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([np.nan]), "sick"))
    onnx.save(proto, str(path))
    found = report(release, skip=frozenset({"live", "latency", "memory", "quality"}))
    assert {finding.check for finding in found.refusals} == {"onnx", "models", "serving", "golden"}


@pytest.mark.slow
@pytest.mark.e2e
def test_what_triton_can_not_load_is_said_in_its_words(tmp_path: Path) -> None:
    release = whole(tmp_path)
    path = release.repository / "product_pool" / "config.pbtxt"
    path.write_text(path.read_text().replace('backend: "onnxruntime"', 'backend: "of_nobody"'))
    found = report(release)
    assert {finding.check for finding in found.refusals} == {"configs", "serving"}
    (said,) = [finding.what for finding in found.refusals if finding.check == "serving"]
    assert "of_nobody" in said


def made(*findings: Finding, sections: tuple[Section, ...] = ()) -> Report:
    return Report("personalize_v2", "var/<b>", None, "0" * 64, "now", {}, Options().to_json(), sections, findings)


def test_warnings_alone_pass_and_what_was_left_out_is_said() -> None:
    warning = Finding("quality", Severity.WARNING, "a", "b", "c")
    skipped = Section("quality", Verdict.SKIPPED, "left out by --skip", 0.0, {})
    passed = made(warning, sections=(skipped,))
    assert passed.passed
    assert passed.summary() == "personalize_v2 passed, without quality"
    assert not made(warning, Finding("files", Severity.REFUSED, "a", "b", "c")).passed
    page = rendered(passed)
    assert "var/&lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.slow  # reads the reference data
def test_a_week_without_data_is_skipped_and_tables_of_another_age_are_a_warning(tmp_path: Path) -> None:
    newer = replace(candidate(tmp_path), history_until_day=week_start(60))
    older = replace(newer, number=1, history_until_day=week_start(59))
    for one, other in ((newer, older), (older, newer)):
        result = quality.check(one, other, ("", ""), Options(), silent)
        assert result.skipped
        assert "no purchases of week 60" in result.figure
        (finding,) = result.findings
        assert finding.severity is Severity.WARNING
        assert finding.where == older.name
        assert "7.0 days before the other's" in finding.what


def test_a_live_release_that_does_not_say_where_its_tables_end_does_not_turn_the_gate_off(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    live = replace(release, number=1, history_until_day=None)
    (finding,) = quality.check(release, live, ("", ""), Options(), silent).findings
    assert (finding.severity, finding.where) == (Severity.REFUSED, "personalize_v1")
    assert "--skip quality" in finding.remedy


def test_a_candidate_whose_tables_end_after_today_is_refused(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    assert release.history_until_day is not None
    before = datetime.fromtimestamp((release.history_until_day - 3) * 86_400, UTC)
    refused = check(release, None, now=lambda: before).refusals
    assert "3 days from now" in next(finding.what for finding in refused if finding.check == "configs")


def test_figures_that_json_does_not_have_become_null() -> None:
    section = Section("models", Verdict.REFUSED, "", 0.0, {"apart": {"order": math.inf}, "list": [math.nan, 1.0]})
    data = json.loads(json.dumps(made(sections=(section,)).to_json(), allow_nan=False))["sections"][0]["data"]
    assert data == {"apart": {"order": None}, "list": [None, 1.0]}


def test_a_missing_version_is_named_by_the_command(tmp_path: Path) -> None:
    release = candidate(tmp_path)
    shutil.rmtree(release.version_dirs["product_pool"])
    result = CliRunner().invoke(app, ["release", "check", str(release.repository)])
    assert isinstance(result.exception, RacksortError)
    assert "product_pool/2: missing" in str(result.exception)


@given(week=st.integers(2, 500), part=st.floats(0, 0.999))
def test_the_evaluated_week_starts_at_or_after_the_tables_end(week: int, part: float) -> None:
    day = week_start(week) + 7 * part
    evaluated = quality.week_after(day)
    assert week_start(evaluated) + quality._SAME_MOMENT >= day
    assert week_start(evaluated - 1) < day


def test_the_committed_release_s_own_end_is_the_start_of_its_week() -> None:
    assert quality.week_after(week_start(47)) == 47
    assert quality.week_after(float(repr(week_start(47)))) == 47
    assert quality.week_after(week_start(47) + 0.5) == 48
