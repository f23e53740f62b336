"""Every rendered overlay keeps to every policy; and each policy finds an overlay that doesn't."""

from __future__ import annotations

from typing import Final

import pytest

from tests.k8s.manifests import OVERLAYS, container, folder, of_kind, one, pod, pods, render
from tests.k8s.policies import lifecycle, network, settings
from tests.k8s.policies import pods as of_pods
from tests.k8s.violations import VIOLATIONS, Change, Policy, probes_exist

POLICIES: Final[tuple[Policy, ...]] = (
    of_pods.restricted,
    of_pods.unwritable,
    of_pods.bounded,
    of_pods.shared_memory,
    of_pods.without_token,
    of_pods.pinned,
    of_pods.no_service_links,
    network.denied_by_default,
    network.every_pod_covered,
    network.both_ends_agree,
    network.triton_is_asked_by_us_alone,
    lifecycle.probed,
    probes_exist,
    lifecycle.ends_in_order,
    lifecycle.disrupted_one_by_one,
    lifecycle.scaled_by_one,
    settings.accepted,
    settings.secrets_by_reference,
    settings.models_cannot_be_changed,
)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_to_the_policy(overlay: str, policy: Policy) -> None:
    assert policy(render(overlay)) == []


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "everything"])
def test_replicas_agree(overlay: str) -> None:
    assert settings.replicas_agree(render(overlay)) == []


@pytest.mark.parametrize(("policy", "said", "change"), VIOLATIONS, ids=[f"{p.__name__}: {s}" for p, s, _ in VIOLATIONS])
def test_a_policy_finds_what_breaks_it(policy: Policy, said: str, change: Change) -> None:
    objects = render("cpu")
    change(objects)
    assert any(said in line for line in policy(objects)), policy(objects)


def test_every_policy_has_a_counter_example() -> None:
    assert {policy for policy, _, _ in VIOLATIONS} == {*POLICIES, settings.replicas_agree}


def test_every_overlay_and_component_is_rendered() -> None:
    k8s = folder("cpu").parent.parent
    assert {path.name for path in (k8s / "overlays").iterdir()} == set(OVERLAYS) - {"everything"}
    used = [folder(overlay).joinpath("kustomization.yaml").read_text() for overlay in OVERLAYS]
    components = [path.name for path in (k8s / "components").iterdir()]
    assert [name for name in components if not any(f"components/{name}\n" in text for text in used)] == []


def test_gpu_pods_need_a_gpu_and_cpu_pods_avoid_its_nodes() -> None:
    spec, server = pod(render("gpu"), "triton").spec, container(render("gpu"), "triton")
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert "--model-config-name=gpu" in server["args"]
    assert {"name": "NVIDIA_TF32_OVERRIDE", "value": "0"} in server["env"]  # GPU and CPU nodes say the same
    assert "DoesNotExist" in str(pod(render("cpu"), "triton").spec["affinity"])


WITHIN: Final = {("adapter", "triton", 8001), ("precompute", "triton", 8001)}
INWARD: Final = WITHIN | {
    ("racksort.io/client=true", "adapter", 8080),
    ("racksort.io/monitoring=true", "adapter", 8080),
    ("racksort.io/monitoring=true", "triton", 8002),
}
DNS: Final = "kubernetes.io/metadata.name=kube-system"
OUTWARD: Final = WITHIN | {
    *((component, DNS, 53) for component in ("adapter", "precompute")),
    *((component, "racksort.io/elasticsearch=true", 9200) for component in ("adapter", "precompute")),
}


def test_the_network_has_these_ways_and_no_others() -> None:
    """Triton asks nobody."""
    objects = render("cpu")
    assert network.ways(objects, "Ingress") == INWARD
    assert network.ways(objects, "Egress") == OUTWARD


def test_components_add_these_ways_and_no_others() -> None:
    objects = render("everything")
    valkey = {("adapter", "valkey", 6379)}
    elsewhere = {("adapter", "racksort.io/valkey=true", 6379)}
    traces = {(component, "racksort.io/collector=true", 4318) for component in ("adapter", "triton")}
    elasticsearch = {
        *((caller, "elasticsearch", 9200) for caller in ("adapter", "precompute", "elasticsearch")),
        ("elasticsearch", "elasticsearch", 9300),
    }
    operator = ("kubernetes.io/metadata.name=elastic-system", "elasticsearch", 9200)
    names = {(caller, DNS, 53) for caller in ("triton", "elasticsearch")}
    assert network.ways(objects, "Ingress") == INWARD | valkey | elasticsearch | {operator}
    assert network.ways(objects, "Egress") == OUTWARD | valkey | elsewhere | elasticsearch | traces | names


def test_services_lead_to_ports_that_are_open() -> None:
    objects = render("everything")
    for service in of_kind(objects, "Service"):
        (target,) = [each for each in pods(objects) if service["spec"]["selector"].items() <= each.labels.items()]
        names = {port["name"] for each in target.containers for port in each.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    assert one(objects, "Service", "racksort-triton")["spec"]["clusterIP"] == "None"
