"""Explanations under the shop's rules: the explained order is the served one, and the rules that made it are named."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import EnsembleUnavailable
from api.explain.evidence import ExplainedPage, Reason
from api.types import Query
from tests.unit.rules.test_pipeline_rules import World, world

RULES: dict[str, dict[str, Any]] = {
    "exclude": {"effect": "exclude", "products": {"ids": [3, 8, 21]}},
    "boost": {"effect": "boost", "products": {"ids": [28, 29, 30]}, "amount": 0.3},
    "bury": {"effect": "bury", "products": {"ids": [1, 2]}, "amount": 5},
    "pin": {"effect": "pin", "product": 11, "position": 2},
    "cap": {"effect": "cap", "per": "category", "most": 1, "among": 7},
}


async def explained(shop: World, container_id: str = "deals", **query: Any) -> ExplainedPage:
    why_not = query.pop("why_not", None)
    return await shop.services.explained.explain(Query(container_id, 7, **query), why_not=why_not)


@pytest.mark.parametrize("container", ["deals", "large", "grid"])
@pytest.mark.parametrize("limit", [3, 10, 100])
@pytest.mark.parametrize("failure", [None, EnsembleUnavailable("gone")], ids=["ensemble", "popularity"])
@pytest.mark.parametrize("names", [["exclude"], ["boost", "bury"], ["pin"], ["cap"], list(RULES)], ids=str)
async def test_the_explained_order_is_the_served_order_under_rules(
    container: str, limit: int, failure: EnsembleUnavailable | None, names: list[str]
) -> None:
    async with world() as shop:
        shop.use(*(RULES[name] for name in names))
        shop.ensemble.failure = failure
        page = await shop.page(container, limit=limit)
        answer = await explained(shop, container, limit=limit)
    served = page.ranking.product_id.tolist()
    assert answer.page.ranking.product_id.tolist() == served
    assert [each.product_id for each in answer.explanations] == served
    assert [each.position for each in answer.explanations] == list(range(1, len(served) + 1))
    assert answer.page.degraded == page.degraded


async def test_the_rules_that_concern_a_product_are_named_with_its_places() -> None:
    async with world() as shop:
        order = await shop.ids(limit=30)
        shop.use(
            {"effect": "pin", "product": order[-1], "position": 1},
            {"effect": "exclude", "products": {"ids": order[:1]}},
        )
        answer = await explained(shop, limit=5, why_not=order[0])
    pinned = answer.explanations[0]
    assert pinned.product_id == order[-1]
    assert pinned.rules == ({"rule": "r0", "effect": "pin", "from": 29, "to": 1},)
    assert pinned.score_rank == 29
    assert answer.why_not is not None
    assert answer.why_not.reason is Reason.EXCLUDED
    assert answer.why_not.detail == "It is excluded by rule r1."


async def test_a_product_that_a_cap_holds_back_is_told_so() -> None:
    async with world() as shop:
        order = await shop.ids(limit=30)
        held = next(each for at, each in enumerate(order[:7]) if each % 7 in {other % 7 for other in order[:at]})
        shop.use({"effect": "cap", "per": "category", "most": 1, "among": 7})
        answer = await explained(shop, limit=7, why_not=held)
    assert answer.why_not is not None
    assert answer.why_not.reason is Reason.CAPPED
    assert "r0" in answer.why_not.detail
    assert answer.why_not.position is not None
    assert answer.why_not.position > 7
