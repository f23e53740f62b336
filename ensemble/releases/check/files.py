"""Whether a candidate's folder holds one release, whole, and nothing else."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import Final

from ensemble import configs, contract
from ensemble.releases.check import contents
from ensemble.releases.check.finding import Faults, Result, Severity, servable
from ensemble.releases.check.options import Options
from ensemble.releases.golden import GOLDEN
from ensemble.releases.layout import CARD, CHECK, MANIFEST, SIGNATURE, TRAINING, Release, tables_in
from ensemble.releases.lock import LOCK

MODEL_FILE: Final = "model.onnx"
RANKING_FILES: Final = ("model.py", "ranking.py", "settings.json")
_MEGABYTE: Final = 1e6
_AGAIN: Final = "write the candidate again with `racksort train`"


def check(release: Release, options: Options) -> Result:
    """Every file that must be there is, as a plain file, and no other; their sizes; weights and training's record."""
    faults = Faults("files")
    needed, allowed = _expected(release)
    allowed |= _tables(release)
    found = _plain_files(release.repository, allowed, faults)
    sizes = {path: status.st_size for path, status in found.items()}
    for path in sorted(sizes.keys() - allowed):
        if "/__pycache__/" in path:
            continue  # its folder was named
        faults.add(path, "doesn't belong to the release", "remove it")
    _check_links(faults, found)
    for path in sorted(needed):
        # Triton reads nothing of what belongs to the release as a whole.
        severity = Severity.REFUSED if path.startswith(f"{release.name}/1/") else Severity.UNSERVABLE
        if not os.path.lexists(release.repository / path):
            faults.add(path, "is missing", _AGAIN, severity)
        elif sizes.get(path) == 0:
            faults.add(path, "is empty", _AGAIN, severity)
    _check_sizes(faults, sizes, options)
    if servable(faults.found):  # no link among them
        contents.check(release, faults, options.release_mb * _MEGABYTE)
    total = sum(sizes.values())
    return faults.result(
        f"{len(sizes)} files, {total / _MEGABYTE:.1f} MB", {"bytes": {path: sizes[path] for path in sorted(sizes)}}
    )


def check_configs(release: Release, options: Options, today: float) -> Result:
    """The configurations are those that the contract gives for what the release pins.

    Args:
        release: the candidate.
        options: whether quality is measured, for which the end of the tables must be known.
        today: days since 1970-01-01 UTC, after which no tables end.
    """
    faults = Faults("configs")
    wanted = configs.generate(release.number, release.versions, release.history_until_day)
    for path, text in wanted.items():
        full = release.repository / path
        if full.is_symlink() or not full.is_file():
            continue  # the files' check has said so
        try:
            found = full.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            faults.add(path, f"can't be read ({error})", "write it with `racksort configs --write`")
            continue
        if found != text:
            differing = next(
                (n for n, (a, b) in enumerate(zip(found.splitlines(), text.splitlines(), strict=False), 1) if a != b),
                min(found.count("\n"), text.count("\n")) + 1,
            )
            faults.add(
                path,
                f"line {differing} isn't what this racksort's contract gives",
                "write it with `racksort configs --write`, or use the racksort that the release was made for",
            )
    where, until = f"{release.name}/{configs.CONFIG}", release.history_until_day
    if until is None:
        measured = "quality" not in options.skip
        faults.add(
            where,
            f"has no parameter {contract.HISTORY_UNTIL_DAY}, so nobody knows from when on the release may be asked, "
            f"nor on which week to measure it",
            f"{_AGAIN}, or leave its quality out with --skip quality" if measured else _AGAIN,
            Severity.REFUSED if measured else Severity.WARNING,
        )
    elif until > today + 1:
        faults.add(
            where,
            f"says that the tables end on day {until:g} (since 1970), which is {until - today:,.0f} days from now",
            _AGAIN,
        )
    return faults.result(f"{len(wanted)} configurations")


