"""docs/catalog.md is a copy of the schema for people; this keeps it one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ensemble.data import catalog, containers, schema
from ensemble.data.tables import Column

PAGE = (Path(__file__).parents[3] / "docs" / "catalog.md").read_text(encoding="utf-8")


def table_after(heading: str) -> list[str]:
    """Names in the first column of the first table after ``heading``."""
    lines = iter(PAGE[PAGE.index(heading) :].splitlines())
    rows: list[str] = []
    for line in lines:
        if line.startswith("| `"):
            rows.append(line.split("`")[1])
        elif rows:
            break
    return rows


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("\n## products\n", schema.CATALOG_PRODUCTS),
        ("\n## promotions\n", schema.PROMOTIONS),
        ("\n**purchases**", schema.PURCHASES),
    ],
)
def test_every_column_is_described_in_order(heading: str, columns: tuple[Column, ...]) -> None:
    assert table_after(heading) == [column.name for column in columns]


def test_the_numbers_in_the_text_are_the_code_s() -> None:
    assert f"weeks *w*-{catalog.AVAILABLE_WEEKS} to *w*-1" in PAGE
    assert f"at most {containers.LIST_SIZE} candidates" in PAGE
    assert f"fewer than {containers._HANDFUL} available products" in PAGE
    assert re.search(rf"`schema_version` \| format of the folder: {catalog.SCHEMA_VERSION} \|", PAGE)
