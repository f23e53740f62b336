"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback, ended with their parent."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ensemble.errors import RacksortError
from ensemble.runtime import homes, processes
from racksort.dev.control_plane.access import Access, prepare
from racksort.dev.control_plane.kubelets import Kubelets

PREFIX: Final = "racksort-control-plane-"
"""What the names of temporary homes start with."""
_POLL_S: Final = 0.05
_START_S: Final = 300.0
"""Quiet, it takes ten; a busy machine may take several times that."""
_STOP_S: Final = 5.0
_ASK_S: Final = 5.0
_LOG_BYTES: Final = 600
_AUTOSCALER: Final = (
    # Kubernetes decides each 15 s, and looks away from what has just started; nobody wants to wait for that.
    "--horizontal-pod-autoscaler-sync-period=1s",
    "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
)


class ControlPlane:
    """The processes, and every node's kubelet. Use as a context manager, or call ``start`` and ``stop``."""

    def __init__(self, program: Path) -> None:
        """Run ``program``, of ``racksort.dev.control_plane.build``."""
        self._program = program
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._home: Path | None = None
        self._access: Access | None = None
        self._kubelets: Kubelets | None = None
        self.port = 0
        """Of the API server, on loopback."""

    @property
    def access(self) -> Access:
        """Certificates and kubeconfig.

        Raises:
            RuntimeError: it isn't started.
        """
        if self._access is None:
            raise RuntimeError("the control plane isn't started")
        return self._access

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://{processes.LOOPBACK}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """TLS for asking the API server as its administrator."""
        made = ssl.create_default_context(cafile=str(self.access.ca))
        made.load_cert_chain(self.access.admin.cert, self.access.admin.key)
        return made

    def start(self) -> None:
        """Start all four, empty, and wait until they work.

        Raises:
            RacksortError: one ends, or isn't ready in time; with the last lines of its log.
        """
        homes.sweep(PREFIX)
        self._home = homes.create(PREFIX)
        deadline = time.monotonic() + _START_S
        try:
            self.port = processes.claim_port(0, "kube-apiserver")
            self._access = prepare(self._home, self.url)
            etcd = self._start_etcd(self._home)
            self._wait("etcd", lambda: _answers(http.client.HTTPConnection(*etcd, timeout=_ASK_S), "/health"), deadline)
            self._start_apiserver(self._home, self._access, etcd)
            self._wait("kube-apiserver", lambda: self.answers("/readyz"), deadline)
            self._start_others(self._home, self._access)
            # The first thing that a controller manager makes in each namespace, without which it admits no pod.
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._wait("kube-controller-manager", lambda: self.answers(account), deadline)
            self._kubelets = Kubelets(self.url, self.context())
            self._kubelets.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End them, the last started first; nothing stays."""
        if self._kubelets is not None:
            self._kubelets.stop()
            self._kubelets = None
        running = [self._processes.pop(name) for name in reversed(list(self._processes))]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()
        home, self._home, self._access = self._home, None, None
        if home is not None:
            homes.remove(home)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def answers(self, path: str) -> bool:
        """Whether the API server answers a path with success."""
        connection = http.client.HTTPSConnection(processes.LOOPBACK, self.port, timeout=_ASK_S, context=self.context())
        return _answers(connection, path)

    def _start_etcd(self, home: Path) -> tuple[str, int]:
        client, peer = processes.claim_ports((0, "etcd"), (0, "etcd's peers"))
        urls = [f"http://{processes.LOOPBACK}:{port}" for port in (client, peer)]
        self._launch(
            "etcd",
            f"--data-dir={home / 'etcd'}",
            f"--listen-client-urls={urls[0]}",
            f"--advertise-client-urls={urls[0]}",
            f"--listen-peer-urls={urls[1]}",
            f"--initial-advertise-peer-urls={urls[1]}",
            f"--initial-cluster=default={urls[1]}",
            "--unsafe-no-fsync",  # what is in it lives as long as the process
            "--log-level=warn",
        )
        return processes.LOOPBACK, client

    def _start_apiserver(self, home: Path, access: Access, etcd: tuple[str, int]) -> None:
        self._launch(
            "kube-apiserver",
            f"--etcd-servers=http://{etcd[0]}:{etcd[1]}",
            f"--bind-address={processes.LOOPBACK}",
            f"--advertise-address={processes.LOOPBACK}",
            f"--secure-port={self.port}",
            f"--cert-dir={home / 'apiserver'}",
            f"--tls-cert-file={access.server.cert}",
            f"--tls-private-key-file={access.server.key}",
            f"--client-ca-file={access.ca}",
            f"--requestheader-client-ca-file={access.ca}",
            "--requestheader-allowed-names=aggregator",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={access.aggregator.cert}",
            f"--proxy-client-key-file={access.aggregator.key}",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={access.accounts.key}",
            f"--service-account-signing-key-file={access.accounts.key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",  # no Service may point to loopback
            # So that who asks later can still have every change to pods: etcd keeps all, and is itself asked.
            "--etcd-compaction-interval=0",
            "--watch-cache-sizes=pods#0",
        )

    def _start_others(self, home: Path, access: Access) -> None:
        shared = (f"--kubeconfig={access.kubeconfig}", "--leader-elect=false", "--secure-port=0")
        self._launch(
            "kube-controller-manager",
            *shared,
            f"--service-account-private-key-file={access.accounts.key}",
            f"--root-ca-file={access.ca}",
            f"--flex-volume-plugin-dir={home / 'volume-plugins'}",  # else a folder of the system
            "--node-monitor-grace-period=24h",  # the simulated kubelets say once that a node is ready
            *_AUTOSCALER,
        )
        self._launch("kube-scheduler", *shared)

    def _launch(self, name: str, *arguments: str) -> None:
        if self._home is None:
            raise RuntimeError("the control plane isn't started")
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._home)}
        with processes.signals_held():
            self._processes[name] = processes.started(
                [str(self._program), name, *arguments], environment, self._log(name)
            )

    def _log(self, name: str) -> Path:
        if self._home is None:
            raise RuntimeError("the control plane isn't started")
        return self._home / f"{name}.log"

    def _wait(self, name: str, ready: Callable[[], bool], deadline: float) -> None:
        while not ready():
            ended = [other for other, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                failed = ended[0] if ended else name
                said = " ".join(self.log(failed)[-_LOG_BYTES:].split())
                how = "ended" if ended else f"isn't ready after {_START_S:.0f} s"
                raise RacksortError(f"{failed} {how}: {said or 'it wrote nothing'}")
            time.sleep(_POLL_S)

    def log(self, name: str) -> str:
        """What a program has written so far."""
        return self._log(name).read_text(errors="replace")


def _answers(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
