"""Fixtures that more than one suite uses. Servers get free ports and end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from racksort.commands.prepare import ensure_catalog

REPOSITORY = Path(__file__).parent.parent / "model_repository"


@pytest.fixture(scope="session")
def triton() -> Iterator[EmbeddedTriton]:
    """The real server on the committed release."""
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as server:
        yield server


@pytest.fixture(scope="session")
def triton_address(triton: EmbeddedTriton) -> str:
    """HOST:PORT of the real server's gRPC endpoint."""
    return triton.address


@pytest.fixture(scope="session")
def catalog_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference catalog as the committed release expects it; prepared once for every suite."""
    folder = tmp_path_factory.mktemp("reference") / "catalog"
    ensure_catalog(folder)
    return folder
