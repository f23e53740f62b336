"""Documents against a catalog that doesn't lie in a folder: long lists, and a catalog that can't say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from api.errors import CatalogUnavailable, RulesInvalid
from api.rules.check import Checked, check
from api.rules.document import parse
from api.types import Pool
from tests.fakes.catalog import FakeCatalog

PRODUCTS = [
    {"product_id": at, "category_id": 1, "category": "TEA", "brand": "Alp", "available": True} for at in range(1, 9_002)
]


class Few(FakeCatalog):
    """Looks few products up at once, as Elasticsearch does."""

    most = 0
    partial_lookups = False

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:
        self.most = max(self.most, product_ids.size)
        return replace(await super().lookup(product_ids, deadline=deadline), partial=self.partial_lookups)


def catalog() -> Few:
    return Few(PRODUCTS, [], {"tea": ["TEA"]})


async def checked(shop: FakeCatalog, *rules: dict[str, Any]) -> Checked:
    named: Sequence[dict[str, Any]] = [{"id": f"r{at}", **rule} for at, rule in enumerate(rules)]
    return await check(parse(orjson.dumps({"rules": named})), shop, "rules")


async def test_a_long_list_is_looked_up_part_by_part() -> None:
    shop = catalog()
    ids = [*range(1, 9_001), 20_000, 30_000]
    found = await checked(shop, {"effect": "boost", "products": {"ids": ids}, "amount": 1})
    assert shop.most <= 4_096
    assert [fault.message for fault in found.warnings] == ["the catalog has 2 of its products not: 20000, 30000"]


@pytest.mark.parametrize("product", [1, 9_000])
async def test_a_pinned_product_is_found_excluded_in_whichever_part_it_is(product: int) -> None:
    pin = {"effect": "pin", "product": product, "position": 1}
    many = {"effect": "boost", "products": {"ids": list(range(1, 9_001))}, "amount": 1}
    with pytest.raises(RulesInvalid, match="'r0' and 'r1'"):
        await checked(catalog(), pin, {"effect": "exclude", "products": {"brands": ["Alp"]}}, many)


async def test_a_catalog_that_can_not_say_which_products_it_has_is_not_believed() -> None:
    shop = catalog()
    shop.partial_lookups = True
    with pytest.raises(CatalogUnavailable, match="can't be looked up now"):
        await checked(shop, {"effect": "pin", "product": 1, "position": 1})


async def test_a_brand_of_no_product_is_a_warning_and_others_are_not() -> None:
    found = await checked(catalog(), {"effect": "exclude", "products": {"brands": ["Alp", "Alb"]}})
    assert [fault.message for fault in found.warnings] == ["the catalog has no 'Alb'; did you mean 'Alp'?"]
