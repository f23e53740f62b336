"""Pinned files from Maven's repositories, by the ``mvn`` of this machine: its mirrors and proxies hold here too."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from racksort.dev.errors import NotProvisioned

_GOAL_FAILED: Final = r"Failed to execute goal \S+ \(\S+\) on project \S+: "
_COLOUR: Final = r"\x1b\[[0-9;]*m"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file, by its coordinates and its digest."""

    group: str
    name: str
    version: str
    kind: str
    """Such as "jar"."""
    sha256: str


def executable() -> str:
    """Path of ``mvn``.

    Raises:
        NotProvisioned: it isn't installed.
    """
    found = shutil.which("mvn")
    if found is None:
        raise NotProvisioned(
            "Elasticsearch for development comes by Maven, which isn't installed: apt-get install maven, or set "
            "ELASTICSEARCH_URL to one that runs"
        )
    return found


def copy(artifact: Artifact, folder: Path) -> Path:
    """Fetch one file into ``folder``.

    Raises:
        NotProvisioned: there is no Maven, or it failed; with its own reason.
        RacksortError: the file isn't the one that was pinned.
    """
    coordinates = f"{artifact.group}:{artifact.name}:{artifact.version}:{artifact.kind}"
    command = [executable(), "-q", "-B", "dependency:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={folder}"]
    ended = subprocess.run(  # noqa: S603 - no shell
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    path = folder / f"{artifact.name}-{artifact.version}.{artifact.kind}"
    if ended.returncode != 0 or not path.is_file():
        raise NotProvisioned(
            f"Maven can't fetch {coordinates}: {reason(ended.stdout)}; mend that, or set ELASTICSEARCH_URL to an "
            "Elasticsearch that runs"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise RacksortError(
            f"{coordinates} isn't the file that was pinned (its SHA-256 is {digest}, not {artifact.sha256}); remove it "
            "from Maven's local repository, and find out who changed it if that doesn't help"
        )
    return path


def reason(output: str) -> str:
    """The line of Maven's output that says why it failed."""
    lines = [line.strip() for line in re.sub(_COLOUR, "", output).splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith("[ERROR] ")), lines[-1] if lines else "it gave no reason")
    return re.sub(_GOAL_FAILED, "", first.removeprefix("[ERROR] ")).removesuffix("-> [Help 1]").strip().rstrip(".")
