"""The simulated kubelets before an API server that holds a few objects: what they tell of nodes and pods, and when."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from racksort.dev.control_plane.kubelets import MISSING, START_S, Kubelets
from tests.waiting import until

Object = dict[str, Any]


def pod(name: str, *, node: str = "", image: str = "app:1", owner: str = "ReplicaSet", uid: str = "") -> Object:
    containers = {
        "initContainers": [{"name": "first", "image": image}],
        "containers": [{"name": "app", "image": image}],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": uid or f"uid-{name}",
            "ownerReferences": [{"kind": owner}],
        },
        "spec": containers | ({"nodeName": node} if node else {}),
        "status": {"phase": "Pending"},
    }


class Api:
    """Nodes and pods by path, what was asked, and how many of the next requests break their connection off."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.nodes: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.broken = 0
        self.seen: list[Object] | None = None
        """What is said of pods instead of what there is, as to one who looks late."""
        self.refused = 0
        self.now = 0.0

    def add(self, each: Object) -> None:
        metadata = each["metadata"]
        with self.lock:
            self.pods[f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"] = each

    def status(self, name: str) -> Object:
        with self.lock:
            found: Object = self.pods[f"/api/v1/namespaces/shop/pods/{name}"]["status"]
            return dict(found)

    def answer(self, method: str, path: str, body: Object, kind: str) -> tuple[int, Object]:
        with self.lock:
            self.asked.append((method, path))
            if method == "GET":
                if path.endswith("/nodes"):
                    return 200, {"items": list(self.nodes.values())}
                return 200, {"items": list(self.pods.values()) if self.seen is None else self.seen}
            if method == "DELETE":
                uid = body["preconditions"]["uid"]
                if self.pods[path]["metadata"]["uid"] != uid:
                    self.refused += 1
                    return 409, {}
                del self.pods[path]
                return 200, {}
            assert kind == "application/strategic-merge-patch+json"
            found = (self.nodes | self.pods)[path.removesuffix("/status")]
            found["status"] |= body["status"]
            return 200, found


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def nodes(api: Api) -> Iterator[Kubelets]:
    """The kubelets, which look often, by the clock of the API."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if api.broken:
                api.broken -= 1
                self.close_connection = True
                return
            status, body = api.answer(
                self.command, self.path, json.loads(sent or b"{}"), self.headers.get("Content-Type", "")
            )
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_DELETE = _handle  # noqa: N815 - the handler's own names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = serving.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made = Kubelets(f"https://127.0.0.1:{server.server_address[1]}", trusting, lambda: api.now, every_s=0.005)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            server.shutdown()
            thread.join()


def looks(api: Api, count: int = 10) -> None:
    """Wait until the kubelets have looked so many times more."""
    asked = len(api.asked)
    until(lambda: api.asked[asked:].count(("GET", "/api/v1/pods")) > count)


def started(api: Api, *names: str) -> None:
    """Wait until pods that are placed have been seen and have had the time to start."""
    looks(api, 1)
    api.now += START_S
    until(lambda: all(api.status(name).get("podIP") for name in names))


def condition(status: Object, kind: str) -> str:
    return next(str(each["status"]) for each in status["conditions"] if each["type"] == kind)


@pytest.mark.usefixtures("nodes")
def test_a_new_node_becomes_ready_once(api: Api) -> None:
    api.nodes["/api/v1/nodes/one"] = {"metadata": {"name": "one"}, "status": {}}
    until(lambda: api.nodes["/api/v1/nodes/one"]["status"].get("conditions"))
    assert condition(api.nodes["/api/v1/nodes/one"]["status"], "Ready") == "True"
    looks(api)
    assert api.asked.count(("PATCH", "/api/v1/nodes/one/status")) == 1


@pytest.mark.usefixtures("nodes")
def test_pods_start_where_they_are_placed_each_with_an_address_of_its_own(api: Api) -> None:
    for name in ("a", "b"):
        api.add(pod(name, node="one"))
    api.add(pod("nowhere"))
    looks(api)
    assert api.status("a") == {"phase": "Pending"}  # starting takes its time
    started(api, "a", "b")
    first, second = api.status("a"), api.status("b")
    assert first["podIP"] != second["podIP"]
    for status in (first, second):
        assert status["phase"] == "Running"
        assert condition(status, "Ready") == "True"
        assert status["containerStatuses"][0]["ready"]
        assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert api.status("nowhere") == {"phase": "Pending"}


@pytest.mark.usefixtures("nodes")
def test_an_image_that_is_not_there_keeps_its_pod_waiting(api: Api) -> None:
    api.add(pod("broken", node="one", image=f"app:2{MISSING}"))
    started(api, "broken")
    looks(api)
    status = api.status("broken")
    assert (status["phase"], condition(status, "Ready")) == ("Pending", "False")
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"


@pytest.mark.usefixtures("nodes")
def test_a_job_s_pod_ends_well(api: Api) -> None:
    api.add(pod("nightly", node="one", owner="Job"))
    started(api, "nightly")
    until(lambda: api.status("nightly")["phase"] == "Succeeded")
    assert api.status("nightly")["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


@pytest.mark.usefixtures("nodes")
def test_a_deleted_pod_goes_at_once_and_a_new_one_of_its_name_stays(api: Api) -> None:
    going = pod("a", node="one", uid="old")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api.add(going)
    until(lambda: not api.pods)
    api.add(pod("a", node="one", uid="new"))
    api.seen = [going]  # still, to one who looked before
    until(lambda: api.refused)
    api.seen = None
    started(api, "a")
    assert api.status("a")["phase"] == "Running"


@pytest.mark.usefixtures("nodes")
def test_a_connection_that_breaks_is_made_anew(api: Api) -> None:
    looks(api, 1)
    api.broken = 3
    until(lambda: not api.broken)
    api.add(pod("a", node="one"))
    started(api, "a")
