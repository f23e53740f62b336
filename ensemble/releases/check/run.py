"""All checks of one candidate, each as far as it can still run, as one report."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ensemble import configs
from ensemble.data.dataset import Progress, silent
from ensemble.errors import RacksortError
from ensemble.releases.check import differences, files, latency, memory, onnx_models, quality, ranking_code, serving
from ensemble.releases.check.asking import Asked
from ensemble.releases.check.digest import digest_of
from ensemble.releases.check.finding import Faults, Finding, Report, Result, Section, Severity, Verdict, servable
from ensemble.releases.check.options import CHECKS, Options
from ensemble.releases.golden import GOLDEN, Golden
from ensemble.releases.layout import Release
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions

_DAY_S: Final = 86_400
_BECAUSE: Final = "not run: because of what was found before"


def _now() -> datetime:
    return datetime.now(UTC)


def check(
    candidate: Release,
    live: Release | None,
    options: Options | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], datetime] = _now,
) -> Report:
    """Check a candidate. Whatever is wrong with its files ends up in the report; nothing of them is changed.

    The candidate's code runs: its ranking step in a process of its own, then in an embedded Triton.

    Args:
        candidate: in a folder of its own.
        live: what it is compared with; None leaves the comparisons out.
        options: the bounds.
        progress: told each check's name and its fraction.
        clock: seconds, for latencies and the time that each check takes.
        now: of the report.

    Raises:
        RacksortError: the live release can't be served, so nothing can be compared.
    """
    began = now()
    run = _Run(options or Options(), progress, clock)
    run.step("files", lambda: files.check(candidate, run.options))
    before = digest_of(candidate) if servable(run.findings) else ""
    run.step("configs", lambda: files.check_configs(candidate, run.options, began.timestamp() / _DAY_S))
    run.step("onnx", lambda: onnx_models.check_files(candidate, run.options))
    run.step("ranking", lambda: ranking_code.check(candidate, run.options))
    golden, fault = _golden(candidate)
    rows = serving.hard_rows(golden)
    if servable(run.findings):
        run.step("models", lambda: onnx_models.check_behaviour(candidate, rows, run.options))
    with ExitStack() as servers:
        _with_servers(run, servers, candidate, live, golden, fault)
    if before and digest_of(candidate) != before:
        run.findings.append(
            Finding("files", Severity.REFUSED, candidate.name, "changed while it was checked", "check it again")
        )
    return Report(
        release=candidate.name,
        repository=str(candidate.repository),
        live=None if live is None else live.name,
        digest=before,
        checked_at=began.isoformat(timespec="seconds"),
        machine={"processor": platform.machine(), "cores": os.cpu_count()},
        bounds=run.options.to_json(),
        sections=run.finished(),
        findings=tuple(run.findings),
    )


@dataclass(slots=True)
class _Run:
    """The checks so far."""

    options: Options
    progress: Progress
    clock: Callable[[], float]
    findings: list[Finding] = field(default_factory=list)
    sections: dict[str, Section] = field(default_factory=dict)

    def step(self, name: str, work: Callable[[], Result]) -> None:
        """Run one check; what it didn't foresee becomes a finding, so that the others still run."""
        if name in self.options.skip:
            self.sections[name] = Section(name, Verdict.SKIPPED, "left out by --skip", 0.0, {})
            return
        self.progress(name, 0.0)
        began = self.clock()
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 a strange file must not hide what the other checks find
            faults = Faults(name)
            remedy = "see what is special about the candidate, or report it as an error of racksort"
            faults.add("the check", f"couldn't be finished: {type(error).__name__}: {error}", remedy)
            result = faults.result("couldn't be finished")
        self.progress(name, 1.0)
        self.findings.extend(result.findings)
        refused = any(found.severity is not Severity.WARNING for found in result.findings)
        verdict = Verdict.REFUSED if refused else Verdict.SKIPPED if result.skipped else Verdict.PASSED
        self.sections[name] = Section(name, verdict, result.figure, round(self.clock() - began, 3), result.data)

    def leave(self, name: str, why: str) -> None:
        """Note why a check was skipped."""
        self.sections[name] = Section(name, Verdict.SKIPPED, why, 0.0, {})

    def finished(self) -> tuple[Section, ...]:
        """All sections in order; those that nobody ran say so."""
        missing = {name: Section(name, Verdict.NOT_RUN, _BECAUSE, 0.0, {}) for name in CHECKS}
        return tuple((missing | self.sections)[name] for name in CHECKS)


