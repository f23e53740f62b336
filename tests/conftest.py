"""Fixtures that more than one suite uses. Servers get free ports and end with the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, settings

from api.catalog.elastic.connection import Connection
from api.settings import Settings
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from racksort.commands.prepare import ensure_catalog
from racksort.dev.elasticsearch_server import ElasticsearchOptions, EmbeddedElasticsearch
from racksort.dev.errors import NotProvisioned
from racksort.dev.provision import Distribution, provision
from racksort.dev.valkey_server import EmbeddedValkey, executable
from tests.alone import pytest_collection_modifyitems  # noqa: F401 - a hook of pytest
from tests.pace import pytest_runtest_call  # noqa: F401 - the same

REPOSITORY = Path(__file__).parent.parent / "model_repository"

# A machine that is busy with something else changes nothing.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


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


@dataclass(frozen=True, slots=True)
class RealElasticsearch:
    """An Elasticsearch to test against. Index names are all that separates tests: start them with ``racksort-``."""

    connection: Connection
    server: EmbeddedElasticsearch | None = None
    """None where it is one that ELASTICSEARCH_URL names."""


def _distribution() -> Distribution:
    """What the embedded Elasticsearch needs; else the test is skipped, or fails where REQUIRE_ES=1 asks for that."""
    try:
        return provision()
    except NotProvisioned as error:
        if os.environ.get("REQUIRE_ES") == "1":
            pytest.fail(f"REQUIRE_ES=1: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[RealElasticsearch]:
    """The Elasticsearch that ELASTICSEARCH_URL names, else a real one that ends with the session."""
    settings = Settings.load()
    if settings.elasticsearch_url is not None:
        yield RealElasticsearch(settings.connection)
        return
    with EmbeddedElasticsearch(_distribution()) as server:
        yield RealElasticsearch(server.connection, server)


@pytest.fixture
def clean_elasticsearch(elasticsearch: RealElasticsearch) -> RealElasticsearch:
    """The same without indices and index templates named ``racksort-*``."""
    if elasticsearch.server is None and os.environ.get("TEST_CLEAN_ELASTICSEARCH") != "1":
        pytest.fail(
            "this test deletes every index racksort-* of the Elasticsearch that ELASTICSEARCH_URL names: set "
            "TEST_CLEAN_ELASTICSEARCH=1 if it may, or unset ELASTICSEARCH_URL",
            pytrace=False,
        )
    with elasticsearch.connection.synchronous() as client:
        clean(client)
    return elasticsearch


def clean(client: Elasticsearch) -> None:
    """Delete the indices and the index templates named ``racksort-*``, each by its name."""
    for index in client.indices.get(index="racksort-*", expand_wildcards="all", features="aliases"):
        client.indices.delete(index=index)
    for template in client.indices.get_index_template()["index_templates"]:
        if template["name"].startswith("racksort-"):
            client.indices.delete_index_template(name=template["name"])


@pytest.fixture(scope="session")
def secured_elasticsearch() -> Iterator[EmbeddedElasticsearch]:
    """A real one with TLS and API keys, of the tests' own."""
    with EmbeddedElasticsearch(_distribution(), ElasticsearchOptions(secured=True)) as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A real Valkey or Redis server of the tests' own; what is in it is whoever's test runs."""
    require_valkey()
    with EmbeddedValkey() as server:
        yield server


def require_valkey() -> None:
    """Skip the test where no server is installed, or fail it where REQUIRE_VALKEY=1 asks for that."""
    try:
        executable()
    except NotProvisioned as error:
        if os.environ.get("REQUIRE_VALKEY") == "1":
            pytest.fail(f"REQUIRE_VALKEY=1: {error}", pytrace=False)
        pytest.skip(str(error))
