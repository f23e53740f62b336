"""The checks of whole columns find what looking at one value at a time finds, whatever file the rows come from."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.elastic.schema import FIELD_TYPES
from api.catalog.loading import columns, documents
from api.catalog.loading.checks import check
from api.catalog.loading.rows import chunks
from api.catalog.loading.seen import Seen
from api.errors import CatalogInvalid
from tests.unit.loading.oracle import expected

NAMES = ("product_id", "category_id", "available", "brand", "first_week", "popularity", "coupon", "boost")
GOOD = {"product_id": 1, "category_id": 2, "available": True}


def checked(path: Path, size: int = 3) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Documents, and lines and reasons of the bad rows."""
    seen, good, bad = Seen(), [], []
    for chunk in chunks(path, size):
        found = check(chunk, FIELD_TYPES, columns.REQUIRED, seen)
        good += [orjson.loads(document.body) for document in documents.whole(found, path)]
        bad += [(row.line, row.reason) for row in found.bad]
        assert found.lines.size + len(found.bad) == chunk.rows
    return good, bad


def same(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether documents agree, their numbers as float32 where the field is one."""
    return [as_held(document) for document in found] == [as_held(document) for document in wanted]


def as_held(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(np.float32(value)) if FIELD_TYPES[name] == "float" else value for name, value in document.items()
    }


INTEGERS = st.one_of(
    st.integers(-2, 9), st.sampled_from([2**15 - 1, 2**15, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63])
)
FLOATS = st.one_of(
    st.sampled_from([-0.5, 0.1, 1.0, 3.0, 1e38, 1e39, -1e39, 1e300]), st.floats(allow_nan=False, allow_infinity=False)
)
ODD = st.sampled_from([math.nan, math.inf, -math.inf])


ODD_VALUES = st.one_of(INTEGERS, FLOATS, st.booleans(), st.none(), st.sampled_from(["x", "1", ""]))
USUAL = st.fixed_dictionaries(
    {"product_id": st.integers(1, 30), "category_id": st.integers(0, 3), "available": st.booleans()}
)
USUAL_CELLS = st.fixed_dictionaries(
    {name: st.just("") for name in NAMES}
    | {"product_id": st.integers(1, 30).map(str), "category_id": st.sampled_from("02"), "available": st.just("true")}
)


def mixed(usual: st.SearchStrategy[dict[str, Any]], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Rows that are mostly right."""
    slips = st.dictionaries(st.sampled_from(NAMES), odd, max_size=3)
    return st.lists(st.builds(lambda row, slip: row | slip, usual, slips), max_size=12)


@settings(deadline=None, max_examples=60)
@given(mixed(USUAL, ODD_VALUES))
def test_rows_of_json_lines(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        good, bad = checked(path)
    wanted, places = expected(rows, text=False)
    assert [line - 1 for line, _ in bad] == places
    assert same(good, wanted)


CELL = st.sampled_from(
    [
        "",
        "0",
        "1",
        "2",
        "7",
        "-1",
        "1.0",
        "1.5",
        "1e1",
        "x",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e39",
        "true",
        "FALSE",
        "0x1",
        "32768",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "1_0",
        " 1",
    ]
)


@settings(deadline=None, max_examples=60)
@given(mixed(USUAL_CELLS, CELL))
def test_rows_of_csv(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, NAMES)
            writer.writeheader()
            writer.writerows(rows)
        good, bad = checked(path)
    # Python reads 1_0 and " 1" as numbers; in a file they are slips.
    cells = [
        {name: (cell if cell not in {"1_0", " 1"} or name == "brand" else "x") or None for name, cell in row.items()}
        for row in rows
    ]
    wanted, places = expected(cells, text=True)
    assert [line - 2 for line, _ in bad] == places
    assert same(good, wanted)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.fixed_dictionaries({
    "product_id": st.one_of(st.none(), st.integers(-1, 30)),
    "category_id": st.one_of(st.none(), st.sampled_from([0.0, 1.0, 1.5, -1.0, math.nan, math.inf, 2.0**31])),
    "available": st.one_of(st.none(), st.booleans()),
    "brand": st.one_of(st.none(), st.just("National")),
    "first_week": st.one_of(st.none(), st.sampled_from([1.0, 40_000.0, math.nan])),
    "popularity": st.one_of(st.none(), FLOATS, ODD),
    "coupon": st.one_of(st.none(), FLOATS, ODD),
    "boost": st.one_of(st.none(), FLOATS, ODD),
}), max_size=12))  # fmt: skip
def test_rows_of_parquet(rows: list[dict[str, Any]]) -> None:
    schema = {
        "product_id": pl.Int64, "category_id": pl.Float64, "available": pl.Boolean, "brand": pl.String,
        "first_week": pl.Float32, "popularity": pl.Float64, "coupon": pl.Float64, "boost": pl.Float64,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.parquet"
        pl.DataFrame(rows, schema=schema).write_parquet(path)
        good, bad = checked(path)
    wanted, places = expected(rows, text=False)
    assert [line - 1 for line, _ in bad] == places
    assert same(good, wanted)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"product_id": 0}, "column 'product_id' holds 0: 1 is the lowest allowed"),
        ({"product_id": "7"}, "column 'product_id' holds '7': write a whole number between -2^63 and 2^63 - 1"),
        ({"product_id": None}, "column 'product_id' is empty: it must hold something in every row"),
        ({"product_id": 9}, "column 'product_id' holds 9 again: keep one row of it"),
        ({"category_id": 1.5}, "column 'category_id' holds 1.5: write a whole number between -2^31 and 2^31 - 1"),
        ({"category_id": -1}, "column 'category_id' holds -1: 0 is the lowest allowed"),
        ({"available": 1}, "column 'available' holds 1: write true or false"),
        ({"brand": 5}, "column 'brand' holds 5: write a text"),
        ({"price": 1e39}, "column 'price' holds 1e+39: write a number that a float32 can hold"),
        ({"coupon": "yes"}, "column 'coupon' holds 'yes': write a number"),
        ({"boost": "much"}, "column 'boost' holds 'much': write a number, or -inf to take the product out"),
        ({"brand": ["A"]}, "column 'brand' holds ['A']: write a text"),
        ({"colour": "red"}, "field 'colour' isn't in the first rows: give it there too, null where nothing is known"),
    ],
)
def test_a_reason_names_column_value_and_remedy(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = tmp_path / "products.jsonl"
    rows = [GOOD | {"product_id": 9}, GOOD | change, GOOD | {"product_id": 8}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    good, bad = checked(path)
    assert bad == [(2, reason)]
    assert [document["product_id"] for document in good] == [9, 8]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=12))
