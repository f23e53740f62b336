"""Rolling updates on a real control plane: as many as are needed stay ready, and what was wrong is taken back."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import yaml

from tests.k8s.control_plane.cluster import MARKS, WAIT, Cluster, fewest_ready
from tests.k8s.control_plane.shop import apply, image
from tests.k8s.manifests import ROOT

pytestmark = MARKS

NEEDED = {"adapter": 3, "triton": 3}
WORKLOADS = tuple(f"racksort-{component}" for component in NEEDED)


def test_a_rolling_update_keeps_all_replicas(altered: Cluster) -> None:
    before = {each["metadata"]["uid"] for each in altered.pods()}
    began = altered.now()
    for workload in WORKLOADS:
        altered.kubectl("rollout", "restart", f"deployment/{workload}")
    for workload in WORKLOADS:
        altered.kubectl("rollout", "status", f"deployment/{workload}", WAIT)
    assert fewest_ready(altered.since(began), *NEEDED) == NEEDED
    assert not before & {each["metadata"]["uid"] for each in altered.pods()}


def test_the_measure_sees_replicas_that_are_missing(altered: Cluster) -> None:
    """The same update, by a Deployment that may stop two at once."""
    hasty = {"spec": {"minReadySeconds": 0, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}}}}
    altered.kubectl("patch", "deployment", "racksort-adapter", f"--patch={json.dumps(hasty)}")
    began = altered.now()
    altered.kubectl("rollout", "restart", "deployment/racksort-adapter")
    altered.kubectl("rollout", "status", "deployment/racksort-adapter", WAIT)
    assert fewest_ready(altered.since(began), "adapter") == {"adapter": 1}


def test_an_image_that_cannot_be_had_stops_at_its_first_pod_and_is_taken_back(altered: Cluster) -> None:
    good = altered.workload("racksort-triton")["spec"]["template"]
    began = altered.now()
    altered.kubectl("set", "image", "deployment/racksort-triton", image("cpu", "triton", "0.2.0-missing"))
    altered.until(lambda: _waiting(altered), "a pod without its image")
    assert altered.attempt("rollout", "status", "deployment/racksort-triton", "--timeout=5s").returncode != 0
    assert len(_waiting(altered)) == 1
    assert len(altered.pods("triton")) == 4
    altered.kubectl("rollout", "undo", "deployment/racksort-triton")
    altered.kubectl("rollout", "status", "deployment/racksort-triton", WAIT)
    altered.until(altered.settled, "every Deployment complete")
    assert altered.workload("racksort-triton")["spec"]["template"] == good
    assert fewest_ready(altered.since(began), "triton") == {"triton": 3}


def test_what_was_deleted_comes_back_by_applying(altered: Cluster) -> None:
    before = {name: altered.workload(name)["spec"]["template"]["spec"] for name in WORKLOADS}
    (settings,) = [source["configMapRef"]["name"] for source in before["racksort-adapter"]["containers"][0]["envFrom"]]
    began = altered.now()
    altered.kubectl("delete", "configmap", settings)
    altered.kubectl("delete", "deployment", "racksort-adapter")
    altered.until(lambda: not altered.pods("adapter"), "no adapter")
    apply(altered)
    altered.until(lambda: len(altered.pods("adapter")) == 3, "three adapters")
    altered.until(altered.settled, "every Deployment complete")
    assert (
        altered.get(f"/api/v1/namespaces/{altered.namespace}/configmaps/{settings}")["data"]["RACKSORT_PORT"] == "8080"
    )
    assert {name: altered.workload(name)["spec"]["template"]["spec"] for name in WORKLOADS} == before
    assert fewest_ready(altered.since(began), "adapter", "triton") == {"adapter": 0, "triton": 3}


def test_images_by_digest_roll_out_and_back(altered: Cluster, tmp_path: Path) -> None:
    before = _images(altered)
    digests = {component: f"sha256:{number:064x}" for number, component in enumerate(NEEDED, start=1)}
    began = altered.now()
    altered.kubectl("apply", "-k", str(_own_overlay(tmp_path, digests)))
    for workload in WORKLOADS:
        altered.kubectl("rollout", "status", f"deployment/{workload}", WAIT)
    assert _images(altered) == {
        component: f"registry.shop.example/racksort/{component}@{digest}" for component, digest in digests.items()
    }
    for workload in WORKLOADS:
        altered.kubectl("rollout", "undo", f"deployment/{workload}")
        altered.kubectl("rollout", "status", f"deployment/{workload}", WAIT)
    altered.until(altered.settled, "every Deployment complete")
    assert _images(altered) == before
    assert fewest_ready(altered.since(began), *NEEDED) == NEEDED


def _own_overlay(folder: Path, digests: dict[str, str]) -> Path:
    """The overlay of docs/kubernetes.md, without the component that it adds, of this tree instead of your copy."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (shown,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", text, re.DOTALL)
    overlay = yaml.safe_load(shown)
    del overlay["components"]
    (resource,) = overlay["resources"]
    overlay["resources"] = [os.path.relpath(ROOT / resource.removeprefix("github.com/your/racksort/"), folder)]
    for each in overlay["images"]:
        each["digest"] = digests[each["newName"].rpartition("/")[2]]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder


def _images(cluster: Cluster) -> dict[str, str]:
    """Of each component's own container."""
    return {
        component: container["image"]
        for component in NEEDED
        for container in cluster.workload(f"racksort-{component}")["spec"]["template"]["spec"]["containers"]
        if container["name"] == component
    }


def _waiting(cluster: Cluster) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in cluster.pods("triton")
        for container in pod["status"].get("containerStatuses", [])
        if container["state"].get("waiting", {}).get("reason") == "ImagePullBackOff"
    ]
