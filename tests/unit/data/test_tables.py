from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from ensemble.data import dataset, schema
from ensemble.data.dataset import DataSource
from ensemble.data.tables import read_table
from ensemble.errors import RacksortError

PURCHASES: dict[str, list[object]] = {
    "customer_id": [1, 1, 2],
    "basket_id": [10, 10, 11],
    "product_id": [5, 6, 5],
    "day": [19_000.5, 19_000.5, 19_008.25],
    "value": [2.5, 1.0, 5.0],
}
PRODUCTS: dict[str, list[object]] = {"product_id": [6, 5], "leaf_category": ["SODA", "CHIPS"]}


def write(path: Path, columns: dict[str, list[object]]) -> Path:
    frame = pl.DataFrame(columns)
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_user_s_tables_become_a_dataset(tmp_path: Path, suffix: str) -> None:
    source = DataSource(write(tmp_path / f"products{suffix}", PRODUCTS), write(tmp_path / f"bought{suffix}", PURCHASES))
    data = dataset.load(source)
    assert data.products["product_id"].to_list() == [5, 6]
    assert data.products["category_id"].to_list() == [1, 2]  # CHIPS before SODA
    assert data.products["department"].to_list() == ["", ""]
    assert data.purchases["quantity"].to_list() == [1.0, 1.0, 1.0]
    assert data.purchases["regular_value"].to_list() == [2.5, 1.0, 5.0]
    assert (data.purchases["week"].diff().drop_nulls() >= 0).all()
    assert data.purchases["week"][-1] == data.purchases["week"][0] + 1
    assert data.promotions.is_empty()
    assert data.promotions.schema == {column.name: column.dtype for column in schema.PROMOTIONS}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_days_may_be_dates_and_times(tmp_path: Path, suffix: str) -> None:
    days: list[object] = [datetime(2022, 1, 8, 12), datetime(2022, 1, 8, 12), datetime(2022, 1, 16, 6)]
    columns = {**PURCHASES, "day": days}
    frame = read_table(write(tmp_path / f"bought{suffix}", columns), schema.PURCHASES)
    assert frame["day"].to_list() == PURCHASES["day"]


def test_a_missing_column_is_named_with_its_meaning(tmp_path: Path) -> None:
    columns = {name: values for name, values in PURCHASES.items() if name != "value"}
    path = write(tmp_path / "bought.csv", columns)
    with pytest.raises(RacksortError, match=r"bought\.csv: column 'value' is missing: add it \(a number \(currency\)"):
        read_table(path, schema.PURCHASES)


@pytest.mark.parametrize(
    ("column", "values", "line"),
    [
        ("value", ["2.5", "a lot", "5"], r"column 'value' holds String values such as '2\.5': make it a number"),
        ("value", [2.5, None, 5.0], r"column 'value' has 1 missing values: fill them"),
        (
            "product_id",
            [1.0, 2.5, 3.0],
            r"column 'product_id' holds Float64 values such as 2\.5: make it a whole number",
        ),
        ("product_id", [-1, 2, 3], r"column 'product_id' holds -1: products are numbered 1 or higher"),
        ("day", [1.7e9, 1.7e9, 1.7e9], r"column 'day' holds 1\.7e\+09: it counts days since 1970, not seconds"),
        ("day", [float("nan"), 1.0, 2.0], r"column 'day' holds NaN or infinity"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, column: str, values: list[object], line: str) -> None:
    source = DataSource(
        write(tmp_path / "products.parquet", PRODUCTS),
        write(tmp_path / "bought.parquet", {**PURCHASES, column: values}),
    )
    with pytest.raises(RacksortError, match=rf"bought\.parquet: {line}") as caught:
        dataset.load(source)
    assert "\n" not in str(caught.value)


def test_purchases_of_nothing_are_refused(tmp_path: Path) -> None:
    source = DataSource(
        write(tmp_path / "products.csv", PRODUCTS),
        write(tmp_path / "bought.csv", {**PURCHASES, "quantity": [0.0, 0.0, -1.0]}),
    )
    with pytest.raises(RacksortError, match=r"bought\.csv: holds no purchases"):
        dataset.load(source)


def test_a_product_described_twice_is_refused(tmp_path: Path) -> None:
    twice: dict[str, list[object]] = {"product_id": [5, 5], "leaf_category": ["SODA", "CHIPS"]}
    source = DataSource(write(tmp_path / "products.csv", twice), write(tmp_path / "bought.csv", PURCHASES))
    with pytest.raises(RacksortError, match="holds 5 more than once"):
        dataset.load(source)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.csv", None, "no such file"),
        ("table.xlsx", b"", r"use a name that ends in \.parquet or \.csv"),
        ("table.parquet", b"not parquet", "not a readable parquet file"),
        ("table.csv", b"", "not a readable csv file"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes | None, line: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RacksortError, match=line):
        read_table(path, schema.PRODUCTS)
