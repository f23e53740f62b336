"""Releases to publish: made of the committed one, or small ones of which only the layout is real."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

from ensemble import configs, contract
from ensemble.releases.layout import Release, numbers_in, release_in
from tests.conftest import REPOSITORY

HISTORY_UNTIL_DAY = 17_483.25


def small(repository: Path, number: int, content: str = "", versions: dict[str, int] | None = None) -> Path:
    """Write a release whose models are a few bytes, ``content`` among them; returns the repository."""
    pinned = {model.name: number for model in contract.MODELS} | (versions or {})
    for model in contract.ONNX_MODELS:
        put(repository / model.name / str(pinned[model.name]) / "model.onnx", f"{model.name} {number} {content}")
    ranking = repository / contract.RANKING.name / str(pinned[contract.RANKING.name])
    for name in ("model.py", "ranking.py"):
        put(ranking / name, f"# {name} {content}\n")
    shutil.copyfile(REPOSITORY / "ranking" / "1" / "settings.json", ranking / "settings.json")
    configs.write(repository, _configs(number, tuple(pinned.items())))
    extras = repository / contract.ensemble_name(number) / "1"
    put(extras / "weights.npz", f"weights {number} {content}")
    put(extras / "training.json", json.dumps({"week": 47, "seed": number}))
    return repository


@functools.cache
def _configs(number: int, pinned: tuple[tuple[str, int], ...]) -> dict[str, str]:
    return configs.generate(number, dict(pinned), HISTORY_UNTIL_DAY)


def put(path: Path, text: str) -> None:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def releases_in(repository: Path) -> list[Release]:
    """All releases of a repository, in the order of their numbers; an error where one of them isn't whole."""
    return [release_in(repository, number) for number in numbers_in(repository)]