def test_a_product_is_seen_once(batches: list[list[int]]) -> None:
    seen, known = Seen(), set[int]()
    for batch in batches:
        repeated = seen.add(np.array(batch, np.int64)).tolist()
        for product, again in zip(batch, repeated, strict=True):
            assert again == (product in known)
            known.add(product)


def write(path: Path, values: Mapping[str, Any]) -> Path:
    frame = pl.DataFrame({**{name: [value] for name, value in GOOD.items()}, **values})
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pl.Series([1], dtype=pl.UInt8), "long"),
        (pl.Series([1.0], dtype=pl.Float32), "float"),
        (pl.Series([1.0], dtype=pl.Float64), "double"),
        (pl.Series(["a"]), "keyword"),
        (pl.Series(["a"], dtype=pl.Categorical), "keyword"),
        (pl.Series([True]), "boolean"),
        (pl.Series(["2026-01-01"]).str.to_date(), "date"),
        (pl.Series(["2026-01-01"]).str.to_datetime(), "date"),
        (pl.Series([None]), "keyword"),
    ],
)
def test_a_further_column_gets_a_field_of_its_type(tmp_path: Path, values: pl.Series, kind: str) -> None:
    assert columns.of_files([write(tmp_path / "products.parquet", {"extra": values})])["extra"] == kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", ""], "long"),
        (["1", "2.5", ""], "double"),
        (["true", "False", ""], "boolean"),
        (["", "", ""], "keyword"),
        (["1", "x", ""], "keyword"),
        (["true", "1", ""], "keyword"),
    ],
)
def test_a_further_column_of_csv_gets_the_type_that_all_its_first_cells_have(
    tmp_path: Path, cells: list[str], kind: str
) -> None:
    path = tmp_path / "products.csv"
    rows = [f"{number},1,true,{cell}\n" for number, cell in enumerate(cells, 1)]
    path.write_text("product_id,category_id,available,extra\n" + "".join(rows))
    assert columns.of_files([path])["extra"] == kind


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"excluded": [True]}, "column 'excluded' is racksort's own: leave it out; boost -inf takes a product out"),
        ({"a.b": [1]}, "column 'a.b' can't be a field: name it without dots, outer blanks and a leading _"),
        ({"_id": [1]}, "column '_id' can't be a field"),
        ({"tags": [["a"]]}, "column 'tags' holds List(String): write numbers, texts, true and false, or dates"),
        ({"brand": [1]}, "column 'brand' must hold text in every row; it is Int64"),
        ({"price": ["1"]}, "column 'price' must hold a number in every row; it is String"),
        ({"available": [1]}, "column 'available' must hold true or false in every row; it is Int64"),
    ],
)
def test_a_column_that_can_t_be_a_field_is_one_line(tmp_path: Path, values: dict[str, Any], line: str) -> None:
    path = write(tmp_path / "products.parquet", values)
    with pytest.raises(CatalogInvalid) as caught:
        columns.of_files([path])
    assert str(caught.value).startswith(f"{path}: {line}")


def test_files_that_disagree_and_a_missing_column_are_one_line(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", {"extra": [1]})
    two = write(tmp_path / "two.parquet", {"extra": ["a"]})
    with pytest.raises(
        CatalogInvalid, match=r"two\.parquet: column 'extra' is keyword here, but long in .*one\.parquet: "
    ):
        columns.of_files([one, two])
    pl.DataFrame({"product_id": [1], "available": [True]}).write_parquet(one)
    with pytest.raises(CatalogInvalid, match=r"column 'category_id' \(integer\) is missing: add it"):
        columns.of_files([one])


def test_changes_leave_out_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "boosts.csv"
    path.write_text("product_id,boost,price\n1,-inf,\n2,0.5,\n3,,2\n")
    (chunk,) = chunks(path)
    found = documents.changes(check(chunk, FIELD_TYPES, ("product_id",), Seen()), path)
    assert [orjson.loads(document.body)["doc"] for document in found] == [
        {"product_id": 1, "boost": 0.0, "excluded": True},
        {"product_id": 2, "boost": 0.5, "excluded": False},
        {"product_id": 3, "price": 2.0},
    ]


def test_times_are_utc(tmp_path: Path) -> None:
    added = pl.Series(["2026-01-01T12:00:00.5+02:00"]).str.to_datetime(time_zone="Europe/Berlin")
    path = write(tmp_path / "products.parquet", {"added": added, "day": added.dt.date()})
    (chunk,) = chunks(path)
    found = check(chunk, columns.of_files([path]), columns.REQUIRED, Seen())
    (document,) = documents.whole(found, path)
    assert orjson.loads(document.body) | {"added": "2026-01-01T10:00:00.500Z", "day": "2026-01-01"} == orjson.loads(
        document.body
    )
