"""Files are read in chunks without losing a row, and each row knows where it begins."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.loading.chunk import Chunk
from api.catalog.loading.rows import chunks
from api.errors import CatalogInvalid

CELLS = st.text(st.sampled_from('ab,"\r\n é'), max_size=6)
MOST_LINES = 4


def normal(text: str) -> str:
    """With one character for each line break."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    expected, refused = [], []
    for row in rows:
        line = normal(text.getvalue()).count("\n") + 1
        writer.writerow(row)
        lines = normal(text.getvalue()).count("\n") + 1 - line
        if lines > MOST_LINES:
            refused.append((line, lines))
        else:
            expected.append((line, dict(zip(("one", "two"), (cell or None for cell in row), strict=True))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        path.write_bytes(text.getvalue().encode())
        found = list(chunks(path, size))
    assert all_rows(found) == expected
    assert [(row.line, row.lines) for chunk in found for row in chunk.bad] == refused
    assert sum(chunk.rows for chunk in found) == len(expected) + sum(lines for _, lines in refused)
    assert list(found[0].columns) == ["one", "two"]
    assert all(chunk.lines.size + len(chunk.bad) <= size for chunk in found)
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


HEADER = "product_id,category_id,available,category,note\n"


def shop(rows: int, stray: Mapping[int, str]) -> str:
    """A file of so many rows; on some lines, one other row."""
    return HEADER + "".join(stray.get(line, f"{line},1,true,CHEESE,x\n") for line in range(2, rows + 2))


@pytest.mark.parametrize("rows", [2_000, 100_000])
@pytest.mark.parametrize(
    ("row", "opened"),
    [
        ('4,1,true,"CHEESE,x\n', 4),
        ('4,1,true,CHEESE,"x\n', 4),
        ('4,1,true,"CHEESE\n","x\n', 5),
        ('4,1,true,"CHEESE\n""",""\n,"x""\n', 6),
    ],
)
def test_a_quote_that_is_never_closed_ends_it_and_says_where_it_was_opened(
    tmp_path: Path, rows: int, row: str, opened: int
) -> None:
    path = tmp_path / "products.csv"
    path.write_text(shop(rows, {4: row}))
    with pytest.raises(CatalogInvalid) as caught:
        list(chunks(path))
    within = "before the file ends" if rows == 2_000 else "within 131,072 characters"
    assert str(caught.value).startswith(f"{path}:{opened}: a quote is opened here that isn't closed {within}: close it")
    assert "\n" not in str(caught.value)


def test_rows_between_two_stray_quotes_are_bad_by_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text(shop(2_000, {4: '4,1,true,CHEESE,"x\n', 1_501: '1501,1,true,CHEESE,x"\n'}))
    (chunk,) = chunks(path)
    (bad,) = chunk.bad
    assert str(bad).startswith(f"{path}:4-1501: the row spans 1,498 lines, and 4 are the most: see which quote")
    assert bad.as_json() == {"file": str(path), "line": 4, "last_line": 1_501, "reason": bad.reason}
    assert (chunk.lines.size, chunk.rows) == (502, 2_000)


@pytest.mark.parametrize(
    ("stray", "line", "reason"),
    [
        ({4: '4,1,true,"CHEESE,x\n', 6: '6,1,true,CHEESE",x\n'}, 4, "column 'category' holds a line break ('CHEESE,x"),
        ({4: '4,1,true,"CHEESE,x\n', 6: '6,1,true,"CHEESE",x\n'}, 4, "the row can't be read (',' expected after"),
        ({4: '4,1,true,CHEESE,"x\n', 6: '6,1,true,CHEESE,x",\n'}, 4, "the row has 6 fields, not 5"),
    ],
)
def test_stray_quotes_that_are_close_don_t_drop_a_row_silently(
    tmp_path: Path, stray: dict[int, str], line: int, reason: str
) -> None:
    path = tmp_path / "products.csv"
    path.write_text(shop(8, stray))
    (chunk,) = chunks(path)
    (bad,) = chunk.bad
    assert (bad.line, bad.lines) == (line, 3)
    assert bad.reason.startswith(reason)
    assert (chunk.lines.tolist(), chunk.rows) == ([2, 3, 7, 8, 9], 8)


@pytest.mark.parametrize(("breaks", "taken"), [(3, True), (4, False)])
def test_a_text_of_a_few_lines_is_taken(tmp_path: Path, breaks: int, taken: bool) -> None:
    path = tmp_path / "products.csv"
    note = "a" + "\r\nb" * breaks
    path.write_bytes(shop(3, {3: f'3,1,true,CHEESE,"{note}"\n'}).encode())
    (chunk,) = chunks(path)
    assert [row.lines for row in chunk.bad] == ([] if taken else [breaks + 1])
    assert (note in chunk.columns["note"].to_list()) == taken


def test_a_cell_that_is_too_long_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    long = "x" * 200_000
    path.write_text(shop(4, {3: f'3,1,true,CHEESE,"{long}"\n', 4: f"4,1,true,CHEESE,{long}\n"}))
    (chunk,) = chunks(path)
    assert [(row.line, row.lines) for row in chunk.bad] == [(3, 1), (4, 1)]
    assert chunk.lines.tolist() == [2, 5]


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
        ("products.csv", b'a,"b\n1,2"\n', "the names of the columns span 2 lines"),
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
