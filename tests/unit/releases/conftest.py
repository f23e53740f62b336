"""A repository and an adapter for the tests of the verbs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.releases import store
from ensemble import configs, contract
from tests.conftest import REPOSITORY
from tests.unit.releases.verbs import Adapter, serving


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Releases 1 and 2, as far as the verbs look."""
    folder = tmp_path / "models"
    shutil.copytree(
        REPOSITORY, folder, ignore=shutil.ignore_patterns("*.onnx", "*.npz", "__pycache__", "releases.json*")
    )
    for model in contract.MODELS:
        (folder / model.name / "1").mkdir(exist_ok=True)
        shutil.copytree(folder / model.name / "1", folder / model.name / "2")
    configs.write(folder, configs.generate(2, {model.name: 2 for model in contract.MODELS}))
    return folder


@pytest.fixture
def adapter(repository: Path) -> Iterator[Adapter]:
    with serving(repository / store.NAME) as made:
        yield made
