"""Rules in a running adapter on the real Triton and the reference catalog, and the preview."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from api.catalog.loading import versions
from api.rules.store import Store
from tests.conftest import RealElasticsearch
from tests.e2e.test_serve import free_port, products, serving
from tests.loading import load_folder
from tests.pace import RETRIED, soon
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FOLLOWS_WITHIN_S = 2.0


def full(ask: Callable[[], Any]) -> list[int]:
    """The products of an answer that is as it should be: one in a busy moment may come from a lower rung."""
    found: list[int] = until(ask, lambda answer: not answer["degraded"])["product_ids"]
    return found


def follows(seen: Callable[[], object]) -> None:
    """Wait until an adapter does, and see that it was in time."""
    with soon(FOLLOWS_WITHIN_S):
        until(seen)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "rules"


@pytest.fixture
def served(catalog_dir: Path, triton_address: str, folder: Path) -> Iterator[str]:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--triton", triton_address]
    with serving(*options, environment={"RACKSORT_RULES_DIR": str(folder)}) as (_, curl):
        yield curl.split("/v1/")[0]


def racksort(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "racksort", "rules", *map(str, arguments)],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def document(tmp_path: Path, *rules: dict[str, Any]) -> Path:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"rules": [{"id": f"r{at}", **rule} for at, rule in enumerate(rules)]}))
    return path


def page(base: str, customer: int = 1) -> list[int]:
    return full(lambda: products(base, "popular", customer, limit=100))


@RETRIED
@pytest.mark.slow
def test_versions_are_seen_by_a_running_adapter_and_taken_back(
    served: str, folder: Path, catalog_dir: Path, tmp_path: Path
) -> None:
    before = page(served)
    assert page(served) == before
    hidden, lifted, pinned = before[0], before[60], before[-1]
    path = document(
        tmp_path,
        {"effect": "exclude", "products": {"ids": [hidden]}},
        {"effect": "boost", "products": {"ids": [lifted]}, "amount": 50},
        {"effect": "pin", "product": pinned, "position": 3, "scope": {"containers": ["popular"]}},
    )
    done = racksort("apply", path, "--dir", folder, "--catalog", catalog_dir, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"version": 1, "valid": True, "rules": 3, "warnings": []}
    follows(lambda: page(served) != before)
    after = page(served)
    assert hidden not in after
    assert after[0] == lifted
    assert after[2] == pinned
    assert hidden not in page(served, 2)

    Store(folder).path(2).write_text("{")
    (folder / "live.json").write_text('{"version": 2, "before": [0, 1]}')
    follows(lambda: "racksort_rules_broken 1.0" in metrics(served))
    assert page(served) == after
    assert "racksort_rules_version 1.0" in metrics(served)

    assert racksort("rollback", "--dir", folder).returncode == 0
    follows(lambda: "racksort_rules_broken 0.0" in metrics(served))
    assert page(served) == after
    assert racksort("rollback", "--dir", folder).returncode == 0
    follows(lambda: page(served) == before)
    assert "no rules are live" in racksort("status", "--dir", folder).stdout


def metrics(base: str) -> str:
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_contradictions_leave_everything_as_it_was(catalog_dir: Path, tmp_path: Path) -> None:
    path = document(
        tmp_path,
        {"effect": "pin", "product": 995242, "position": 1},
        {"effect": "exclude", "products": {"brands": ["National", "Private"]}},
    )
    done = racksort("apply", path, "--dir", tmp_path / "store", "--catalog", catalog_dir)
    assert done.returncode == 2
    assert "rules 'r0' and 'r1'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_what_the_catalog_does_not_have_is_a_warning(catalog_dir: Path, tmp_path: Path) -> None:
    path = document(
        tmp_path,
        {"effect": "exclude", "products": {"brands": ["Privat"]}},
        {"effect": "pin", "product": 3, "position": 1, "scope": {"containers": ["dealz"]}},
    )
    done = racksort("check", path, "--catalog", catalog_dir, "--json")
    assert done.returncode == 0, done.stderr
    warned = {each["field"]: each["message"] for each in json.loads(done.stdout)["warnings"]}
    assert "did you mean 'Private'" in warned["rule 'r0'.brands"]
    assert "did you mean 'deals'" in warned["rule 'r1'.scope.containers"]
    assert "3" in warned["rule 'r1'"]


class Rows(HTMLParser):
    """The tables' cells, and whatever would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe"} or any(name in {"src", "href"} for name, _ in attributes):
            self.fetched.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


BY_ATTRIBUTES = (
    {"effect": "exclude", "products": {"brands": ["Private"]}, "scope": {"containers": ["popular"]}},
    {"effect": "boost", "products": {"categories": ["cheese"]}, "amount": 50},
    {"effect": "min_new", "share": 0.5, "among": 10, "days": 200, "scope": {"containers": ["department-grocery"]}},
    {"effect": "cap", "per": "brand", "most": 3, "among": 10, "scope": {"containers": ["deals"]}},
)


