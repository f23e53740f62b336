"""The preview's requests and page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from api.catalog.protocol import Container
from api.rules.effects import Touch
from api.types import Kind, Query
from ensemble.errors import RacksortError
from racksort.preview.page import rendered
from racksort.preview.replay import Compared, Result
from racksort.preview.requests import generated, read
from tests.unit.rules.shop import document_of


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_requests_are_paths_or_objects(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "/v1/containers/a%2Fb/products?customer_id=3&limit=5&category=tea",
        "",
        '"/v1/containers/deals/products"',
        json.dumps(
            {"container_id": "deals", "recent": [{"product_id": 2, "age_days": 9}, {"product_id": 1, "age_days": 1}]}
        ),
    )
    first, second, third = read(path, 10)
    assert first == Query("a/b", 3, 5, "tea")
    assert second == Query("deals")
    assert third.recent is not None
    assert third.recent.product_id.tolist() == [1, 2]
    assert len(read(path, 2)) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: isn't JSON"),
        ("3", "line 2"),
        ('{"container_id": "a", "customer": 1}', "line 2: customer"),
        ("/v1/rank", "isn't a request for products"),
        ("/v1/containers/a/products?limit=0", "line 2: limit"),
    ],
)
def test_a_wrong_request_is_named_by_its_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(RacksortError, match=says):
        read(write(tmp_path, "/v1/containers/a/products", line), 10)


def test_generated_requests_repeat_with_their_seed_and_leave_out_empty_containers() -> None:
    containers = [
        Container("list", "List", Kind.LIST, 5),
        Container("empty", "Empty", Kind.LIST, 0),
        *(Container(f"grid-{number}", "Grid", Kind.GRID, 50) for number in range(20)),
    ]
    queries = generated(containers, 200, 3)
    assert queries == generated(containers, 200, 3)
    assert queries != generated(containers, 200, 4)
    names = [query.container_id for query in queries]
    assert "empty" not in names
    assert 50 < names.count("list") < 150
    assert any(query.customer_id is None for query in queries)


def test_the_page_shows_both_orders_and_escapes_what_it_is_given() -> None:
    document = document_of({"id": "hero", "effect": "pin", "product": 3, "position": 1}, note="<b>now</b>")
    page = Compared(
        Query("<shelf>", 7),
        np.array([1, 2, 3]),
        np.array([3, 1, 4]),
        {3: (Touch("hero", "pin", 3, 1),)},
    )
    unchanged = Compared(Query("other"), np.array([1]), np.array([1]), {})
    result = Result([unchanged, page])
    result.held["hero"] = 1
    assert page.moved() == 4
    assert result.summary() == {
        "requests": 2,
        "changed": 1,
        "moved": 4,
        "rules": {"hero": {"requests": 1, "products": 1}},
    }
    text = rendered("rules.json", result, document, {3: "<tea>"})
    assert "<shelf>" not in text
    assert "&lt;shelf&gt;" in text
    assert "&lt;tea&gt;" in text
    assert "<b>" not in text
    assert "▲2" in text
    assert "new here" in text
