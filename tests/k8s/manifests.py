"""Rendered manifests as plain objects, and how policies look at them."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from racksort.dev.errors import NotProvisioned
from racksort.dev.kubectl import provision

ROOT = Path(__file__).parent.parent.parent
OVERLAYS = ("dev", "cpu", "gpu", "everything")

Object = dict[str, Any]
_TEMPLATE = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True)
class Pod:
    """The pods of a workload."""

    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        return f"{self.owner['kind']} {self.owner['metadata']['name']}"

    @property
    def serves(self) -> bool:
        """Whether it runs for good, and not to an end."""
        return self.owner["kind"] != "CronJob"

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def kubectl() -> Path:
    """The pinned one; the test is skipped where it can't be had, or fails where REQUIRE_KUBECTL=1 asks for that."""
    try:
        return provision()
    except NotProvisioned as error:
        if os.environ.get("REQUIRE_KUBECTL") == "1":
            pytest.fail(f"REQUIRE_KUBECTL=1: {error}", pytrace=False)
        pytest.skip(str(error))


def folder(overlay: str) -> Path:
    return Path(__file__).parent / overlay if overlay == "everything" else ROOT / "k8s" / "overlays" / overlay


@functools.cache
def _rendered(overlay: str) -> tuple[Object, ...]:
    done = subprocess.run([kubectl(), "kustomize", folder(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def render(overlay: str) -> list[Object]:
    """Objects of an overlay, as a copy that a test may change."""
    return copy.deepcopy(list(_rendered(overlay)))


def of_kind(objects: list[Object], *kinds: str) -> Iterator[Object]:
    return (each for each in objects if each["kind"] in kinds)


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


def pods(objects: list[Object]) -> Iterator[Pod]:
    for each in of_kind(objects, *_TEMPLATE):
        template = functools.reduce(lambda value, key: value[key], _TEMPLATE[each["kind"]], each)
        yield Pod(each, template["metadata"]["labels"], template["spec"])


def operated(objects: list[Object]) -> Iterator[Pod]:
    """Pods that an operator makes of an object: Elasticsearch's, with the ports that ECK opens."""
    for each in of_kind(objects, "Elasticsearch"):
        for nodes in each["spec"]["nodeSets"]:
            spec = copy.deepcopy(nodes["podTemplate"]["spec"])
            for server in spec["containers"]:
                server["ports"] = [
                    {"name": "https", "containerPort": 9200},
                    {"name": "transport", "containerPort": 9300},
                ]
            yield Pod(each, nodes["podTemplate"]["metadata"]["labels"], spec)


def pod(objects: list[Object], component: str) -> Pod:
    """The pods labelled as this component."""
    (found,) = [each for each in pods(objects) if each.labels["app.kubernetes.io/component"] == component]
    return found


def container(objects: list[Object], component: str) -> Object:
    """The one container of a component's pods that isn't there to prepare."""
    (found,) = pod(objects, component).spec["containers"]
    assert isinstance(found, dict)
    return found


def variables(objects: list[Object], given: Object) -> dict[str, str]:
    """A container's environment, ConfigMaps included; a secret's value is its reference, as ``secret:NAME/KEY``."""
    found: dict[str, str] = {}
    for source in given.get("envFrom", []):
        found |= one(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in given.get("env", []):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        found[variable["name"]] = (
            f"secret:{reference['name']}/{reference['key']}" if reference else variable.get("value", "")
        )
    return found


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", "no other operator is used so far"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True
