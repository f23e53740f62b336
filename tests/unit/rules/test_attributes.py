"""What the embedded catalog's columns tell rules of its products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.attributes import Attributes
from api.catalog.embedded import EmbeddedCatalog
from tests.unit.api.test_embedded_catalog import HEADER, PRODUCTS, write

WEEKS: dict[str, Any] = {"now_day": 17_483.0, "now_week": 47}


async def attributes(tmp_path: Path, header: dict[str, Any] | None = None, **columns: list[Any]) -> Attributes:
    write(tmp_path, products=PRODUCTS | columns, header=HEADER | (header or {}))
    pool = await EmbeddedCatalog.open(tmp_path).lookup(np.array([3, 9, 1]))
    assert pool.attributes is not None
    return pool.attributes


async def test_names_are_told_by_number_and_unknown_products_have_none(tmp_path: Path) -> None:
    found = await attributes(tmp_path, brand=["x", None, "y"])
    brand, category = found.brand(), found.category()
    assert brand is not None
    assert category is not None
    assert found.columns.brand is not None
    assert found.columns.category is not None
    assert brand.tolist() == [found.columns.brand.number["y"], -1, found.columns.brand.number["x"]]
    assert category.tolist() == [found.columns.category.number["herbs"], -1, found.columns.category.number["cheese"]]


async def test_the_first_day_comes_from_the_first_week(tmp_path: Path) -> None:
    found = (await attributes(tmp_path, WEEKS, first_week=[45, 0, 47])).first_seen_day()
    assert found is not None
    np.testing.assert_array_equal(found, np.array([17_483, np.nan, 17_469], np.float32))


async def test_a_first_day_of_its_own_goes_first(tmp_path: Path) -> None:
    found = (await attributes(tmp_path, WEEKS, first_week=[45, 0, 47], first_seen_day=[1.0, 2.0, 3.0])).first_seen_day()
    assert found is not None
    np.testing.assert_array_equal(found, np.array([3, np.nan, 1], np.float32))


async def test_an_old_folder_without_them_is_fine(tmp_path: Path) -> None:
    found = await attributes(tmp_path)
    assert found.brand() is None
    assert found.first_seen_day() is None
    assert found.repeat_rate() is None


@pytest.mark.parametrize("column", [[None, None, None], ["", "", ""], [1, 2, 3]])
async def test_columns_without_anything_in_them_say_nothing(tmp_path: Path, column: list[Any]) -> None:
    brand = (await attributes(tmp_path, brand=column)).brand()
    assert brand is None or brand.tolist() == [-1, -1, -1]
