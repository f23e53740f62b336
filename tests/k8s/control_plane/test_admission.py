"""Each overlay on a real API server with Pod Security admission: every pod is let in, and runs where it should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.k8s.control_plane.cluster import MARKS, Cluster
from tests.k8s.control_plane.shop import CPU_NODES, GPU_NODES, REPLICAS, deploy
from tests.k8s.manifests import Object, folder

pytestmark = MARKS


@pytest.fixture(scope="module", params=REPLICAS)
def overlay(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """Deployed, with every pod ready."""
    name: str = request.param
    deploy(cluster, name)
    return name


def test_pods_run_on_the_nodes_that_are_meant_for_them(overlay: str, cluster: Cluster) -> None:
    for component in REPLICAS[overlay]:
        nodes = [each["spec"]["nodeName"] for each in cluster.pods(component)]
        pool = GPU_NODES if (overlay, component) == ("gpu", "triton") else CPU_NODES
        assert set(nodes) <= set(pool)
        assert len(set(nodes)) == len(nodes), "two on one node"
        if len(nodes) > 1:
            zones = {cluster.nodes()[name]["metadata"]["labels"]["topology.kubernetes.io/zone"] for name in nodes}
            assert len(zones) == 2


def test_what_pods_refer_to_is_there(overlay: str, cluster: Cluster) -> None:
    """The API server doesn't look; a kubelet, which isn't here, wouldn't start a pod without it."""
    base = f"/api/v1/namespaces/{cluster.namespace}"
    there = {
        kind: {each["metadata"]["name"]: each for each in cluster.get(f"{base}/{kind}")["items"]}
        for kind in ("configmaps", "secrets", "persistentvolumeclaims", "serviceaccounts")
    }
    for pod in cluster.pods():
        for kind, name, key in _references(pod["spec"]):
            assert name in there[kind], (overlay, pod["metadata"]["name"], kind, name)
            assert key is None or key in there[kind][name]["data"], (overlay, name, key)
    assert all(each["status"]["phase"] == "Bound" for each in there["persistentvolumeclaims"].values())


def test_pods_have_priority_and_no_token(overlay: str, cluster: Cluster) -> None:
    for pod in cluster.pods():
        spec = pod["spec"]
        assert (spec["priorityClassName"], spec["priority"]) == ("racksort-serving", 100_000), overlay
        assert not [each for each in spec["volumes"] if "projected" in each], "a token is mounted"


def test_a_second_apply_changes_nothing(overlay: str, cluster: Cluster) -> None:
    again = cluster.attempt("diff", "-k", str(folder(overlay)))
    assert (again.returncode, again.stdout) == (0, "")


def _references(spec: Object) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and, where one is named, key of what a pod can't do without."""
    yield "serviceaccounts", spec["serviceAccountName"], None
    for volume in spec.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "persistentvolumeclaims", volume["persistentVolumeClaim"]["claimName"], None
        if "configMap" in volume:
            yield "configmaps", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "secrets", volume["secret"]["secretName"], None
            for item in volume["secret"].get("items", []):
                yield "secrets", volume["secret"]["secretName"], item["key"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for source in container.get("envFrom", []):
            yield "configmaps", source["configMapRef"]["name"], None
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                yield "secrets", reference["name"], reference["key"]
