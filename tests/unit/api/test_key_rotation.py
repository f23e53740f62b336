"""Cursor keys are rotated as docs/operations.md says: no scroll is lost, whichever replica answers its next page."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from api.settings import Settings
from tests.unit.api.conftest import UNHURRIED, Adapter, running_adapter
from tests.unit.test_readme import ROOT

KEYS = {"OLD": "an old key that all replicas have", "NEW": "a newer key that all replicas have"}
GRID = "/v1/containers/grid/products"


def steps() -> list[str]:
    """The values of the Secret, as the page has them, from before the rotation on."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text[text.index("## Rotate cursor keys") : text.index("## Rotate API keys")]
    return ["OLD", *re.findall(r"`keys=([A-Z,]+)`", section)]


def replica(step: str) -> AbstractAsyncContextManager[Adapter]:
    keys = ",".join(KEYS[name] for name in step.split(","))
    return running_adapter(Settings.load(cursor_keys=keys, **UNHURRIED.model_dump(exclude_unset=True)))


async def page(adapter: Adapter, cursor: str | None = None) -> dict[str, Any]:
    query = {"customer_id": 7, "limit": 10} | ({} if cursor is None else {"cursor": cursor})
    answer = await adapter.client.get(GRID, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_page_has_the_steps() -> None:
    assert steps() == ["OLD", "OLD,NEW", "NEW,OLD", "NEW"]


@pytest.mark.parametrize("at", [0, 1])
async def test_replicas_before_and_after_a_step_open_each_others_cursors(at: int) -> None:
    """While a rolling update goes on, pages of a scroll come from both in turn. The last step waits: see below."""
    before, after = steps()[at : at + 2]
    async with replica(before) as old, replica(after) as new:
        shown: list[int] = []
        cursor = None
        for adapter in (old, new, old, new, new, old):
            body = await page(adapter, cursor)
            shown += body["product_ids"]
            cursor = body["next_cursor"]
            assert body["degraded"] is False
        assert len(shown) == len(set(shown)) == 60


async def test_after_their_time_cursors_of_the_old_key_are_needed_no_more() -> None:
    sealed_by_new, last = steps()[2:]
    async with replica(sealed_by_new) as old, replica(last) as new:
        first = await page(old)
        assert (await page(new, first["next_cursor"]))["degraded"] is False


async def test_a_leaked_key_that_is_removed_at_once_ends_its_scrolls() -> None:
    async with replica("OLD") as old, replica("NEW") as new:
        cursor = (await page(old))["next_cursor"]
        answer = await new.client.get(GRID, params={"customer_id": 7, "limit": 10, "cursor": cursor})
        assert answer.status_code == 410
        assert answer.json()["type"].endswith("expired-cursor")
