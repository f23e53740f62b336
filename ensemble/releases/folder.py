"""Sees that a model repository holds nothing that a Triton on it would load or run and that nobody vouches for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases.files import explained
from ensemble.releases.layout import Release
from ensemble.releases.lock import LOCK
from ensemble.releases.staging import STAGING

_FILES: Final = re.compile(re.escape(LOCK) + r"|releases\.json(\.new)?|\.releases\.json\.lock")
"""Files of racksort beside the models, which Triton doesn't look at: the locks and the document of releases."""


def check_folder(repository: Path, verified: Collection[Release]) -> None:
    """Refuse what is in a model repository beside releases that were verified.

    Triton takes each folder at the top for a model, each number in it for a version that it loads (the models'
    configurations say ``version_policy: all``), and runs a ``triton_python_backend_stub`` that lies beside them.

    Args:
        repository: the model repository.
        verified: its releases whose every file was looked at.

    Raises:
        RacksortError: something else is there, a configuration isn't the contract's, or something is a link.
    """
    with explained(repository, "the repository can't be verified"):
        foreign = sorted(_foreign(repository, verified))
    if foreign:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise RacksortError(
            f"{foreign[0]}: Triton may load or run it, and it isn't part of a release here that verifies; remove it, "
            f"or publish what it belongs to signed{more}"
        )


def _foreign(repository: Path, verified: Collection[Release]) -> Iterator[Path]:
    models = {model.name for model in contract.MODELS}
    ensembles = {release.name for release in verified}
    for path in repository.iterdir():
        if path.is_symlink():
            yield path
        elif path.name in models and path.is_dir():
            versions = {str(release.versions[path.name]) for release in verified}
            yield from _foreign_in_model(path, versions)
        elif path.is_dir():
            if path.name not in ensembles:
                yield path
        elif not (path.is_file() and _FILES.fullmatch(path.name)):
            yield path


def _foreign_in_model(folder: Path, versions: Collection[str]) -> Iterator[Path]:
    """What is in a model's folder beside its configurations, the ``versions`` and what racksort stages there."""
    name = folder.name
    expected = {path: text for path, text in configs.generate().items() if path.startswith(f"{name}/")}
    for path in folder.iterdir():
        if path.is_symlink():
            yield path
        elif path.is_dir():
            staged = name == contract.RANKING.name and STAGING.fullmatch(path.name)
            if path.name == Path(configs.GPU_CONFIG).parent.name:
                yield from (each for each in path.iterdir() if not _is(each, f"{name}/configs/{each.name}", expected))
            elif path.name not in versions and not staged:
                yield path
        elif not _is(path, f"{name}/{path.name}", expected):
            yield path


def _is(file: Path, name: str, expected: dict[str, str]) -> bool:
    """Whether a file is the configuration that the contract gives at this place."""
    if name not in expected or file.is_symlink() or not file.is_file():
        return False
    return file.read_bytes() == expected[name].encode()