@RETRIED
@pytest.mark.slow
def test_rules_by_brand_category_and_age_move_products_of_elasticsearch_as_those_of_a_folder(
    elasticsearch: RealElasticsearch, catalog_dir: Path, triton_address: str, tmp_path: Path
) -> None:
    load_folder(elasticsearch.connection, catalog_dir)
    store = tmp_path / "store"
    source = {"ELASTICSEARCH_URL": elasticsearch.connection.urls[0], "RACKSORT_CATALOG": "elasticsearch"}
    environment = {"RACKSORT_RULES_DIR": str(store)}
    options = ["--triton", triton_address, "--catalog", str(catalog_dir)]
    with (
        serving("--port", str(free_port()), *options, environment=environment | source) as (_, curl),
        serving("--port", str(free_port()), *options, environment=environment) as (_, other),
    ):
        bases = [each.split("/v1/")[0] for each in (curl, other)]

        def pages(base: str) -> list[list[int]]:
            return [
                full(lambda asked=asked: products(base, *asked, limit=100))  # type: ignore[misc]
                for asked in product(("popular", "deals", "department-grocery"), (1, 2_400))
            ]

        before = pages(bases[0])
        assert before == pages(bases[1])
        path = document(tmp_path, *BY_ATTRIBUTES)
        done = racksort("apply", path, "--dir", store, "--json", environment=source)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["warnings"] == []
        for base in bases:
            follows(lambda base=base: "racksort_rules_version 1.0" in metrics(base))  # type: ignore[misc]
        after = pages(bases[0])
        assert after == pages(bases[1])
        assert all(was != now for was, now in zip(before, after, strict=True))

        # What must be gone, and what must have come first.
        told = {
            row[0]: row[1:]
            for row in pl.read_parquet(catalog_dir / "products.parquet")
            .select("product_id", "brand", "category")
            .rows()
        }
        assert {told[product][0] for product in after[0]} == {"National"}
        assert "Private" in {told[product][0] for product in before[0]}
        assert told[after[0][0]][1] == "CHEESE"

        # Products that are ranked by their ids carry the same.
        body = json.dumps({"customer_id": 1, "product_ids": [*sorted(before[0])]}).encode()

        def rank(base: str) -> Any:
            asked = urllib.request.Request(f"{base}/v1/rank", data=body, headers={"content-type": "application/json"})
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return json.load(answer)

        ranked = [full(lambda base=base: rank(base)) for base in bases]  # type: ignore[misc]
        assert ranked[0] == ranked[1]

    path = document(tmp_path, {"effect": "exclude", "products": {"brands": ["Privat"], "categories": ["cheeze"]}})
    warned = json.loads(racksort("check", path, "--json", environment=source).stdout)["warnings"]
    assert {each["field"] for each in warned} == {"rule 'r0'.brands", "rule 'r0'.categories"}
    with elasticsearch.connection.synchronous() as client:  # it says as little of its weeks as an older racksort's
        live = versions.live_of(versions.every(client))
        assert live is not None
        old = msgspec.structs.replace(live.meta, now_week=None)
        versions.put_meta(client, live.name, old)
    done = racksort("check", document(tmp_path, *BY_ATTRIBUTES), "--json", environment=source)
    assert done.returncode == 0, done.stderr
    assert ["first_seen_day" in each["message"] for each in json.loads(done.stdout)["warnings"]] == [True]


@pytest.mark.slow
def test_a_preview_shows_what_would_move_and_applies_nothing(
    catalog_dir: Path, triton_address: str, tmp_path: Path
) -> None:
    path = document(
        tmp_path,
        {"effect": "pin", "product": 995242, "position": 1, "scope": {"containers": ["popular"]}},
        {"effect": "exclude", "products": {"ids": [1082185]}},
    )
    requests = tmp_path / "requests.jsonl"
    requests.write_text(
        '"/v1/containers/popular/products?customer_id=1&limit=12"\n'
        "\n"
        '{"container_id": "popular", "customer_id": 2, "limit": 12, "recent": [{"product_id": 5, "age_days": 1}]}\n'
        "/v1/containers/coupons/products\n"
    )
    out = tmp_path / "preview.html"
    done = racksort(
        *("preview", path, "--requests", requests, "--out", out, "--catalog", catalog_dir),
        *("--triton", triton_address, "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["requests"], found["rules"]["r0"]["requests"], found["rules"]["r1"]["requests"]) == (3, 2, 3)
    assert found["changed"] >= 2
    rows = Rows()
    rows.feed(out.read_text())
    assert not rows.fetched
    assert "995242" in rows.text
    assert "popular, customer 1" in "".join(rows.text)

    same = racksort(
        *("preview", path, "--count", 20, "--seed", 7, "--out", out, "--catalog", catalog_dir),
        *("--triton", triton_address, "--json"),
    )
    again = racksort(
        *("preview", path, "--count", 20, "--seed", 7, "--out", out, "--catalog", catalog_dir),
        *("--triton", triton_address, "--json"),
    )
    assert json.loads(same.stdout) == json.loads(again.stdout)
