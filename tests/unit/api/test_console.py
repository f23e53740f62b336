"""The console's files as they are served: nothing from elsewhere, kept but asked about, and gone where switched off."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import api.console
from api.errors import EventsUnavailable
from api.metrics import REASONS
from api.rules import rule as rules
from api.types import DEGRADED_WINDOW, PARTIAL_POOL, STALE_POOL
from tests.unit.api.conftest import UNHURRIED, Adapter, running_adapter

STATIC = Path(api.console.__file__).parent / "static"
FILES = sorted(path.name for path in STATIC.iterdir())


async def test_the_page_is_html_under_a_strict_policy(adapter: Adapter) -> None:
    answer = await adapter.client.get("/console")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (STATIC / "index.html").read_bytes()
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", [name for name in FILES if name != "index.html"])
async def test_every_file_is_served_with_its_type_and_the_same_policy(adapter: Adapter, name: str) -> None:
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    answer = await adapter.client.get(f"/console/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kinds[name.rpartition(".")[2]]
    assert answer.content == (STATIC / name).read_bytes()
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_copy_that_is_good_isnt_sent_again(adapter: Adapter) -> None:
    first = await adapter.client.get("/console")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for given in (tag, f'W/{tag}, "other"', f'"other", {tag}', "*"):
        again = await adapter.client.get("/console", headers={"if-none-match": given})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
    other = await adapter.client.get("/console", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


async def test_different_files_have_different_tags(adapter: Adapter) -> None:
    tags = {(await adapter.client.get(f"/console/{name}")).headers.get("etag") for name in FILES if name[-1] == "s"}
    assert len(tags) == len([name for name in FILES if name[-1] == "s"])


async def test_head_is_answered_without_the_body(adapter: Adapter) -> None:
    answer = await adapter.client.head("/console")
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("name", ["index.html", "other.js", "..%2Froutes.py", "%2e%2e/routes.py", "base.css%00"])
async def test_nothing_else_is_served(adapter: Adapter, name: str) -> None:
    answer = await adapter.client.get(f"/console/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_it_can_be_switched_off() -> None:
    async with running_adapter(UNHURRIED.model_copy(update={"console": False})) as adapter:
        for path in ("/console", "/console/console.js"):
            assert (await adapter.client.get(path)).status_code == 404
        assert (await adapter.client.get("/v1/products", params={"ids": "1"})).status_code == 200


def test_no_file_names_another_host() -> None:
    namespace = "http://www.w3.org/2000/svg"
    for name in FILES:
        text = (STATIC / name).read_text().replace(namespace, "")
        assert not re.findall(r"https?:|//[a-z]+\.[a-z]|@import|url\(", text), name


def test_data_never_becomes_markup() -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc|DOMParser"
    for name in FILES:
        assert not re.findall(markup, (STATIC / name).read_text()), name


def test_the_page_has_nothing_inline() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.findall(r"<style|<script(?![^>]*src=)|\sstyle=|\son[a-z]+=", page)


def test_every_reason_of_a_degraded_answer_and_every_rule_has_words() -> None:
    words = (STATIC / "words.js").read_text()
    effects = [get_args(kind.model_fields["effect"].annotation)[0] for kind in rules._Rule.__subclasses__()]
    assert "pin" in effects
    reasons = (*REASONS, STALE_POOL, PARTIAL_POOL, DEGRADED_WINDOW, EventsUnavailable.reason)
    assert [name for name in (*reasons, *effects) if f"  {name}: '" not in words] == []
