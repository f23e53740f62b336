"""Draining nodes on a real control plane: one adapter and one Triton go at a time, and all find another place."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.k8s.control_plane.cluster import COMPONENT, MARKS, WAIT, WAIT_S, Cluster, fewest_ready
from tests.k8s.control_plane.shop import CPU_NODES

pytestmark = MARKS

OPTIONS = ("--ignore-daemonsets", "--delete-emptydir-data", WAIT)


@pytest.fixture
def spread(altered: Cluster) -> Iterator[Cluster]:
    """Pods on three of four nodes before, and all nodes in use afterwards."""
    altered.kubectl("delete", "pods", "--all")
    altered.until(lambda: altered.settled() and len(nodes_of(altered, "adapter")) == 3, "adapters on three nodes")
    yield altered
    altered.kubectl("uncordon", *CPU_NODES)
    altered.until(altered.untainted, "every node open")


def nodes_of(cluster: Cluster, component: str) -> set[str]:
    return {each["spec"].get("nodeName", "") for each in cluster.pods(component)}


def drain_at_once(cluster: Cluster, *nodes: str, only: tuple[str, ...] = ()) -> None:
    """By a kubectl for each node, as several people would."""
    commands = [cluster.command("drain", node, *OPTIONS, *only) for node in nodes]
    running = [subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for each in commands]
    try:
        said = [each.communicate(timeout=2 * WAIT_S)[0].decode() for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert [each.returncode for each in running] == [0] * len(nodes), said


def test_draining_all_nodes_but_one_at_once_takes_one_of_each_at_a_time(spread: Cluster) -> None:
    began = spread.now()
    drain_at_once(spread, *CPU_NODES[:3])
    spread.until(spread.settled, "every Deployment complete")
    assert fewest_ready(spread.since(began), "adapter", "triton") == {"adapter": 2, "triton": 2}
    assert {each["spec"]["nodeName"] for each in spread.pods()} == {CPU_NODES[3]}


def test_without_a_budget_all_would_go(spread: Cluster) -> None:
    """Which shows that it is the budget that held them."""
    spread.kubectl("delete", "pdb", "racksort-adapter")
    spread.kubectl("cordon", *CPU_NODES)  # so that no adapter comes back before all have gone
    began = spread.now()
    drain_at_once(spread, *sorted(nodes_of(spread, "adapter")), only=(f"--pod-selector={COMPONENT}=adapter",))
    spread.kubectl("uncordon", *CPU_NODES)
    spread.until(spread.settled, "every Deployment complete")
    assert fewest_ready(spread.since(began), "adapter", "triton") == {"adapter": 0, "triton": 3}


def test_cordoned_nodes_would_hold_up_a_drain_if_they_counted(spread: Cluster) -> None:
    """Which shows what ``nodeTaintsPolicy: Honor`` is for: no node may have two adapters while another has none."""
    counted = [{"op": "remove", "path": "/spec/template/spec/topologySpreadConstraints/0/nodeTaintsPolicy"}]
    spread.kubectl("patch", "deployment", "racksort-adapter", "--type=json", f"--patch={json.dumps(counted)}")
    spread.kubectl("rollout", "status", "deployment/racksort-adapter", WAIT)
    spread.kubectl("cordon", *CPU_NODES[:3])
    spread.kubectl("delete", "pods", f"--selector={COMPONENT}=adapter")
    spread.until(lambda: len(too_many(spread)) == 2, "two adapters without a place")


def too_many(cluster: Cluster) -> list[str]:
    """Adapters that the scheduler puts nowhere, lest one node has too many."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.pods("adapter")
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "PodScheduled" and "topology spread constraints" in condition.get("message", "")
    ]
