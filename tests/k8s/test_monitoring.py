"""Alerts and dashboards: they fire when they should, and ask only for what the processes really tell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from racksort.dev.monitoring import files
from tests.k8s.manifests import ROOT, of_kind, one, render
from tests.k8s.registry import Series, series_of, whole_registry

MONITORING: Final = ROOT / "k8s" / "monitoring"
TRITON: Final = {
    "nv_inference_compute_infer_duration_us",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_pending_request_count",
    "nv_inference_queue_duration_us",
    "nv_inference_request_failure",
    "nv_inference_request_success",
}
"""A real server's, see test_triton_arguments.py."""
WORDS: Final = {
    "sum",
    "avg",
    "max",
    "min",
    "rate",
    "by",
    "or",
    "and",
    "le",
    "vector",
    "absent",
    "increase",
    "delta",
} | {
    "histogram_quantile",
    "avg_over_time",
    "max_over_time",
}


def promtool() -> str:
    """Debian's; the test is skipped where it isn't installed, or fails where REQUIRE_PROMTOOL=1 asks for that."""
    found = shutil.which("promtool")
    if found is None:
        said = "promtool isn't installed: apt-get install prometheus"
        if os.environ.get("REQUIRE_PROMTOOL") == "1":
            pytest.fail(f"REQUIRE_PROMTOOL=1: {said}", pytrace=False)
        pytest.skip(said)
    return found


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Alerts ("alert") or recorded series ("record") by name."""
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def dashboard_queries() -> list[str]:
    panels = json.loads((MONITORING / "dashboards" / "racksort.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def all_queries() -> list[str]:
    return [rule["expr"] for kind in ("alert", "record") for rule in rules(kind).values()] + dashboard_queries()


@pytest.mark.parametrize("command", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts.test.yaml")])
def test_promtool_is_content(command: tuple[str, ...]) -> None:
    done = subprocess.run([promtool(), *command], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    alerts = (MONITORING / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(alerts.replace("ratio_rate5m > 0.05", "ratio_rate5m > 0.7"))
    tests = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())
    tests["tests"] = [case for case in tests["tests"] if case["name"] == "10 % do"]
    (tmp_path / "alerts.test.yaml").write_text(yaml.safe_dump(tests))
    command = [promtool(), "test", "rules", "alerts.test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "RacksortFallback" in done.stdout + done.stderr


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires, stays = set(), set()
    for case in yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]:
        for alert in case.get("alert_rule_test", []):
            (fires if alert["exp_alerts"] else stays).add(alert["alertname"])
    assert fires == set(rules("alert"))
    assert stays == set(rules("alert"))


def test_every_alert_has_a_runbook_and_says_who_is_woken() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for name, rule in rules("alert").items():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor) == ("docs/operations.md", name.lower())
        assert anchor in anchors


async def test_every_degraded_reason_is_explained(tmp_path: Path) -> None:
    async with whole_registry(tmp_path) as registry:
        reasons = series_of(registry)["racksort_degraded_total"]["reason"]
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [reason for reason in reasons if f"| `{reason}` |" not in text] == []


def names_in(query: str) -> Iterator[str]:
    """Series that a query asks for."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", "", query)
    for name in re.findall(r"[a-zA-Z_:][\w:]*", bare):
        if name not in WORDS and not re.fullmatch(r"e\d+", name):
            yield name


def selectors_in(query: str) -> Iterator[tuple[str, str, str, str]]:
    """Series, label, operator, value."""
    for name, inside in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", query):
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            yield name, label, operator, value


def wrong_in(query: str, series: Series) -> list[str]:
    known = series.keys() | TRITON | rules("record").keys()
    found = [f"there is no {name}" for name in names_in(query) if name not in known]
    for name, label, operator, value in selectors_in(query):
        labels = series.get(name)
        if labels is None:
            continue
        if label not in labels:
            found.append(f"{name} has no label {label}")
        elif operator == "=" and value not in labels[label]:
            found.append(f"{name}: {label} is never {value}")
        elif operator == "=~" and not any(re.fullmatch(value, each) for each in labels[label] | {"429", "503"}):
            found.append(f"{name}: {label} is never like {value}")
    return found


async def test_rules_and_dashboards_ask_for_what_there_is(tmp_path: Path) -> None:
    async with whole_registry(tmp_path) as registry:
        series = series_of(registry)
    assert {query: wrong for query in all_queries() if (wrong := wrong_in(query, series))} == {}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(rate(racksort_requests_total[5m]))", "there is no racksort_requests_total"),
        ('racksort_breaker_state{stat="open"}', "racksort_breaker_state has no label stat"),
        ('racksort_breaker_state{state="trial"}', "racksort_breaker_state: state is never trial"),
        (
            'rate(racksort_request_seconds_count{route=~"page.*"}[5m])',
            "racksort_request_seconds_count: route is never like",
        ),
        ("racksort:slow:ratio_rate4h > 1", "there is no racksort:slow:ratio_rate4h"),
    ],
)
async def test_a_query_for_what_there_is_not_is_found(query: str, said: str, tmp_path: Path) -> None:
    async with whole_registry(tmp_path) as registry:
        assert any(line.startswith(said) for line in wrong_in(query, series_of(registry)))


def test_generated_files_are_what_is_generated(tmp_path: Path) -> None:
    assert files.stale(MONITORING) == []
    shutil.copytree(MONITORING, tmp_path, dirs_exist_ok=True)
    (tmp_path / "alerts.yaml").write_text("groups: []\n")
    assert files.stale(tmp_path) == [tmp_path / "prometheus-rule.yaml"]
    assert files.write(tmp_path) == [tmp_path / "prometheus-rule.yaml"]
    assert files.stale(tmp_path) == []


def test_the_operators_rules_are_the_alerts() -> None:
    found = one(render("cpu"), "PrometheusRule", "racksort")["spec"]
    assert found == yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_monitors_find_ports_of_services() -> None:
    objects = render("gpu")
    monitors = list(of_kind(objects, "ServiceMonitor"))
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [each for each in of_kind(objects, "Service") if wanted <= each["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_autoscalers_act_on_what_is_recorded() -> None:
    recorded = rules("record").keys()
    mapped = yaml.safe_load((ROOT / "k8s/components/autoscaling/prometheus-adapter.values.yaml").read_text())
    offered = {
        kind: {rule["name"]["as"]: rule["seriesQuery"].partition("{")[0] for rule in mapped["rules"][kind]}
        for kind in ("custom", "external")
    }
    acted_on = set()
    for scaler in of_kind(render("cpu"), "HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] == "Resource":
                continue
            name = metric[metric["type"].lower()]["metric"]["name"]
            assert offered["custom" if metric["type"] == "Pods" else "external"][name] in recorded
            acted_on.add(name)
    assert acted_on == {name for kind in offered.values() for name in kind}
