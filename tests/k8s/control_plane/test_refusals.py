"""What the API server must not let in, and what it must let run: so that the other tests could fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.k8s.control_plane.cluster import COMPONENT, MARKS, WAIT, Cluster
from tests.k8s.control_plane.shop import CPU_NODES

pytestmark = MARKS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostNetwork": True}, "hostNetwork=true"),
        ({"hostPID": True}, "hostPID=true"),
        ({"securityContext": {}}, "runAsNonRoot != true"),
        ({"serviceAccountName": "nobody"}, "serviceaccount"),
        ({"priorityClassName": "highest"}, "no PriorityClass"),
    ],
)
def test_a_pod_that_is_not_as_it_should_be_is_refused(cpu: Cluster, change: dict[str, Any], said: str) -> None:
    good = cpu.pods("adapter")[0]
    wanted = ("serviceAccountName", "securityContext", "containers", "volumes", "automountServiceAccountToken")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "planted", "labels": {COMPONENT: "planted"}},
        "spec": {key: good["spec"][key] for key in wanted},
    }
    assert cpu.attempt("create", "--dry-run=server", "-f", "-", given=pod).returncode == 0
    pod["spec"] |= change
    refused = cpu.attempt("create", "-f", "-", given=pod)
    assert refused.returncode == 1
    assert said in refused.stderr


def test_a_workload_with_such_pods_is_warned_of(cpu: Cluster) -> None:
    warned = cpu.attempt("create", "deployment", "planted", "--image=registry.example/planted:1", "--dry-run=server")
    assert "would violate PodSecurity" in warned.stderr


def test_the_precompute_job_runs_and_gives_way(altered: Cluster) -> None:
    altered.kubectl("create", "job", "--from=cronjob/racksort-precompute", "first")
    altered.kubectl("wait", "--for=condition=Complete", "job/first", WAIT)
    (pod,) = altered.pods("precompute")
    assert pod["spec"]["priority"] == 1_000
    assert pod["spec"]["preemptionPolicy"] == "Never"
    assert pod["spec"]["nodeName"] in CPU_NODES
    altered.kubectl("delete", "job", "first")
