"""An embedded Elasticsearch: one real node, bound to loopback, ended with its parent."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection, explained
from ensemble.errors import RacksortError
from ensemble.runtime import homes, processes
from racksort.dev import elasticsearch_log, security
from racksort.dev.provision import Distribution

PREFIX: Final = "racksort-elasticsearch-"
"""What the names of temporary homes start with."""
_POLL_S: Final = 0.05
_PID: Final = "pid"
_ATTACHING: Final = "/tmp/.java_pid{}"  # noqa: S108 - the JVM's own choice, which no option changes
"""Socket by which the server gives itself rights; it stays, as the file of the process id does, where it is killed."""
_KILL_S: Final = 5.0
"""How long a killed server is waited for."""
_LOG_LINES: Final = 2_000
"""Looked through for a reason: a stack trace is long."""


@dataclass(frozen=True, slots=True)
class ElasticsearchOptions:
    """How the embedded server runs."""

    port: int = 0
    """Of HTTP; 0 = any free port, which Elasticsearch itself takes."""
    data: Path | None = None
    """Folder that keeps the indices; they end with the server where it isn't given."""
    heap: str = "512m"
    secured: bool = False
    """With TLS and API keys."""
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 10.0


def require_free(port: int) -> None:
    """Refuse a port in use before anything slow is done; 0, any free one, always passes.

    Raises:
        RacksortError: the port can't be used.
    """
    processes.claim_port(port, "Elasticsearch", "choose another, or 0 for any free one")