def _golden(candidate: Release) -> tuple[Golden | None, str]:
    """The recorded requests, or why there are none."""
    path = candidate.extras_dir / GOLDEN
    if not files.plain(candidate, path):
        return None, ""  # the files' check has said so
    try:
        return Golden.load(path), ""
    except RacksortError as error:
        return None, str(error).removeprefix(f"{path}: ")


def _with_servers(
    run: _Run, servers: ExitStack, candidate: Release, live: Release | None, golden: Golden | None, fault: str
) -> None:
    """What needs the candidate in a real Triton, and the live release in another."""
    started: list[EmbeddedTriton] = []
    if servable(run.findings):
        rows = serving.hard_rows(golden)

        def serve() -> Result:
            try:
                started.append(servers.enter_context(_alone(candidate, run.options)))
            except RacksortError as error:
                faults = Faults("serving")
                remedy = "see the other findings; Triton itself says no more"
                faults.add(candidate.name, str(error), remedy, Severity.UNSERVABLE)
                return faults.result("doesn't load")
            with Asked(started[0].address, candidate.number) as asked:
                return serving.check(candidate, asked, rows, run.options)

        run.step("serving", serve)
    asked = servers.enter_context(Asked(started[0].address, candidate.number)) if started else None
    if fault:
        where = f"{candidate.name}/1/{GOLDEN}"
        faults = Faults("golden")
        faults.add(where, fault, "write the candidate again with `racksort train`")
        run.step("golden", lambda: faults.result("unreadable"))
    elif golden is not None and servable(run.findings):
        recorded = golden
        run.step("golden", lambda: serving.check_golden(candidate, recorded, asked, run.options))
    if asked is None or not servable(run.findings):
        return
    other = None
    if live is not None and not {"live", "latency", "memory", "quality"} <= run.options.skip:
        try:
            other = servers.enter_context(_alone(live, run.options))
        except RacksortError as error:
            raise RacksortError(f"the live release {live.name}: {error}; name one that works, or --no-live") from error
    _compare(run, servers, candidate, live, golden, (started[0], other), asked)


def _compare(
    run: _Run,
    servers: ExitStack,
    candidate: Release,
    live: Release | None,
    golden: Golden | None,
    running: tuple[EmbeddedTriton, EmbeddedTriton | None],
    asked: Asked,
) -> None:
    """The candidate beside the live release, both served at once."""
    server, other = running
    beside = None
    if live is not None and other is not None:
        against = beside = servers.enter_context(Asked(other.address, live.number))
        run.step("live", lambda: differences.check(candidate.name, golden, asked, against))
    elif "live" in run.options.skip:
        run.leave("live", "left out by --skip")
    else:
        run.leave("live", "there is no live release")
    run.step(
        "latency",
        lambda: latency.check(candidate.name, golden, asked, beside, run.options, run.progress, run.clock),
    )
    run.step(
        "memory", lambda: memory.check(candidate.name, server.pid, None if other is None else other.pid, run.options)
    )
    addresses = server.address, None if other is None else other.address
    run.step("quality", lambda: quality.check(candidate, live, addresses, run.options, run.progress))


@contextmanager
def _alone(release: Release, options: Options) -> Iterator[EmbeddedTriton]:
    """A Triton with a copy of the release, byte for byte and without whatever else its repository holds.

    A copy, because Triton's Python backend leaves ``__pycache__`` in the folders that it serves.

    Raises:
        RacksortError: it can't be copied or served.
    """
    with tempfile.TemporaryDirectory(prefix="racksort-check-") as folder:
        repository = Path(folder)
        wanted = {*release.files(), *map(Path, configs.generate(release.number, release.versions))}
        try:
            for path in wanted:
                (repository / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(release.repository / path, repository / path, follow_symlinks=False)
        except OSError as error:
            raise RacksortError(f"{release.repository}: can't be copied ({error})") from error
        options_of = TritonOptions(
            repository=repository, releases=(release.number,), start_timeout_s=options.load_s, stop_timeout_s=2.0
        )
        with EmbeddedTriton(options_of) as server:
            yield server
