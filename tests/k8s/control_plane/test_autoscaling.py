"""The autoscalers, run by the real controller on metrics that the test injects through the real metrics APIs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s.control_plane.cluster import MARKS, Cluster
from tests.k8s.control_plane.metrics import InjectedMetrics, Values
from tests.k8s.manifests import folder

pytestmark = MARKS

QUIET = Values(
    cpu="500m",
    pods={"racksort_triton_rows_per_second": "1000", "racksort_triton_queue_seconds": "1m"},
    external={"racksort_adapters_limited_share": "200m"},
)


HASTY = {"type": "Pods", "value": 12, "periodSeconds": 1}


def quiet() -> Values:
    return Values(QUIET.cpu, dict(QUIET.pods), dict(QUIET.external))


@pytest.fixture(scope="module")
def metrics(cluster: Cluster) -> Iterator[InjectedMetrics]:
    with InjectedMetrics(cluster) as server:
        server.values = quiet()
        yield server


@pytest.fixture(autouse=True)
def three_of_each(cpu: Cluster, metrics: InjectedMetrics) -> Iterator[None]:
    """Before and after: what one test has scaled up goes in the next one's time, without the window of ten minutes."""
    yield
    metrics.values = quiet()
    before = {name: autoscaler(cpu, name)["spec"]["behavior"] for name in ("adapter", "triton")}
    for name in before:
        behave(cpu, name, {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [HASTY]}})
    cpu.until(lambda: all(replicas(cpu, name) == 3 for name in before), "back to three")
    for name, behavior in before.items():
        behave(cpu, name, behavior)


def behave(cluster: Cluster, name: str, behavior: object) -> None:
    patch = json.dumps({"spec": {"behavior": behavior}})
    cluster.kubectl("patch", "hpa", f"racksort-{name}", f"--patch={patch}", "--type=merge")


def autoscaler(cluster: Cluster, name: str) -> Any:
    path = f"/apis/autoscaling/v2/namespaces/{cluster.namespace}/horizontalpodautoscalers/racksort-{name}"
    return cluster.get(path)


def replicas(cluster: Cluster, name: str) -> int:
    wanted: int = cluster.workload(f"racksort-{name}")["spec"]["replicas"]
    return wanted


def found(cluster: Cluster, name: str) -> list[str]:
    """Types of the metrics that have a value; one that has none is listed without a type."""
    return [each["type"] for each in autoscaler(cluster, name)["status"].get("currentMetrics") or []]


def conditions(cluster: Cluster, name: str) -> dict[str, Any]:
    return {each["type"]: each for each in autoscaler(cluster, name)["status"].get("conditions", [])}


def acts(cluster: Cluster, name: str) -> bool:
    told = conditions(cluster, name)
    return told.get("ScalingActive", {}).get("status") == told.get("AbleToScale", {}).get("status") == "True"


@pytest.mark.parametrize("name", ["adapter", "triton"])
def test_all_metrics_are_found(cpu: Cluster, name: str) -> None:
    cpu.until(lambda: acts(cpu, name), "an autoscaler that acts")
    wanted = [each["type"] for each in autoscaler(cpu, name)["spec"]["metrics"]]
    cpu.until(lambda: found(cpu, name) == wanted, "a value of every metric")
    assert replicas(cpu, name) == 3


def test_more_rows_are_more_tritons_twice_as_many_at_most(cpu: Cluster, metrics: InjectedMetrics) -> None:
    metrics.values.pods["racksort_triton_rows_per_second"] = "20000"  # for more than 24
    cpu.until(lambda: replicas(cpu, "triton") > 3, "more Tritons")
    metrics.values = quiet()  # before the next 30 s, in which there may be twice as many again
    assert replicas(cpu, "triton") == 6
    assert replicas(cpu, "adapter") == 3
    cpu.until(lambda: len(cpu.pods("triton")) >= 6, "six pods")
    cpu.until(cpu.settled, "every Deployment complete")
    cpu.until(
        lambda: conditions(cpu, "triton")["AbleToScale"]["reason"] == "ScaleDownStabilized",
        "fewer are wanted, but not yet",
    )
    assert replicas(cpu, "triton") == 6


@pytest.mark.parametrize(
    ("metric", "value"), [("racksort_adapters_limited_share", "930m"), ("racksort_triton_queue_seconds", "13m")]
)
def test_the_alarms_add_tritons(cpu: Cluster, metrics: InjectedMetrics, metric: str, value: str) -> None:
    (metrics.values.external if metric in metrics.values.external else metrics.values.pods)[metric] = value
    cpu.until(lambda: replicas(cpu, "triton") >= 4, "more Tritons")
    assert replicas(cpu, "adapter") == 3


def test_cpu_adds_adapters_and_an_apply_leaves_them(cpu: Cluster, metrics: InjectedMetrics) -> None:
    metrics.values.cpu = "1200m"
    cpu.until(lambda: replicas(cpu, "adapter") == 6, "six adapters")
    metrics.values = quiet()
    cpu.until(cpu.settled, "a place for every adapter on four nodes")
    cpu.kubectl("apply", "-k", str(folder("cpu")))
    assert replicas(cpu, "adapter") == 6


def test_without_metrics_nothing_changes(cpu: Cluster, metrics: InjectedMetrics) -> None:
    metrics.values = Values(cpu=QUIET.cpu)
    cpu.until(lambda: not acts(cpu, "triton"), "an autoscaler that says so")
    assert replicas(cpu, "triton") == 3
