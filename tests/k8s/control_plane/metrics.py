"""The three metrics APIs that autoscalers ask, behind kube-apiserver like the real ones; a test sets their values."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from racksort.dev.control_plane.access import Access
from tests.k8s.control_plane.cluster import WAIT, Cluster
from tests.k8s.manifests import Object

_NAME: Final = "injected-metrics"
_NAMESPACE: Final = "kube-system"
_IN: Final = f"--namespace={_NAMESPACE}"
_KINDS: Final = {
    # Group and version -> the resource that discovery lists.
    "metrics.k8s.io/v1beta1": {"name": "pods", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
    "custom.metrics.k8s.io/v1beta2": {
        "name": "pods/any", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]
    },
    "external.metrics.k8s.io/v1beta1": {
        "name": "any", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]
    },
}  # fmt: skip


@dataclass
class Values:
    """What is measured, as quantities of Kubernetes such as "500m"; a metric that isn't there has no series."""

    cpu: str = "0"
    """Of each pod's only container."""
    pods: dict[str, str] = field(default_factory=dict)
    """By metric, of each pod that is asked for."""
    external: dict[str, str] = field(default_factory=dict)


class InjectedMetrics:
    """A server on loopback, registered with a cluster. Use as a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self.values = Values()
        self._cluster = cluster
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._answer))
        self._server.daemon_threads = True
        self._server.socket = _context(cluster.plane.access).wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._cluster.kubectl("create", _IN, "-f", "-", given=self._registration())
            names = [f"apiservice/{version}.{group}" for group, _, version in (each.partition("/") for each in _KINDS)]
            self._cluster.kubectl("wait", "--for=condition=Available", *names, WAIT)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Deregister, too: the API server would hold every namespace back for a group that nobody answers for."""
        try:
            self._cluster.attempt("delete", _IN, "--ignore-not-found", "-f", "-", given=self._registration())
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def _registration(self) -> list[Object]:
        port = self._server.server_address[1]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }
        return [service, *(self._api_service(each, port) for each in _KINDS)]

    def _api_service(self, api: str, port: int) -> Object:
        group, _, version = api.partition("/")
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,  # on loopback, by a certificate of the control plane's authority
                "service": {"name": _NAME, "namespace": _NAMESPACE, "port": port},
            },
        }

    def _answer(self, path: str, selector: str) -> Object | None:
        parts = path.strip("/").split("/")[1:]
        api = "/".join(parts[:2])
        if api not in _KINDS:
            return None
        if len(parts) == 2:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api,
                    "resources": [_KINDS[api] | {"singularName": ""}]}  # fmt: skip
        namespace, *rest = parts[3:]
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        if api.startswith("metrics"):
            return _listed(api, "PodMetricsList", [
                {
                    "metadata": pod["metadata"],
                    "timestamp": now,
                    "window": "15s",
                    "containers": [
                        {"name": each["name"], "usage": {"cpu": self.values.cpu, "memory": "100Mi"}}
                        for each in pod["spec"]["containers"]
                    ],
                }
                for pod in self._pods(namespace, selector)
            ])  # fmt: skip
        metric = rest[-1]
        if api.startswith("custom"):
            value = self.values.pods.get(metric)
            return value and _listed(api, "MetricValueList", [
                {
                    "describedObject": {"kind": "Pod", "apiVersion": "/v1", "namespace": namespace,
                                        "name": pod["metadata"]["name"]},
                    "metric": {"name": metric},
                    "timestamp": now,
                    "value": value,
                }
                for pod in self._pods(namespace, selector)
            ])  # fmt: skip
        value = self.values.external.get(metric)
        return value and _listed(
            api, "ExternalMetricValueList",
            [{"metricName": metric, "metricLabels": {}, "timestamp": now, "value": value}],
        )  # fmt: skip

    def _pods(self, namespace: str, selector: str) -> list[Object]:
        found: list[Object] = self._cluster.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)["items"]
        return found


def _listed(api: str, kind: str, items: list[Any]) -> Object:
    return {"kind": kind, "apiVersion": api, "metadata": {}, "items": items}


def _context(access: Access) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(access.server.cert, access.server.key)
    return context


def _handler(answer: Callable[[str, str], Object | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            found = answer(asked.path, parse_qs(asked.query).get("labelSelector", [""])[0])
            body = json.dumps(
                found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is for what it says."""

    return Handler
