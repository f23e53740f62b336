from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from ensemble.data import catalog, dataset
from ensemble.data.dataset import Dataset, read_reference
from ensemble.errors import RacksortError
from racksort.commands import prepare
from tests.unit.data.reference import WEEKS, write_shop


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    folder = tmp_path / "shop"
    folder.mkdir()
    return read_reference(write_shop(folder))


@pytest.fixture
def reference(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The small shop in the place of the reference data."""
    monkeypatch.setattr(dataset, "load", lambda _source, _progress: shop)
    monkeypatch.setattr(dataset, "DEFAULT_WEEK", 12)
    return shop


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(prepare.command)
    result = CliRunner().invoke(app, arguments)
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_user_s_tables_become_a_catalog_of_the_week_after_them(shop: Dataset, tmp_path: Path, suffix: str) -> None:
    tables = {
        "products": shop.products.drop("category_id"),
        "purchases": shop.purchases.drop("week"),
        "promotions": shop.promotions,
    }
    arguments = ["--out", str(tmp_path / "catalog"), "--json"]
    for name, frame in tables.items():
        path = tmp_path / f"{name}.{suffix}"
        frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
        arguments += [f"--{name}", str(path)]
    info = json.loads(run(*arguments))
    assert info["now_week"] == WEEKS + 2
    found = pl.read_parquet(tmp_path / "catalog" / "products.parquet")
    catalog.build(shop, WEEKS + 2, tmp_path / "expected")
    # Purchases' weeks are derived from their days here: at this shop they are the same.
    assert found.equals(pl.read_parquet(tmp_path / "expected" / "products.parquet"))


def test_the_reference_data_s_week_is_the_first_test_week(reference: Dataset, tmp_path: Path) -> None:
    said = run("--out", str(tmp_path / "catalog"))
    assert f"{tmp_path / 'catalog'}: week 12, " in said
    assert catalog.is_current(tmp_path / "catalog", 12, reference.source)


@pytest.mark.parametrize("given", [("--products", "p.csv"), ("--purchases", "p.csv"), ("--promotions", "p.csv")])
def test_products_and_purchases_come_together(given: tuple[str, str]) -> None:
    with pytest.raises(RacksortError, match="needs both --products and --purchases"):
        run(*given)


@pytest.mark.usefixtures("reference")
def test_ensure_catalog_prepares_once(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    prepare.ensure_catalog(folder)
    made = (folder / "catalog.json").stat().st_mtime_ns
    prepare.ensure_catalog(folder)
    prepare.ensure_catalog(folder, 12)
    assert (folder / "catalog.json").stat().st_mtime_ns == made
    prepare.ensure_catalog(folder, 13)
    assert catalog.is_current(folder, 13)
    prepare.ensure_catalog(folder)
    assert catalog.is_current(folder, 13)


@pytest.mark.usefixtures("reference")
def test_ensure_catalog_never_replaces_a_user_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    prepare.ensure_catalog(folder)
    path = folder / "catalog.json"
    own = json.dumps(json.loads(path.read_text()) | {"source": "our shop"})
    path.write_text(own)
    prepare.ensure_catalog(folder)
    with pytest.raises(RacksortError, match="our shop's catalog of week 12, not 13"):
        prepare.ensure_catalog(folder, 13)
    path.write_text('{"schema_version": 1}')
    prepare.ensure_catalog(folder)
    assert path.read_text() == '{"schema_version": 1}'
