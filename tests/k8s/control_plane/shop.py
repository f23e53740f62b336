"""What a cluster has before racksort comes: nodes of two pools, storage, and the kinds that operators bring."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from tests.k8s.control_plane.cluster import COMPONENT, WAIT, Cluster, ready
from tests.k8s.manifests import Object, folder, of_kind, one, render

CPU_NODES: Final = tuple(f"cpu-{number}" for number in range(4))
GPU_NODES: Final = tuple(f"gpu-{number}" for number in range(4))
GPU: Final = "nvidia.com/gpu"
REPLICAS: Final = {
    "dev": {"adapter": 1, "triton": 1},
    "cpu": {"adapter": 3, "triton": 3},
    "gpu": {"adapter": 3, "triton": 3},
    "everything": {"adapter": 3, "triton": 3, "valkey": 1},
}
"""Of each overlay. Where autoscalers own the number, a Deployment begins with one pod, and they make it three."""
_ZONES: Final = ("a", "b")
_VOLUMES: Final = 5
_OPERATORS_KINDS: Final = (
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("elasticsearch.k8s.elastic.co", "v1", "Elasticsearch", "elasticsearches"),
)
SECRETS: Final = {
    "racksort-cursor-keys": {"keys": "0" * 64},
    "racksort-elasticsearch": {"api-key": "key"},
    "racksort-valkey": {"users.acl": "user default off", "url": "redis://racksort:password@racksort-valkey:6379"},
    "racksort-triton-tls": {"ca.crt": "", "tls.crt": "", "tls.key": ""},
    "racksort-adapter-tls": {"ca.crt": "", "tls.crt": "", "tls.key": ""},
    "racksort-es-http-certs-public": {"ca.crt": ""},
}
"""Made by people, by cert-manager and by the operator of Elasticsearch."""


def furnish(cluster: Cluster) -> None:
    """Make all of it, once."""
    kinds = [_kind(*each) for each in _OPERATORS_KINDS]
    cluster.kubectl("create", "-f", "-", given=[*kinds, *(_node(name) for name in CPU_NODES + GPU_NODES)])
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", WAIT)
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", WAIT)
    cluster.until(cluster.untainted, "every node open")


def deploy(cluster: Cluster, overlay: str) -> None:
    """Have an overlay, and no other, in the cluster, with every pod ready."""
    if cluster.overlay == overlay:
        return
    if cluster.overlay:
        _remove(cluster)
    _apply_first(cluster, overlay)
    cluster.overlay = overlay
    wanted = REPLICAS[overlay]
    cluster.until(lambda: _counted(cluster) == wanted, f"every pod of {overlay} ready")
    cluster.until(cluster.settled, "every Deployment complete")


def apply(cluster: Cluster) -> None:
    """The overlay as it is in the folder, again, until all of it is rolled out."""
    cluster.kubectl("apply", "-k", str(folder(cluster.overlay)))
    for component in ("adapter", "triton"):
        cluster.kubectl("rollout", "status", f"deployment/racksort-{component}", WAIT)
    cluster.until(cluster.settled, "every Deployment complete")


def _apply_first(cluster: Cluster, overlay: str) -> None:
    """What operations.md says, from the namespace to the applied overlay; without a warning."""
    (namespace,) = of_kind(render(overlay), "Namespace")
    cluster.namespace = namespace["metadata"]["name"]
    cluster.kubectl("apply", "-f", "-", given=namespace)
    secrets = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        for name, values in SECRETS.items()
    ]
    cluster.kubectl("create", "-f", "-", given=[*secrets, *(_volume(number) for number in range(_VOLUMES))])
    cluster.kubectl("apply", "-k", str(folder(overlay)))


def _remove(cluster: Cluster) -> None:
    """The namespace with all that is in it. Workloads go first: a namespace would wait for its pods' grace."""
    cluster.kubectl("delete", "hpa,deployments,statefulsets,cronjobs,jobs", "--all", "--cascade=foreground")
    cluster.kubectl("delete", "namespace", cluster.leave(), WAIT)
    cluster.kubectl("delete", "pv", "--all", WAIT)


def _counted(cluster: Cluster) -> dict[str, int]:
    return dict(Counter(each["metadata"]["labels"][COMPONENT] for each in cluster.pods() if ready(each)))


def image(overlay: str, component: str, tag: str) -> str:
    """The image that an overlay gives to a component, with another tag."""
    containers = one(render(overlay), "Deployment", f"racksort-{component}")["spec"]["template"]["spec"]["containers"]
    name: str = containers[0]["image"].rpartition(":")[0]
    return f"{component}={name}:{tag}"


def _node(name: str) -> Object:
    """As managed clusters and NVIDIA's operator label and taint them."""
    gpu = name in GPU_NODES
    zone = _ZONES[int(name.rpartition("-")[2]) % len(_ZONES)]
    room: dict[str, Any] = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone}
    if gpu:
        room[GPU] = "1"
        labels["nvidia.com/gpu.present"] = "true"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": GPU, "value": "present", "effect": "NoSchedule"}] if gpu else []},
        "status": {"capacity": room, "allocatable": room},
    }


def _volume(number: int) -> Object:
    """Of a file server: no provisioner runs here."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "nfs": {"server": "files.example", "path": f"/{number}"},
        },
    }


def _kind(group: str, version: str, kind: str, plural: str) -> Object:
    """Of an operator that isn't here: its name alone, any content."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            ],
        },
    }
