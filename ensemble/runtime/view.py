"""The part of a model repository that one server sees: the releases it shall serve, as links in a folder of its own.

Triton loads every version folder of a model that it finds, and one corrupt folder can keep the whole model from loading
when the server starts. It follows links (measured on the wheel's Triton 2.51), so a folder that nobody wants is simply
not linked. A version that is added or taken away is loaded or unloaded with the next load of an ensemble that uses the
model, and its other versions serve on without being loaded again (measured), as long as nothing in them changes: so a
version here is a folder of its own, in which Python can't put a cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ensemble import configs, contract
from ensemble.releases.layout import release_in

_OF_EVERY_MODEL: Final = (configs.CONFIG, Path(configs.GPU_CONFIG).parent.name)

_CACHE: Final = "__pycache__"
"""Appears in a version's folder when its Python code is loaded, and Triton would load that version again for it, with
the next release; the variable that forbids Python to write it doesn't reach Triton's Python (measured)."""


class View:
    """A folder of links into a repository. For one thread at a time."""

    def __init__(self, repository: Path, folder: Path) -> None:
        """Show nothing yet; ``folder`` is made."""
        self._repository = repository.resolve()
        self.folder = folder
        self.releases: tuple[int, ...] = ()
        """What is shown."""
        self._links: dict[int, dict[Path, Path]] = {}
        """What belongs to each release that is shown, here and in the repository."""
        folder.mkdir()
        for model in contract.MODELS:
            (folder / model.name).mkdir()
            for name in _OF_EVERY_MODEL:
                if (target := self._repository / model.name / name).exists():
                    (folder / model.name / name).symlink_to(target)

    def show(self, releases: Iterable[int]) -> None:
        """From now on these releases and no others. Those that are shown already needn't be in the repository any more.

        Raises:
            RacksortError: a new release isn't in the repository, or is incomplete; nothing has changed then.
        """
        releases = tuple(dict.fromkeys(releases))
        links = {number: self._links.get(number) or self._links_of(number) for number in releases}
        wanted = {here: target for each in links.values() for here, target in each.items()}
        for found in self._shown():
            if found not in wanted:
                _remove(found)
        for here, target in wanted.items():
            if here.parent == self.folder:
                if not here.is_symlink():
                    here.symlink_to(target)
            elif not here.exists():
                _link_entries(here, target)
        self.releases, self._links = releases, links

    def _links_of(self, release: int) -> dict[Path, Path]:
        found = release_in(self._repository, release)
        versions = {self.folder / model / path.name: path for model, path in found.version_dirs.items()}
        return {self.folder / found.name: found.ensemble_dir, **versions}

    def pinning(self, model: str, version: str) -> tuple[int, ...]:
        """The releases among those shown that use a version of a model; from any thread."""
        return tuple(number for number, links in self._links.items() if self.folder / model / version in links)

    def _shown(self) -> list[Path]:
        """What is here of releases: links to ensembles, and folders of versions."""
        found = [path for path in self.folder.iterdir() if path.is_symlink()]
        for model in contract.MODELS:
            found += [path for path in (self.folder / model.name).iterdir() if path.name not in _OF_EVERY_MODEL]
        return found


def _link_entries(folder: Path, target: Path) -> None:
    """A folder with links to what is in another, and a file where Python would put its cache."""
    folder.mkdir()
    for entry in target.iterdir():
        if entry.name != _CACHE:
            (folder / entry.name).symlink_to(entry)
    (folder / _CACHE).touch()


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
