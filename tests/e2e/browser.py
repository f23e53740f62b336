"""A headless Chromium on the console of a running server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; without it the test is skipped, or fails where REQUIRE_CHROMIUM=1 asks for that."""
    path = shutil.which("chromium")
    if path is None:
        reason = "there is no Chromium: run 'apt-get install chromium'"
        if os.environ.get("REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"REQUIRE_CHROMIUM=1: {reason}", pytrace=False)
        pytest.skip(reason)
    # Its sandbox refuses to work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


class Console:
    """The page, and what it did: every request and everything that the browser complains of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, query: str = "") -> None:
        """Go to the page and wait for its first cards."""
        self.page.goto(f"{self.url}/console{query}")
        expect(self.page.locator(".card").first).to_be_visible()

    def shows(self, column: int = 0) -> list[str]:
        """Products of a column, in order."""
        cards = self.page.locator(".column").nth(column).locator(".card")
        return cards.evaluate_all("cards => cards.map(card => card.dataset.id)")

    def wait_for(self, what: Callable[[], Any], expected: Any) -> None:
        """Until ``what`` is as expected; the page's own events move on meanwhile."""
        left = PATIENCE_MS
        while (found := what()) != expected:
            assert left > 0, f"{found} isn't {expected}"
            self.page.wait_for_timeout(20)
            left -= 20

    def other_hosts(self) -> list[str]:
        """Requests that went elsewhere."""
        return [url for url in self.requested if urlsplit(url).netloc != urlsplit(self.url).netloc]


@contextmanager
def console(browser: Browser, url: str, **options: Any) -> Iterator[Console]:
    """A new page with nothing kept; at the end it must have had no complaints and asked nobody else."""
    context = browser.new_context(reduced_motion="reduce", **options)
    opened = Console(context.new_page(), url)
    yield opened
    context.close()
    assert opened.complaints == []
    assert opened.other_hosts() == []
