"""For each policy, changes to a good overlay that it must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from api.routes import router
from tests.k8s.manifests import Object, container, of_kind, one, pod
from tests.k8s.policies import lifecycle, network, pods, settings

Policy = Callable[[list[Object]], list[str]]
Change = Callable[[list[Object]], object]
Part = Callable[[list[Object]], Any]

_PATHS: Final = {route.path for route in router.routes if hasattr(route, "path")}


def probes_exist(objects: list[Object]) -> list[str]:
    return lifecycle.probes_exist(objects, _PATHS)


def adapter(objects: list[Object]) -> Any:
    return container(objects, "adapter")


def triton(objects: list[Object]) -> Any:
    return container(objects, "triton")


def adapter_pod(objects: list[Object]) -> Any:
    return pod(objects, "adapter").spec


def triton_pod(objects: list[Object]) -> Any:
    return pod(objects, "triton").spec


def deployment(objects: list[Object]) -> Any:
    return one(objects, "Deployment", "racksort-triton")


def policy(name: str) -> Part:
    return lambda objects: one(objects, "NetworkPolicy", name)["spec"]


def put(part: Part, *path: Any, to: Any) -> Change:
    def change(objects: list[Object]) -> None:
        value = part(objects)
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


def without(part: Part, *path: Any) -> Change:
    def change(objects: list[Object]) -> None:
        value = part(objects)
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


def no(kind: str, name: str) -> Change:
    return lambda objects: objects.remove(one(objects, kind, name))


def setting(name: str, value: str) -> Change:
    def change(objects: list[Object]) -> None:
        for each in of_kind(objects, "ConfigMap"):
            if each["metadata"]["name"].startswith("racksort-settings"):
                each["data"][name] = value

    return change


def argument(name: str, value: str) -> Change:
    def change(objects: list[Object]) -> None:
        arguments = triton(objects)["args"]
        (place,) = [place for place, each in enumerate(arguments) if each.startswith(f"--{name}=")]
        arguments[place] = f"--{name}={value}"

    return change


def writable_mounts(objects: list[Object]) -> None:
    for mount in adapter(objects)["volumeMounts"]:
        mount.pop("readOnly", None)


_UPDATE: Final = ("spec", "strategy", "rollingUpdate", "maxUnavailable")
_SPREAD: Final = ("topologySpreadConstraints", 0)
_METRICS_PORTS: Final = ("ingress", 1, "ports")
_HOST_PATH: Final = {"name": "tmp", "hostPath": {"path": "/"}}
_HASTY: Final = {"periodSeconds": 1, "failureThreshold": 1}
_SECRET: Final = {"kind": "Secret", "metadata": {"name": "keys"}}

VIOLATIONS: Final[tuple[tuple[Policy, str, Change], ...]] = (
    (pods.restricted, "hostNetwork", put(triton_pod, "hostNetwork", to=True)),
    (pods.restricted, "sysctls", put(triton_pod, "securityContext", "sysctls", to=[{}])),
    (pods.restricted, "volume tmp", put(adapter_pod, "volumes", 0, to=_HOST_PATH)),
    (pods.restricted, "may gain", without(adapter, "securityContext", "allowPrivilegeEscalation")),
    (pods.restricted, "may gain", put(adapter, "securityContext", "privileged", to=True)),
    (pods.restricted, "as root", put(triton, "securityContext", "runAsUser", to=0)),
    (pods.restricted, "no seccomp", without(triton_pod, "securityContext", "seccompProfile")),
    (pods.restricted, "keeps", put(triton, "securityContext", "capabilities", "add", to=["SYS_ADMIN"])),
    (pods.restricted, "unmasks", put(triton, "securityContext", "procMount", to="Unmasked")),
    (pods.restricted, "port of the host", put(triton, "ports", 0, "hostPort", to=8001)),
    (pods.unwritable, "root file system", without(adapter, "securityContext", "readOnlyRootFilesystem")),
    (pods.unwritable, "/srv/rules", writable_mounts),
    (pods.bounded, "doesn't bound memory", without(adapter, "resources", "limits", "memory")),
    (pods.bounded, "more memory", put(adapter, "resources", "requests", "memory", to="9Gi")),
    (pods.bounded, "memory volumes", put(triton_pod, "volumes", 1, "emptyDir", "sizeLimit", to="2Gi")),
    (pods.bounded, "has no size", put(triton_pod, "volumes", 0, "emptyDir", to={})),
    (pods.shared_memory, "/dev/shm", without(triton_pod, "volumes", 1, "emptyDir", "medium")),
    (pods.shared_memory, "/dev/shm", without(triton, "volumeMounts")),
    (pods.without_token, "no service account", without(triton_pod, "serviceAccountName")),
    (pods.without_token, "mounts a token", without(triton_pod, "automountServiceAccountToken")),
    (pods.pinned, "no version", put(triton, "image", to="registry.example:5000/racksort/triton")),
    (pods.pinned, "no version", put(triton, "image", to="registry.example/racksort/triton:latest")),
    (pods.pinned, "several versions", put(triton, "image", to="registry.example/racksort/triton:0.0.9")),
    (pods.no_service_links, "service links", without(adapter_pod, "enableServiceLinks")),
    (network.denied_by_default, "no policy", no("NetworkPolicy", "default-deny")),
    (network.denied_by_default, "names ways", put(policy("default-deny"), "egress", to=[{}])),
    (network.every_pod_covered, "racksort-triton", no("NetworkPolicy", "triton")),
    (network.every_pod_covered, "'Egress'", put(policy("triton"), "policyTypes", to=["Ingress"])),
    (network.both_ends_agree, "one end only", without(policy("adapter"), "egress", 0)),
    (network.both_ends_agree, "doesn't listen", put(policy("adapter"), "ingress", 0, "ports", 0, "port", to=80)),
    (network.triton_is_asked_by_us_alone, "anybody", without(policy("triton"), "ingress", 0, "from")),
    (network.triton_is_asked_by_us_alone, "monitoring", put(policy("triton"), *_METRICS_PORTS, to=[{"port": 8001}])),
    (network.triton_is_asked_by_us_alone, "anybody", put(policy("triton"), "ingress", to=[{}])),
    (lifecycle.probed, "no startupProbe", without(triton, "startupProbe")),
    (lifecycle.probed, "ended before", put(adapter, "livenessProbe", to=_HASTY)),
    (probes_exist, "there is no /healthz", put(adapter, "livenessProbe", "httpGet", "path", to="/healthz")),
    (probes_exist, "isn't a module", put(triton, "livenessProbe", "exec", "command", 2, to="ensemble.probe")),
    (probes_exist, "asks for release 1", setting("RACKSORT_RELEASE", "2")),
    (probes_exist, "broken off", put(triton, "livenessProbe", "timeoutSeconds", to=1)),
    (lifecycle.ends_in_order, "adapter is killed", setting("RACKSORT_GRACE_MS", "30000")),
    (lifecycle.ends_in_order, "adapter is killed", put(adapter_pod, "terminationGracePeriodSeconds", to=24)),
    (lifecycle.ends_in_order, "stops to listen", setting("RACKSORT_DRAIN_MS", "1000")),
    (lifecycle.ends_in_order, "Triton is killed", put(triton_pod, "terminationGracePeriodSeconds", to=30)),
    (lifecycle.ends_in_order, "still connected", argument("grpc-max-connection-age", "60000")),
    (lifecycle.disrupted_one_by_one, "one by one", no("PodDisruptionBudget", "racksort-triton")),
    (lifecycle.disrupted_one_by_one, "no priority", no("PriorityClass", "racksort-serving")),
    (lifecycle.disrupted_one_by_one, "doesn't spread", without(triton_pod, "topologySpreadConstraints", 0)),
    (lifecycle.disrupted_one_by_one, "may not run", without(adapter_pod, *_SPREAD, "nodeTaintsPolicy")),
    (lifecycle.disrupted_one_by_one, "takes replicas", put(deployment, *_UPDATE, to=1)),
    (lifecycle.scaled_by_one, "would undo", put(deployment, "spec", "replicas", to=3)),
    (settings.accepted, "RACKSORT_TIRTON", setting("RACKSORT_TIRTON", "racksort-triton:8001")),
    (settings.accepted, "isn't host:port", setting("RACKSORT_TRITON", "dns:///racksort-triton")),
    (settings.accepted, "leaves nothing", setting("RACKSORT_GRACE_MS", "5000")),
    (settings.secrets_by_reference, "is among", lambda objects: objects.append(_SECRET)),
    (settings.secrets_by_reference, "written out", setting("RACKSORT_CURSOR_KEYS", "k" * 64)),
    (settings.secrets_by_reference, "written out", setting("RACKSORT_VALKEY_URL", "redis://:password@valkey:6379")),
    (settings.replicas_agree, "cursor keys", put(adapter, "env", to=[])),
    (settings.replicas_agree, "events of its own", setting("RACKSORT_EVENTS", "embedded")),
    (settings.models_cannot_be_changed, "none", argument("model-control-mode", "explicit")),
    (settings.models_cannot_be_changed, "by name", put(triton, "args", 0, to="--load-model=personalize_v1")),
)
