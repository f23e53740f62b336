"""What a pod may be and do: Kubernetes' restricted profile, and what this project asks for beyond it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.k8s.manifests import Object, Pod, of_kind, operated, pods

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_UNITS = {"Mi": 2**20, "Gi": 2**30}
_OURS = re.compile(r".*/racksort/")


def restricted(objects: list[Object]) -> list[str]:
    """Pod Security Standards, profile "restricted"."""
    return [f"{pod.name}: {what}" for pod in (*pods(objects), *operated(objects)) for what in _unrestricted(pod)]


def _unrestricted(pod: Pod) -> Iterator[str]:
    spec, context = pod.spec, pod.spec.get("securityContext", {})
    yield from (f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    if context.get("sysctls"):
        yield "sets sysctls"
    for volume in spec.get("volumes", []):
        if not _VOLUMES & volume.keys():
            yield f"volume {volume['name']} is of a kind that isn't allowed"
    for each in pod.containers:
        own = each.get("securityContext", {})
        merged = context | own
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield f"{each['name']} may gain privileges"
        if merged.get("runAsNonRoot") is not True or not merged.get("runAsUser"):
            yield f"{each['name']} may run as root"
        if merged.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{each['name']} has no seccomp profile"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{each['name']} keeps capabilities"
        if own.get("procMount", "Default") != "Default":
            yield f"{each['name']} unmasks /proc"
        yield from (f"{each['name']} takes a port of the host" for port in each.get("ports", []) if "hostPort" in port)


def unwritable(objects: list[Object]) -> list[str]:
    """Root file systems, secrets and configuration can't be written; neither can what a server only reads."""
    found = []
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for each in pod.containers:
            if each.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                found.append(f"{pod.name}: {each['name']} can write its root file system")
            for mount in each.get("volumeMounts", []):
                volume = volumes.get(mount["name"], {})
                claim = volume.get("persistentVolumeClaim", {})
                only_read = volume.keys() & {"secret", "configMap"} or claim.get("readOnly")
                served = pod.serves and claim and mount["name"] not in WRITTEN
                if (only_read or served) and mount.get("readOnly") is not True:
                    found.append(f"{pod.name}: {each['name']} can write {mount['mountPath']}")
    return found


WRITTEN = {"releases"}
"""Claims that a serving pod writes to: a guard that rolls a release back changes the release document."""


def bounded(objects: list[Object]) -> list[str]:
    """Every container says what it needs, and how much memory and disk it may take; memory volumes count, too."""
    found = []
    for pod in pods(objects):
        shared = sum(
            _bytes(volume["emptyDir"]["sizeLimit"])
            for volume in pod.spec.get("volumes", [])
            if volume.get("emptyDir", {}).get("medium") == "Memory"
        )
        found += [
            f"{pod.name}: volume {volume['name']} has no size"
            for volume in pod.spec.get("volumes", [])
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]
        ]
        for each in pod.containers:
            resources = each.get("resources", {})
            requests, limits = resources.get("requests", {}), resources.get("limits", {})
            missing = {"cpu", "memory", "ephemeral-storage"} - requests.keys() or {
                "memory",
                "ephemeral-storage",
            } - limits.keys()
            if missing:
                found.append(f"{pod.name}: {each['name']} doesn't bound {', '.join(sorted(missing))}")
            elif _bytes(limits["memory"]) < _bytes(requests["memory"]):
                found.append(f"{pod.name}: {each['name']} asks for more memory than it may take")
            elif shared and 2 * shared > _bytes(limits["memory"]):
                found.append(f"{pod.name}: {each['name']} could fill most of its memory by its memory volumes")
    return found


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]


def shared_memory(objects: list[Object]) -> list[str]:
    """Triton hands tensors to its Python processes through /dev/shm, of which a container has 64 MiB by itself."""
    found = []
    for pod in pods(objects):
        inside = {each["name"] for each in pod.spec.get("volumes", []) if each.get("emptyDir", {}).get("medium")}
        found += [
            f"{pod.name}: {each['name']} has no memory volume at /dev/shm"
            for each in pod.containers
            if each["name"] == "triton"
            and not any(
                mount["mountPath"] == "/dev/shm" and mount["name"] in inside for mount in each.get("volumeMounts", [])
            )
        ]
    return found


def without_token(objects: list[Object]) -> list[str]:
    """A service account for each workload, without a token."""
    accounts = {each["metadata"]["name"]: each for each in of_kind(objects, "ServiceAccount")}
    found = []
    for pod in pods(objects):
        account = accounts.get(pod.spec.get("serviceAccountName", ""))
        if account is None:
            found.append(f"{pod.name}: has no service account of its own")
        elif account.get("automountServiceAccountToken") is not False:
            found.append(f"{pod.name}: its service account mounts a token")
        if pod.spec.get("automountServiceAccountToken") is not False:
            found.append(f"{pod.name}: mounts a token")
    return found


def pinned(objects: list[Object]) -> list[str]:
    """No image is whatever is newest, and all of racksort's are of one version."""
    found, versions = [], set()
    for pod in pods(objects):
        for each in pod.containers:
            image = each["image"]
            tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
            if "@sha256:" not in image and tag in {"", "latest"}:
                found.append(f"{pod.name}: {image} has no version")
            if _OURS.match(image) and tag:
                versions.add(tag)
    return found if len(versions) < 2 else [*found, f"racksort's images are of several versions: {sorted(versions)}"]


def no_service_links(objects: list[Object]) -> list[str]:
    """Service links set variables such as RACKSORT_TRITON_PORT, for which the adapter doesn't start."""
    return [
        f"{pod.name}: has service links" for pod in pods(objects) if pod.spec.get("enableServiceLinks") is not False
    ]
