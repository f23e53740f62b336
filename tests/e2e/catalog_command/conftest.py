"""An Elasticsearch without a catalog."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from tests.conftest import RealElasticsearch


@pytest.fixture
def connection(clean_elasticsearch: RealElasticsearch) -> Connection:
    return clean_elasticsearch.connection


@pytest.fixture
def client(connection: Connection) -> Iterator[Elasticsearch]:
    with connection.synchronous() as found:
        yield found
