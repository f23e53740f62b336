"""What the kubelets of simulated nodes tell the API server. They run nothing and ask no probes."""

from __future__ import annotations

import http
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

MISSING: Final = "-missing"
"""An image whose tag ends so can't be pulled."""
START_S: Final = 1.0
"""From placing a pod to its being ready."""
_POLL_S: Final = 0.2
_ASK_S: Final = 30.0
_JSON: Final = "application/json"
_MERGE: Final = "application/strategic-merge-patch+json"
_HEALTHY: Final = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}

Object = dict[str, Any]


class Kubelets:
    """Those of all nodes, in one thread. A node is ready as soon as it is seen; a pod goes as soon as it is deleted."""

    def __init__(
        self, url: str, context: ssl.SSLContext, clock: Callable[[], float] = time.monotonic, every_s: float = _POLL_S
    ) -> None:
        """For the API server at ``url``, asked with ``context`` every so many seconds; ``clock`` counts starts."""
        self._clock, self._every_s = clock, every_s
        self._address = urlsplit(url)
        self._context = context
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelets", daemon=True)
        self._seen: dict[str, float] = {}
        """When pods that haven't started were seen on their nodes, by uid."""
        self._addresses = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, before the API server does."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            connection = http.client.HTTPSConnection(
                self._address.hostname or "", self._address.port, timeout=_ASK_S, context=self._context
            )
            try:
                while not self._ended.wait(self._every_s):
                    self._look(connection)
            except (OSError, http.client.HTTPException):
                continue  # by a new connection
            finally:
                connection.close()

    def _look(self, connection: http.client.HTTPConnection) -> None:
        for node in _items(connection, "/api/v1/nodes"):
            if not node["status"].get("conditions"):
                _patch(connection, f"/api/v1/nodes/{node['metadata']['name']}", _node_status())
        for pod in _items(connection, "/api/v1/pods"):
            if pod["spec"].get("nodeName"):
                self._attend(connection, pod)

    def _attend(self, connection: http.client.HTTPConnection, pod: Object) -> None:
        metadata, status = pod["metadata"], pod["status"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            self._seen.pop(metadata["uid"], None)
            at_once = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
            _ask(connection, "DELETE", path, at_once, _JSON)
        elif "podIP" not in status:
            now = self._clock()
            if now - self._seen.setdefault(metadata["uid"], now) >= START_S:
                del self._seen[metadata["uid"]]
                self._addresses += 1
                _patch(connection, path, _started(pod, f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}"))
        elif status["phase"] == "Running" and _of_job(pod):
            _patch(connection, path, _completed(pod))


def _started(pod: Object, address: str) -> Object:
    """The status of a pod that runs and is ready; or waits for ever, where one of its images can't be pulled."""
    if any(each["image"].endswith(MISSING) for each in pod["spec"]["containers"]):
        return {
            "phase": "Pending",
            "podIP": address,
            "startTime": _now(),
            "conditions": _conditions({"Ready": "False", "ContainersReady": "False"}),
            "containerStatuses": _containers(pod, {"waiting": {"reason": "ImagePullBackOff"}}, ready=False),
        }
    return {
        "phase": "Running",
        "podIP": address,
        "startTime": _now(),
        "conditions": _conditions({"Initialized": "True", "Ready": "True", "ContainersReady": "True"}),
        "initContainerStatuses": _containers(pod, _done(), ready=True, kind="initContainers"),
        "containerStatuses": _containers(pod, {"running": {"startedAt": _now()}}, ready=True),
    }


def _completed(pod: Object) -> Object:
    """The status of a pod whose containers have ended well."""
    return {
        "phase": "Succeeded",
        "conditions": _conditions({"Ready": "False", "ContainersReady": "False"}),
        "containerStatuses": _containers(pod, _done(), ready=False),
    }


def _node_status() -> Object:
    return {"conditions": [each | {"lastHeartbeatTime": _now()} for each in _conditions(_HEALTHY)]}


def _conditions(wanted: Mapping[str, str]) -> list[Object]:
    return [{"type": kind, "status": status, "lastTransitionTime": _now()} for kind, status in wanted.items()]


def _containers(pod: Object, state: Object, *, ready: bool, kind: str = "containers") -> list[Object]:
    return [
        {"name": each["name"], "image": each["image"], "imageID": "", "restartCount": 0, "ready": ready, "state": state}
        for each in pod["spec"].get(kind, [])
    ]


def _done() -> Object:
    return {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}}


def _of_job(pod: Object) -> bool:
    return any(each["kind"] == "Job" for each in pod["metadata"].get("ownerReferences", []))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _items(connection: http.client.HTTPConnection, path: str) -> list[Object]:
    """All there are; none where the API server has no answer now."""
    status, body = _ask(connection, "GET", path)
    found: list[Object] = json.loads(body)["items"] if status == http.HTTPStatus.OK else []
    return found


def _patch(connection: http.client.HTTPConnection, path: str, status: Object) -> None:
    _ask(connection, "PATCH", f"{path}/status", {"status": status}, _MERGE)


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Object | None = None, kind: str = _JSON
) -> tuple[int, bytes]:
    """What is refused, because the object has gone or changed meanwhile, is tried again at the next look."""
    headers = {"Content-Type": kind} if body is not None else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read()
