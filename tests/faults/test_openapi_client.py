"""A client that openapi-python-client generates from the document works: typed calls, problems, explanations."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.faults.edge import ROOT, server_process
from tests.pace import UNHURRIED_VARIABLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PACKAGE = "generated_racksort_client"


def _run(*command: object) -> None:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator, in an environment of its own."""
    environment = tmp_path_factory.mktemp("generator") / "venv"
    uv = Path(sys.executable).parent / "uv"
    lock = ROOT / "requirements" / "openapi-client.txt"
    _run(uv, "venv", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    _run(uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock)
    return environment / "bin" / "openapi-python-client"


@pytest.fixture(scope="module")
def client(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The generated package."""
    from api.app import create_app
    from api.settings import Settings

    folder = tmp_path_factory.mktemp("client")
    document, config = folder / "openapi.json", folder / "config.json"
    document.write_text(json.dumps(create_app(Settings()).openapi()))
    config.write_text(json.dumps({"post_hooks": []}))
    _run(
        *(generator, "generate", "--path", document, "--config", config, "--meta", "none"),
        *("--output-path", folder / PACKAGE, "--fail-on-warning"),
    )
    sys.path.insert(0, str(folder))
    yield importlib.import_module(PACKAGE)
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def part(client: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{client.__name__}.{name}")


async def test_every_operation_can_be_called(client: ModuleType) -> None:
    models = part(client, "models")
    async with (
        server_process(**UNHURRIED_VARIABLES) as server,
        client.Client(base_url=f"http://127.0.0.1:{server.port}") as to,
    ):

        async def call(name: str, **arguments: Any) -> Any:
            return await part(client, f"api.{name}").asyncio(client=to, **arguments)

        (deals, *_) = (await call("products.containers")).containers
        assert deals.container_id == "deals"
        assert deals.kind is models.Kind.LIST
        page = await call("products.products", container_id="deals", customer_id=5, limit=3)
        assert isinstance(page, models.Page)
        assert page.source is models.Source.ENSEMBLE
        assert len(page.product_ids) == 3
        explained = await call("products.products", container_id="deals", customer_id=5, limit=3, why_not=2_500)
        assert [each.product_id for each in explained.explanations] == page.product_ids
        assert explained.explanations[0].components.preference > 0
        assert explained.why_not.reason is models.Reason.UNKNOWN_PRODUCT
        body = models.RankRequest(product_ids=[9, 5, 7], recent=[models.RecentEvent(product_id=9, age_days=0.5)])
        ranked = await call("products.rank", body=body, x_timeout_ms=900)
        assert sorted(ranked.product_ids) == [5, 7, 9]
        problem = await call("products.products", container_id="nope")
        assert isinstance(problem, models.Problem)
        assert problem.status == 404
        wrong = await call("products.products", container_id="deals", limit=500)
        assert [each.field for each in wrong.errors] == ["limit"]
        assert (await call("operation.livez")).status == "alive"
        assert (await call("operation.readyz")).status == "ready"
        assert "racksort_ready 1.0" in await call("operation.metrics")
