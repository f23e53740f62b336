"""``racksort serve`` with candidates from Elasticsearch: what is wrong with it is one clear line, and it works."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from api.catalog.elastic.catalog import _PATIENCE_S, ElasticsearchCatalog, Options
from api.catalog.elastic.connection import Connection
from api.errors import CatalogInvalid
from api.metrics import Metrics
from racksort.dev.elasticsearch_server import EmbeddedElasticsearch
from tests.conftest import REPOSITORY, RealElasticsearch
from tests.e2e.test_serve import free_port, get, products, refused, serving
from tests.loading import load_folder
from tests.pace import RETRIED, UNHURRIED_VARIABLES, soon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def start_fails(connection: Connection, patience_s: float = 30.0) -> str:
    """The line that a start with this connection ends with."""

    async def attempt() -> None:
        catalog = await ElasticsearchCatalog.open(connection, Options(), Metrics(), patience_s=patience_s)
        await catalog.close()

    with pytest.raises(CatalogInvalid) as caught:
        asyncio.run(attempt())
    line = str(caught.value)
    assert "\n" not in line
    assert "Traceback" not in line
    return line


def test_an_address_where_nobody_listens_is_one_clear_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    environment = {"ELASTICSEARCH_URL": url, "RACKSORT_START_TIMEOUT_MS": "1000", "RACKSORT_CATALOG": "elasticsearch"}
    done = subprocess.run(
        [sys.executable, "-m", "racksort", "serve", "--port", str(free_port()), "--repository", str(REPOSITORY)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert url in line
    assert "set ELASTICSEARCH_URL" in line


def test_a_host_that_doesnt_exist_is_named() -> None:
    line = start_fails(Connection(("http://no-such-host.invalid:9200",)), patience_s=0.5)
    assert "no-such-host.invalid" in line


def test_something_else_than_elasticsearch_is_named() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"{}"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            line = start_fails(Connection((f"http://127.0.0.1:{server.server_port}",)))
        finally:
            server.shutdown()
            thread.join()
    assert "isn't Elasticsearch: set ELASTICSEARCH_URL" in line


@RETRIED
def test_a_catalog_that_was_never_loaded_is_one_clear_line(clean_elasticsearch: RealElasticsearch) -> None:
    with soon(_PATIENCE_S / 2):  # it isn't waited for, as an Elasticsearch would be that doesn't answer
        line = start_fails(clean_elasticsearch.connection, patience_s=60)
    assert "load one with `racksort catalog load`" in line


def test_a_key_that_isnt_one_is_one_clear_line(secured_elasticsearch: EmbeddedElasticsearch) -> None:
    connection = secured_elasticsearch.connection
    for key in (None, "bm8tc3VjaDprZXk="):
        assert "set ELASTICSEARCH_API_KEY to a valid key" in start_fails(replace(connection, api_key=key))


def test_an_authority_that_isnt_known_is_one_clear_line(secured_elasticsearch: EmbeddedElasticsearch) -> None:
    assert "set ELASTICSEARCH_CA_CERT" in start_fails(replace(secured_elasticsearch.connection, ca_cert=None))


@pytest.mark.slow
def test_pages_come_from_a_secured_elasticsearch_by_a_key_that_only_reads(
    secured_elasticsearch: EmbeddedElasticsearch, catalog_dir: Path, triton_address: str
) -> None:
    load_folder(secured_elasticsearch.connection, catalog_dir)
    environment = {
        "ELASTICSEARCH_URL": secured_elasticsearch.url,
        "ELASTICSEARCH_API_KEY": secured_elasticsearch.reader_key or "",
        "ELASTICSEARCH_CA_CERT": str(secured_elasticsearch.ca_cert),
        "RACKSORT_ELASTICSEARCH_TIMEOUT_MS": "20000",
    }
    options = ["--port", str(free_port()), "--triton", triton_address]
    embedded_options = ["--port", str(free_port()), "--triton", triton_address, "--catalog", str(catalog_dir)]
    with (
        serving(*options, "--source", "elasticsearch", environment=environment | UNHURRIED_VARIABLES) as (_, curl),
        serving(*embedded_options, environment=UNHURRIED_VARIABLES) as (_, other),
    ):
        ours, embedded = curl.split("/v1/")[0], other.split("/v1/")[0]
        for container in ("popular", "deals", "trending", "department-grocery"):
            for customer in (1, 7, 2_400):
                page = products(ours, container, customer)
                assert page["source"] == "ensemble"
                assert page["degraded"] is False
                expected = products(embedded, container, customer)
                # Each server has a key of its own for cursors.
                assert (page.pop("next_cursor") is None) == (expected.pop("next_cursor") is None)
                assert page == expected
        body = json.dumps({"customer_id": 1, "product_ids": page["product_ids"]}).encode()
        asked = urllib.request.Request(f"{ours}/v1/rank", data=body, headers={"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert json.load(answer)["degraded"] is False
        status, _, listed = get(f"{ours}/v1/containers")
        assert status == 200
        sizes = {each["container_id"]: each["size"] for each in get(f"{embedded}/v1/containers")[2]["containers"]}
        assert {each["container_id"]: each["size"] for each in listed["containers"]} == sizes


@pytest.mark.slow
def test_an_elasticsearch_is_started_where_none_is_named(catalog_dir: Path, triton_address: str) -> None:
    options = ["--port", str(free_port()), "--triton", triton_address, "--catalog", str(catalog_dir)]
    environment = UNHURRIED_VARIABLES | {"ELASTICSEARCH_URL": ""}
    with serving(*options, "--source", "elasticsearch", environment=environment) as (process, curl):
        page = get(curl)[2]
        assert page["source"] == "ensemble"
        assert page["degraded"] is False
    assert process.returncode in {0, 130}


def test_a_source_that_doesnt_exist_is_one_clear_line() -> None:
    assert "RACKSORT_CATALOG" in refused("--source", "solr")