def plain(release: Release, path: Path) -> bool:
    """Whether a file may be opened: a regular file, with no link on its way from the repository."""
    at = path
    while at not in (release.repository, at.parent):
        if at.is_symlink():
            return False
        at = at.parent
    return path.is_file()


def too_large(size: int, options: Options) -> bool:
    """Whether an ONNX file of ``size`` bytes is above the bound of one model."""
    return size > options.model_mb * _MEGABYTE


def _expected(release: Release) -> tuple[set[str], set[str]]:
    """Paths that must be there, and all that may."""
    needed = set(configs.generate(release.number, release.versions, release.history_until_day))
    for model in contract.ONNX_MODELS:
        needed.add(f"{model.name}/{release.versions[model.name]}/{MODEL_FILE}")
    ranking = f"{contract.RANKING.name}/{release.versions[contract.RANKING.name]}"
    needed.update(f"{ranking}/{name}" for name in RANKING_FILES)
    extras = f"{release.name}/1"
    needed.update(f"{extras}/{name}" for name in (contents.WEIGHTS, TRAINING, GOLDEN))
    return needed, needed | {LOCK} | {f"{extras}/{name}" for name in (MANIFEST, SIGNATURE, CARD, CHECK, ".gitkeep")}


def _tables(release: Release) -> set[str]:
    """Paths of the models' table files; whether the models use them is told by their ONNX files."""
    folders = (release.version_dirs[model.name] for model in contract.ONNX_MODELS)
    return {path.relative_to(release.repository).as_posix() for folder in folders for path in tables_in(folder)}


def process_bytes(release: Release, options: Options) -> int:
    """Memory that a process may have which reads or runs models: ONNX Runtime's maps of their tables count as such."""
    tables = (release.repository / path for path in _tables(release))
    return options.process_bytes + sum(path.lstat().st_size for path in tables)


def _walk(repository: Path) -> list[tuple[str, os.stat_result]]:
    """Everything below the repository with its status; links aren't followed."""
    found = []
    for at, folders, names in os.walk(repository):
        for name in (*folders, *names):
            path = Path(at) / name
            found.append((path.relative_to(repository).as_posix(), path.lstat()))
    return sorted(found, key=lambda entry: entry[0])


def _plain_files(repository: Path, allowed: set[str], faults: Faults) -> dict[str, os.stat_result]:
    """Every regular file; what is neither that nor a folder of the release is a fault."""
    found = {}
    for path, status in _walk(repository):
        if stat.S_ISREG(status.st_mode):
            found[path] = status
        elif not stat.S_ISDIR(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "neither a file nor a folder"
            faults.add(path, kind, "put the file itself there", Severity.UNSERVABLE)
        elif path.endswith("/__pycache__"):
            faults.add(path, "Python's cache of a Triton that served this folder, which would run unread", "remove it")
        elif not any(known.startswith(f"{path}/") for known in allowed):
            faults.add(path, "a folder that doesn't belong to the release", "remove it")
    return found


def _check_links(faults: Faults, found: dict[str, os.stat_result]) -> None:
    """Files that have another name outside of the folder, through which they could change."""
    names = Counter((status.st_dev, status.st_ino) for status in found.values())
    for path, status in found.items():
        if status.st_nlink > names[status.st_dev, status.st_ino]:
            faults.add(path, "a hard link to a file outside of the folder", "copy the file", Severity.UNSERVABLE)


def _check_sizes(faults: Faults, sizes: dict[str, int], options: Options) -> None:
    for path, size in sizes.items():
        if path.endswith(".onnx") and too_large(size, options):
            faults.add(
                path,
                f"{size / _MEGABYTE:,.1f} MB, more than the {options.model_mb:g} MB of a model",
                "make its tables smaller, or raise --model-mb",
                Severity.UNSERVABLE,
            )
    if (total := sum(sizes.values())) > options.release_mb * _MEGABYTE:
        faults.add(
            "all files",
            f"{total / _MEGABYTE:,.1f} MB, more than the {options.release_mb:g} MB of a release",
            "make its tables smaller, or raise --release-mb",
        )
