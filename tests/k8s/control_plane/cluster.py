"""A real control plane as tests see it: kubectl for what people do, the API for what is looked at."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

import httpx
import pytest

from racksort.dev.control_plane.plane import ControlPlane
from tests.k8s.manifests import Object, kubectl, selects
from tests.waiting import until

WAIT_S: Final = 300.0
"""What takes a second or two here may take many where the machine is busy."""
WAIT: Final = f"--timeout={WAIT_S:.0f}s"
"""The same for kubectl."""
_POLL_S: Final = 0.1
_NONE: Final = "default"
_KUBERNETES_TAINT: Final = "node.kubernetes.io/"
COMPONENT: Final = "app.kubernetes.io/component"
MARKS: Final = [pytest.mark.slow, pytest.mark.timeout(3_600)]
"""Whichever test comes first builds the control plane, where the cache has none."""


class Cluster:
    """One control plane; ``namespace`` is where commands act, ``overlay`` what is deployed there."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.namespace = _NONE
        self.overlay = ""
        self._program = str(kubectl())
        self._client = httpx.Client(base_url=plane.url, verify=plane.context(), timeout=60.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def command(self, *arguments: str) -> list[str]:
        """A kubectl on this cluster and namespace."""
        return [
            self._program,
            f"--kubeconfig={self.plane.access.kubeconfig}",
            # Said aloud, it makes kubectl warn where nodes or volumes are deleted.
            *(() if self.namespace == _NONE else (f"--namespace={self.namespace}",)),
            f"--cache-dir={self.plane.access.kubeconfig.parent / 'discovery'}",
            *arguments,
        ]

    def attempt(self, *arguments: str, given: object = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl; ``given`` is for its standard input, as an object or a list of them."""
        stdin = None
        if given is not None:
            items = given if isinstance(given, list) else [given]
            stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, check=False, timeout=2 * WAIT_S
        )

    def kubectl(self, *arguments: str, given: object = None) -> str:
        """Run kubectl, which must succeed without a warning; what it writes."""
        done = self.attempt(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        assert "Warning" not in done.stderr, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, path: str, **parameters: str) -> Any:
        """What the API has at a path."""
        answer = self._client.get(path, params=parameters)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def workload(self, name: str) -> Object:
        """A Deployment of the namespace."""
        found: Object = self.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")
        return found

    def pods(self, component: str | None = None) -> list[Object]:
        """Pods of the namespace that nobody has deleted yet."""
        found = self._list()["items"]
        return [
            each
            for each in found
            if "deletionTimestamp" not in each["metadata"]
            and (component is None or each["metadata"]["labels"].get(COMPONENT) == component)
        ]

    def nodes(self) -> dict[str, Object]:
        return {each["metadata"]["name"]: each for each in self.get("/api/v1/nodes")["items"]}

    def untainted(self) -> bool:
        """Whether Kubernetes itself keeps no pod from any node; it says so a moment after what it is for."""
        taints = [taint["key"] for each in self.nodes().values() for taint in each["spec"].get("taints", [])]
        return not [each for each in taints if each.startswith(_KUBERNETES_TAINT)]

    def leave(self) -> str:
        """Forget the namespace and what is deployed there; its name."""
        left, self.namespace, self.overlay = self.namespace, _NONE, ""
        return left

    def now(self) -> str:
        """The version of the store, from which ``since`` tells what has happened."""
        version: str = self._list()["metadata"]["resourceVersion"]
        return version

    def since(self, version: str) -> Iterator[dict[str, Object]]:
        """All pods of the namespace after each single change since a version, from the API server's own history.

        Not polled: no state is missed, however short.
        """
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        last = _versions(self._list()["items"])
        state = {each["metadata"]["uid"]: each for each in self.get(path, resourceVersion=version,
                 resourceVersionMatch="Exact")["items"]}  # fmt: skip
        yield state
        parameters = {"watch": "1", "resourceVersion": version, "timeoutSeconds": f"{WAIT_S:.0f}"}
        with self._client.stream("GET", path, params=parameters, timeout=60.0) as events:
            lines = events.iter_lines()
            while _versions(list(state.values())) != last:
                line = next(lines, None)
                assert line is not None, "the history has ended before the present"
                event = json.loads(line)
                assert event["type"] in {"ADDED", "MODIFIED", "DELETED"}, event
                pod = event["object"]
                state = state | {pod["metadata"]["uid"]: pod}
                if event["type"] == "DELETED":
                    del state[pod["metadata"]["uid"]]
                yield state

    def until(self, seen: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
        """What ``seen`` gives as soon as that isn't false or empty."""
        return until(seen, what=what, within_s=wait_s, every_s=_POLL_S, explain=self._explain)

    def settled(self) -> bool:
        """Whether every Deployment has all of its replicas ready, of its newest kind, and no others."""
        return all(
            _complete(each) for each in self.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")["items"]
        )

    def _list(self) -> Any:
        return self.get(f"/api/v1/namespaces/{self.namespace}/pods")

    def _explain(self) -> str:
        """Of each pod that isn't ready, why; and the last events."""
        waiting = [
            f"{each['metadata']['name']}: {each['status'].get('conditions')}" for each in self.pods() if not ready(each)
        ]
        events = self.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return "\n".join([*waiting, *(f"{each['involvedObject']['name']}: {each['message']}" for each in events[-20:])])


def ready(pod: Object) -> bool:
    """Whether a pod gets requests: ready, and not told to end."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def fewest_ready(history: Iterator[Mapping[str, Object]], *components: str) -> dict[str, int]:
    """The fewest pods of each component that were ready at a time."""
    fewest: dict[str, int] = {}
    for state in history:
        for component in components:
            there = sum(
                ready(pod) and selects({"matchLabels": {COMPONENT: component}}, pod["metadata"]["labels"])
                for pod in state.values()
            )
            fewest[component] = min(there, fewest.get(component, there))
    return fewest


def _versions(pods: list[Object]) -> dict[str, str]:
    return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in pods}


def _complete(workload: Object) -> bool:
    status, wanted = workload["status"], workload["spec"]["replicas"]
    return (
        status.get("observedGeneration", 0) >= workload["metadata"]["generation"]
        and status.get("replicas", 0) == status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == wanted
    )
