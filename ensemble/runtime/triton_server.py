"""An embedded Triton: one server process on a model repository, bound to loopback, ended with its parent."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.runtime import command_line, diagnosis, homes, model_control, processes
from ensemble.runtime.command_line import TritonOptions as TritonOptions  # noqa: PLC0414 - part of this module's interface
from ensemble.runtime.libraries import assemble_backends
from ensemble.runtime.stub_watch import StubWatch
from ensemble.runtime.view import View

_PREFIX: Final = "racksort-triton-"
"""What the names of temporary homes start with."""
_KILL_S: Final = 1.0
"""How long killed stubs are waited for."""


class ServerStoppedError(RacksortError):
    """The server was stopped while it was being started."""


class EmbeddedTriton:
    """A Triton server process. Use as a context manager, or call ``start`` and ``stop``.

    At most one process at a time: ``start``, ``stop`` and ``restart`` hold a lock, and a process group must be gone
    before the next begins. ``stop`` may come from any thread at any time: whoever waits under the lock looks at
    ``_abandoned``, which it sets first. ``show``, ``hide`` and ``use`` are for any thread, too. What only looks
    (``alive``, ``dead_models``) takes no lock. ``reload``, ``take_out`` and ``dead_*`` are for the supervisor's thread.
    """

    def __init__(self, options: TritonOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self._view: View | None = None
        self._releases = options.releases
        """Those that a restart brings up, the one to be served first."""
        self._lock = threading.RLock()
        self._abandoned = threading.Event()
        self._ports = (options.grpc_port, options.metrics_port)
        self._stubs: StubWatch | None = None
        self.address = ""
        """HOST:PORT of its gRPC endpoint, once started."""
        self.metrics_url = ""
        self.on_start: Callable[[int], None] = lambda _release: None
        """Hears which release the server was started on: not the first where that couldn't be loaded."""

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            RuntimeError: it isn't started.
        """
        if self._process is None:
            raise RuntimeError("Triton isn't started")
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process runs (which doesn't say that it can infer)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server; wait until the first release that can be loaded is ready, and the others are or can't be.

        Raises:
            RacksortError: a missing repository or release, a port in use, a model that doesn't load, or no readiness
                within ``start_timeout_s``, as the first release says; the process is gone then.
        """
        with self._lock:
            self._abandoned.clear()
            self._start()

    def restart(self, grace_s: float) -> None:
        """End the server, whatever it is doing, and start it again on the same ports.

        Args:
            grace_s: how long it may take to end by itself; 0 kills it at once.

        Raises:
            ServerStoppedError: ``stop`` or ``abandon`` came before it was ready; no process is left.
            RacksortError: as by ``start``, or the old processes don't end; then none was started.
        """
        with self._lock:
            self._check_wanted()
            if not self._end(grace_s, reaped=False):
                raise RacksortError("Triton's processes don't end, although they were killed; none is started")
            self._check_wanted()
            self._start()

    def abandon(self) -> None:
        """Have a restart that is under way in another thread end without a server; none works after this."""
        self._abandoned.set()

    def _check_wanted(self) -> None:
        if self._abandoned.is_set():
            raise ServerStoppedError("Triton was stopped while it was being started")

    def show(self, release: int) -> None:
        """Have the server see a release's files, so that it can load it. Waits for a restart that is under way.

        Raises:
            RacksortError: the release isn't in the repository, or is incomplete.
        """
        with self._lock:
            if self._view is not None:
                self._view.show((*self._view.releases, release))

    def hide(self, release: int) -> None:
        """Have the server see a release's files no more, so that they can't keep it from anything."""
        with self._lock:
            if self._view is not None:
                self._view.show(each for each in self._view.releases if each != release)

    def use(self, releases: tuple[int, ...]) -> None:
        """These shall be in service after a restart or a reload, the first that can be before the others."""
        self._releases = releases
        if (watch := self._stubs) is not None:
            watch.recount()

    def _start(self) -> None:
        """Start on the first release that can be loaded, and load the others beside it as far as they can be."""
        releases = self._releases
        refused: list[RacksortError] = []
        for release in releases:
            try:
                self._start_on(release, [each for each in releases if each != release])
            except ServerStoppedError:
                raise
            except RacksortError as error:
                refused.append(error)
                if self._process is not None:
                    raise  # it doesn't end, so that no other may be started
            else:
                self.on_start(release)
                return
        raise refused[0]

    def _start_on(self, live: int, others: Sequence[int]) -> None:
        options = self._options
        ensemble = options.repository / contract.ensemble_name(live) / "config.pbtxt"
        if not ensemble.is_file():
            raise RacksortError(f"no release {live}: {ensemble} is missing; build one with 'racksort train'")
        if options.config_name is not None:
            command_line.check_config_name(options.repository, options.config_name)
        grpc_port, metrics_port = processes.claim_ports(
            (self._ports[0], "Triton gRPC"), (self._ports[1], "Triton metrics")
        )
        self._ports = grpc_port, metrics_port
        self.address = f"{processes.LOOPBACK}:{grpc_port}"
        self.metrics_url = f"http://{processes.LOOPBACK}:{metrics_port}/metrics"
        homes.sweep(_PREFIX)
        self._home = homes.create(_PREFIX)
        try:
            assemble_backends(self._home / command_line.BACKENDS)
            self._view = View(options.repository, self._home / command_line.MODELS)
            self._view.show((live,))
            self._launch(self._home, live, grpc_port, metrics_port)
            name, limit = contract.ensemble_name(live), options.start_timeout_s
            model_control.wait_ready(self.address, name, limit, self._while_starting, self._abandoned.wait)
            for release in others:
                self._load_beside(release)
            self._check_wanted()
            self._stubs = StubWatch(self.pid, self._view.pinning)
        except BaseException:
            self._end(self._options.stop_timeout_s)
            raise

    def dead_models(self) -> tuple[str, ...]:
        """Models of the live release whose process has ended under the running server, which doesn't say so."""
        watch = self._stubs
        return () if self._process is None or watch is None else watch.dead(self._live())

    def dead_beside(self) -> Mapping[int, str]:
        """Other releases of which a process has ended, and why; each is told once."""
        watch = self._stubs
        return {} if self._process is None or watch is None else watch.dead_beside(self._live())

    def take_out(self, release: int, timeout_s: float) -> None:
        """Unload a release of which a process has ended; the live one's aren't touched. Raises as :meth:`reload`."""
        self.hide(release)
        model_control.load(self.address, contract.ensemble_name(self._live()), timeout_s)

    def _live(self) -> int:
        return next(iter(self._seen()), self._releases[0])

    def _seen(self) -> tuple[int, ...]:
        """The releases in use but for what couldn't be loaded or has gone, the live one first."""
        view = self._view
        return () if view is None else tuple(each for each in self._releases if each in view.releases)

    def reload(self, models: Sequence[str], timeout_s: float) -> None:
        """Unload models, every one where none is named, and load them again with new processes.

        Raises:
            RacksortError: the server refuses, or it takes longer than ``timeout_s``.
        """
        watch = self._stubs
        if watch is None:
            raise RacksortError("Triton isn't started, so that no model can be reloaded")
        names = tuple(models) or tuple(model.name for model in contract.MODELS)
        before = watch.before_reload()
        ensembles = [contract.ensemble_name(release) for release in self._seen()]
        model_control.reload(self.address, names, ensembles, timeout_s)
        watch.reloaded(before, names)

    def why_ended(self) -> str:
        """One line about a server that has ended by itself."""
        status = None if self._process is None else self._process.poll()
        if status is None:
            return "Triton isn't running"
        by = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
        return f"Triton ended with status {status}: {diagnosis.reason(self.log_tail(400), by)}"

    def wait(self) -> str:
        """Wait until the server ends by itself; returns why, or an empty text if ``stop`` ended it."""
        process = self._process
        if process is None:
            return ""
        status = process.wait()
        if self._process is not process:
            return ""
        return f"Triton ended with status {status}: {diagnosis.reason(self.log_tail(400))}"

    def stop(self) -> None:
        """End the server and its stubs: a request first, a hard kill after ``stop_timeout_s``; nothing stays behind.

        A restart that is under way in another thread ends within about a second, without a server.
        """
        self.abandon()
        with self._lock:
            self._end(self._options.stop_timeout_s)

    def _end(self, grace_s: float, *, reaped: bool = True) -> bool:
        """End the process; returns whether it and its stubs run no more."""
        process, self._process = self._process, None
        gone = True
        try:
            if process is not None and process.poll() is None and grace_s > 0:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(grace_s)
        finally:  # also when an impatient second Ctrl-C cuts the waiting short
            if process is not None and not (gone := processes.kill_group(process, _KILL_S, reaped=reaped)):
                self._process = process  # to be ended before another starts
            home, self._home, self._view = self._home, None, None
            if home is not None:
                homes.remove(home)
        return gone

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the server wrote."""
        if self._home is None:
            return ""
        text = (self._home / "triton.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _load_beside(self, release: int) -> None:
        """Load another release, model after model. One that can't be loaded is seen no more: who asks will notice."""
        with contextlib.suppress(RacksortError):
            self.show(release)
            try:
                for model in (*(each.name for each in contract.MODELS), contract.ensemble_name(release)):
                    self._check_wanted()
                    model_control.load(self.address, model, self._options.start_timeout_s)
            except RacksortError:
                self.hide(release)

    def _launch(self, home: Path, release: int, grpc_port: int, metrics_port: int) -> None:
        command = command_line.arguments(self._options, home, release, grpc_port, metrics_port)
        with processes.signals_held():
            self._process = processes.started(command, command_line.environment(), home / "triton.log")

    def _while_starting(self) -> str:
        """What it has written so far; raises RacksortError where it won't be ready any more."""
        self._check_wanted()
        alive, log = self.alive(), self.log_tail(400)
        if not alive:
            raise RacksortError(f"Triton ended while starting: {diagnosis.reason(log)}")
        if diagnosis.stub_died(log):
            raise RacksortError(f"Triton can't load a model: {diagnosis.reason(log)}")
        return log
