"""What is measured of ever more containers, and its picture."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from api.catalog.embedded import EmbeddedCatalog
from api.types import Kind
from ensemble.errors import RacksortError
from loadtest.containers import SIZES, Case, write_catalog
from loadtest.measurement import Measurement
from racksort.cli import app
from racksort.containers_plot import draw

PRODUCTS = 1_200


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A catalog of which one product in ten isn't available."""
    return catalog(tmp_path / "source", PRODUCTS)


def catalog(folder: Path, products: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    columns = {
        "product_id": np.arange(1, products + 1) * 7,
        "category_id": np.ones(products, np.int32),
        "popularity": rng.random(products).astype(np.float32),
        "available": np.arange(products) % 10 > 0,
    }
    pl.DataFrame(columns).write_parquet(folder / "products.parquet")
    (folder / "containers.json").write_text("[]")
    (folder / "catalog.json").write_text(json.dumps({"schema_version": 1}))
    return folder


def case(containers: int) -> Case:
    load = Measurement(64, 5.0, 5_000, 0, 12.0, 11.0, 20.0)
    return Case(containers, 3.0, 200.0, dict.fromkeys(SIZES, load), {kind: {"adapter": 90.0} for kind in SIZES}, {})


def test_every_container_has_its_kinds_number_of_products_and_no_two_the_same(source: Path, tmp_path: Path) -> None:
    write_catalog(source, tmp_path / "made", 30)
    made = EmbeddedCatalog.open(tmp_path / "made")
    listed = asyncio.run(made.containers())
    assert [sum(each.kind is kind for each in listed) for kind in (Kind.LIST, Kind.GRID)] == [30, 30]
    pools = [asyncio.run(made.pool(each.container_id)).product_id for each in listed]
    assert [pool.size for pool in pools] == [SIZES[each.kind.value] for each in listed]
    assert len({pool.tobytes() for pool in pools}) == 60


def test_more_containers_than_there_are_places_begin_again(source: Path, tmp_path: Path) -> None:
    write_catalog(source, tmp_path / "made", PRODUCTS)
    made = EmbeddedCatalog.open(tmp_path / "made")
    pools = [asyncio.run(made.pool(f"grid-{number}")).product_id.tolist() for number in range(PRODUCTS)]
    places = PRODUCTS * 9 // 10 - SIZES["grid"] + 1
    assert len({tuple(pool) for pool in pools}) == places
    assert pools[places] == pools[0]


def test_too_few_products_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match=r"900 products are available: a grid .* needs 1,024"):
        write_catalog(catalog(tmp_path / "small", 1_000), tmp_path / "made", 1)


def test_no_catalog_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match="run `racksort prepare` first"):
        write_catalog(tmp_path / "none", tmp_path / "made", 1)


def test_the_picture_has_each_kind_and_is_the_same_each_time() -> None:
    cases = [case(count) for count in (1, 10, 100)]
    drawn = draw(cases)
    assert drawn == draw(cases)
    assert ">lists of 128<" in drawn
    assert ">grids of 1,024<" in drawn


def test_counts_that_are_none_are_named() -> None:
    shown = CliRunner().invoke(app, ["dev", "scale", "containers", "--counts", "10,many"])
    assert shown.exit_code == 2
    assert "--counts" in shown.output