class EmbeddedElasticsearch:
    """An Elasticsearch process. Use as a context manager, or call ``start`` and ``stop``."""

    def __init__(self, distribution: Distribution, options: ElasticsearchOptions | None = None) -> None:
        self._distribution = distribution
        self._options = options or ElasticsearchOptions()
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self._security: security.Security | None = None
        self.url = ""
        """Its address, once started."""
        self.reader_key: str | None = None
        """API key that may read ``racksort-*``; None where not secured."""
        self.loader_key: str | None = None
        """API key that may do everything with ``racksort-*``; None where not secured."""

    @property
    def pid(self) -> int:
        """Process id of the running launcher, which leads the server's process group.

        Raises:
            RuntimeError: it isn't started.
        """
        if self._process is None:
            raise RuntimeError("Elasticsearch isn't started")
        return self._process.pid

    @property
    def ca_cert(self) -> Path | None:
        """File of the authority that signed its certificate, while it runs; None where not secured."""
        return None if self._security is None else self._security.ca_cert

    @property
    def connection(self) -> Connection:
        """How to reach it, with the loader's key where it is secured."""
        return Connection((self.url,), self.loader_key, self.ca_cert)

    def alive(self) -> bool:
        """Whether the process runs (which doesn't say that it answers)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RacksortError: a port in use, a data folder that isn't one, a server that ends, or no readiness within
                ``start_timeout_s``; the process is gone then.
        """
        options = self._options
        if not re.fullmatch(r"[1-9]\d*[kmgKMG]", options.heap):
            raise RacksortError(f"heap {options.heap!r} isn't a size; write it as 512m or 2g")
        require_free(options.port)
        homes.sweep(PREFIX)
        self._home = homes.create(PREFIX)
        try:
            self._launch(self._home, self._configured(self._home))
            deadline = time.monotonic() + options.start_timeout_s
            self.url = self._bound(self._home / "logs" / "http.ports", deadline)
            with self._superuser() as client:
                self._wait_ready(client, deadline)
                if self._security is not None:
                    self.reader_key = security.make_key(client, "reader", security.READER)
                    self.loader_key = security.make_key(client, "loader", security.LOADER)
        except (ApiError, TransportError) as error:
            self.stop()
            raise RacksortError(f"Elasticsearch can't be set up: {explained(error)}") from error
        except BaseException:
            self.stop()
            raise

    def wait(self) -> str:
        """Wait until the server ends by itself; returns why, or an empty text if ``stop`` ended it."""
        process = self._process
        if process is None:
            return ""
        status = process.wait()
        if self._process is not process:
            return ""
        return f"Elasticsearch ended with status {status}: {self._reason()}"

    def stop(self) -> None:
        """End the server: a request first, a hard kill after ``stop_timeout_s``; nothing stays but a data folder."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._options.stop_timeout_s)
        finally:  # also when an impatient second Ctrl-C cuts the waiting short
            if process is not None:
                processes.kill_group(process, _KILL_S)
            home, self._home = self._home, None
            if home is not None:
                with contextlib.suppress(OSError, ValueError):
                    Path(_ATTACHING.format(int((home / _PID).read_text()))).unlink()
                homes.remove(home)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the server wrote."""
        if self._home is None:
            return ""
        text = (self._home / "elasticsearch.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _configured(self, home: Path) -> Path:
        """Write the configuration folder, and give all to the user that the server runs as."""
        config = home / "config"
        shutil.copytree(self._distribution.home / "config", config)
        for name in ("data", "logs", "tmp"):
            (home / name).mkdir()
        data = home / "data" if self._options.data is None else self._kept_data(self._options.data)
        self._security = security.prepare(config) if self._options.secured else None
        settings = {
            "cluster.name": "racksort-dev",
            "discovery.type": "single-node",
            "network.host": processes.LOOPBACK,
            "http.port": self._options.port,
            "transport.port": 0,
            "node.portsfile": True,  # says which free ports it took
            "path.data": str(data),
            "path.logs": str(home / "logs"),
            "cluster.routing.allocation.disk.threshold_enabled": False,  # a developer's full disk isn't its business
            **({"xpack.security.enabled": False} if self._security is None else self._security.settings),
        }
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in settings.items()]
        (config / "elasticsearch.yml").write_text("".join(lines))
        if self._distribution.user is not None:
            self._distribution.user.own(home)
        return config

    def _kept_data(self, data: Path) -> Path:
        """The given data folder, made where it is missing; one with other things in it is never touched."""
        data = data.absolute()
        try:
            data.mkdir(parents=True, exist_ok=True)
            if any(data.iterdir()) and not (data / "node.lock").is_file():
                raise RacksortError(f"{data} isn't empty and holds no Elasticsearch data; name another folder")
            if self._distribution.user is not None:
                self._distribution.user.require_reach(data, "name another folder")
                self._distribution.user.own(data)
        except OSError as error:
            raise RacksortError(f"{data} can't be the data folder ({error.strerror}); name another") from error
        return data

    def _launch(self, home: Path, config: Path) -> None:
        user = self._distribution.user
        environment = {
            "PATH": "/usr/bin:/bin",
            "ES_JAVA_HOME": str(self._distribution.java),
            "ES_PATH_CONF": str(config),
            "ES_TMPDIR": str(home / "tmp"),
            "ES_JAVA_OPTS": f"-Xms{self._options.heap} -Xmx{self._options.heap}",
            "CLI_JAVA_OPTS": "-XX:TieredStopAtLevel=1",  # the launcher doesn't live long enough to profit from more
            # for every JVM, the launcher's too: else each leaves files in the system's temporary folder
            "JDK_JAVA_OPTIONS": f'-XX:-UsePerfData -Djava.io.tmpdir="{home / "tmp"}"',
        }
        with (home / "elasticsearch.log").open("wb") as log, processes.signals_held():
            self._process = subprocess.Popen(  # noqa: S603 - the distribution's own launcher, no shell
                [str(self._distribution.home / "bin" / "elasticsearch"), "-p", str(home / _PID)],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=processes.end_with_parent(),  # noqa: PLW1509 - a single call of prctl, looked up beforehand
                **({} if user is None else user.popen_options()),
            )

    def _bound(self, ports: Path, deadline: float) -> str:
        """The server's URL, from the file in which it says where it listens."""
        scheme = "http" if self._security is None else "https"
        while not (ports.is_file() and (lines := ports.read_text().splitlines())):
            self._require_alive(deadline, "it doesn't listen")
            time.sleep(_POLL_S)
        return f"{scheme}://{lines[0]}"

    def _superuser(self) -> Elasticsearch:
        client = Connection((self.url,), None, self.ca_cert).synchronous()
        return client if self._security is None else client.options(basic_auth=self._security.login)

    def _wait_ready(self, client: Elasticsearch, deadline: float) -> None:
        once = client.options(max_retries=0, request_timeout=5)
        while True:
            try:
                once.cluster.health(wait_for_status="yellow", timeout="1s")
            except (ApiError, TransportError) as error:
                self._require_alive(deadline, explained(error))
                time.sleep(_POLL_S)
            else:
                return

    def _require_alive(self, deadline: float, otherwise: str) -> None:
        if not self.alive():
            raise RacksortError(f"Elasticsearch ended while starting: {self._reason()}")
        if time.monotonic() > deadline:
            raise RacksortError(f"Elasticsearch wasn't ready within {self._options.start_timeout_s:g} s: {otherwise}")

    def _reason(self) -> str:
        return elasticsearch_log.reason(self.log_tail(_LOG_LINES))
