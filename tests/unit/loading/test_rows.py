"""Files are read in chunks without losing a row, and each row knows where it begins."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.loading.chunk import Chunk
from api.catalog.loading.rows import chunks
from api.errors import CatalogInvalid

CELLS = st.text(st.sampled_from('ab,"\r\n é'), max_size=6)


def all_rows(found: list[Chunk]) -> list[tuple[int, dict[str, object]]]:
    return [
        (int(line), {name: values[row] for name, values in chunk.columns.items()})
        for chunk in found
        for row, line in enumerate(chunk.lines)
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=12), st.integers(1, 5), st.sampled_from(["\n", "\r\n"]))
def test_every_row_of_a_csv_file_comes_with_the_line_it_begins_on(
    rows: list[tuple[str, str]], size: int, ending: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerow(["one", "two"])
    expected = []
    for row in rows:
        begun = text.getvalue().replace("\r\n", "\n").replace("\r", "\n")
        expected.append((begun.count("\n") + 1, dict(zip(("one", "two"), (cell or None for cell in row), strict=True))))
        writer.writerow(row)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        path.write_bytes(text.getvalue().encode())
        found = list(chunks(path, size))
    assert all_rows(found) == expected
    assert list(found[0].columns) == ["one", "two"]
    assert all(chunk.rows <= size for chunk in found)
    assert found[-1].done == 1.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.integers(), st.floats(-9, 9), CELLS))),
    st.integers(1, 5),
)
def test_every_value_of_a_json_lines_file_comes_unchanged(rows: list[dict[str, object]], size: int) -> None:
    rows = [
        {name: value for name, value in row.items() if not isinstance(value, int) or abs(value) < 2**64} for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.jsonl"
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
        found = all_rows(list(chunks(path, size)))
    assert [line for line, _ in found] == [2 * number + 1 for number in range(len(rows))]
    for (_, values), row in zip(found, rows, strict=True):
        assert {name: value for name, value in values.items() if value is not None} == {
            name: value for name, value in row.items() if value is not None
        }


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_parquet_file_comes_in_slices(tmp_path: Path, size: int) -> None:
    path = tmp_path / "products.parquet"
    pl.DataFrame({"one": range(7)}).write_parquet(path)
    found = list(chunks(path, size))
    assert all_rows(found) == [(row + 1, {"one": row}) for row in range(7)]
    assert found[-1].done == 1.0


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"a,b\n1,2\n3\n5,6\n", 3, "the row has 1 fields, not 2: write one for each column"),
        (b'a,b\n"1\n1",2\n3,4,5\n5,6\n', 4, "the row has 3 fields, not 2: write one for each column"),
        (b'a,b\n1,2\n"3"x,4\n5,6\n', 3, "the row can't be read (',' expected after '\"'): put texts in quotes"),
        (b'a,b\n1,2\n5,6\n7,"8\n', 4, "the row can't be read (unexpected end of data): put texts in quotes"),
        (b"a,b\n1,2\n\n5,\xe4\n7,8\n", 4, "the row isn't UTF-8: write the file as UTF-8"),
    ],
)
def test_a_row_that_can_t_be_read_is_named_and_the_others_come(
    tmp_path: Path, content: bytes, line: int, reason: str
) -> None:
    path = tmp_path / "products.csv"
    path.write_bytes(content)
    (chunk,) = chunks(path)
    assert [(row.path, row.line) for row in chunk.bad] == [(path, line)]
    assert chunk.bad[0].reason.startswith(reason)
    assert chunk.lines.size == 2


def test_an_unclosed_quote_doesn_t_take_the_file_with_it(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text('a,b\n1,"2\n' + "3,4\n" * 100_000)
    found = list(chunks(path))
    assert [row.line for chunk in found for row in chunk.bad] == [2]
    assert sum(chunk.lines.size for chunk in found) > 60_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1', "the line isn't JSON ("),
        (b"[1]", "the line isn't a JSON object: write one object on each line"),
        (b'{"a": NaN}', "the line isn't JSON ("),
        (b'{"a": "\xe4"}', "the line isn't JSON ("),
    ],
)
def test_a_line_that_isn_t_an_object_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "products.ndjson"
    path.write_bytes(b'{"a": 1}\n\n' + content + b'\n{"a": 2}')
    (chunk,) = chunks(path)
    assert [row.line for row in chunk.bad] == [3]
    assert chunk.bad[0].reason.startswith(reason)
    assert chunk.lines.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("products.csv", b"", "is empty: its first line must name the columns"),
        ("products.csv", b"a,b,a\n", "column 'a' occurs twice"),
        ("products.csv", b'"a"b,c\n', "the names of the columns can't be read"),
        ("products.parquet", b"\x00garbage", "can't be read"),
        ("products.txt", b"", "isn't a product file: name one that ends in .parquet, .csv, .jsonl, .ndjson"),
        ("products.jsonl", b" " * 17_000_000, "line 1 has 16 MB or more"),
        ("products.csv", None, "can't be read (No such file"),
        ("products.parquet", None, "can't be read (No such file"),
    ],
)
def test_a_file_that_can_t_be_read_is_one_line(tmp_path: Path, name: str, content: bytes | None, line: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CatalogInvalid) as caught:
        list(chunks(path))
    assert str(caught.value).startswith(f"{path}: {line}")
    assert "\n" not in str(caught.value)
