"""What deep pages cost against first pages: shoppers that scroll, each over one connection, one page after the other.

Run against a server of its own: ``python -m loadtest.scrolls http://127.0.0.1:8080``. Client and servers share the
cores, and the client takes some 100 µs a page.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from typing import Final
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import numpy as np
import orjson

LIMIT: Final = 40
LEAST: Final = 2_000
"""Products of a grid that is scrolled, at least: more than a window has."""
FIRST, CUT, WINDOW = "first page", "next page", "next window"
KINDS: Final = (FIRST, CUT, WINDOW)
"""Ranked; cut from the order that the cursor carries; ranked because that order was used up."""


@dataclass
class Pages:
    """Pages that came, by kind."""

    seconds: float = 0.0
    spent: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    """Seconds that each took."""
    degraded: int = 0
    repeats: int = 0
    cursor_bytes: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Pages a second."""
        return sum(map(len, self.spent.values())) / self.seconds

    def line(self, kind: str) -> str:
        """What is to be said of one kind."""
        spent = np.asarray(self.spent[kind]) * 1e3
        if not spent.size:
            return f"{kind}: none"
        return (
            f"{kind}: {spent.size:,}, mean {spent.mean():.2f} ms, p50 {np.percentile(spent, 50):.2f} ms, "
            f"p99 {np.percentile(spent, 99):.2f} ms"
        )


def run(base_url: str, grids: Sequence[str], connections: int, seconds: float, *, pages: int) -> Pages:
    """Scroll ``grids`` with ``connections`` connections for ``seconds``, ``pages`` pages of each and customer."""
    return asyncio.run(_run(base_url, grids, connections, seconds, pages))


def large_grids(base_url: str) -> list[str]:
    """Grids that are worth scrolling."""
    with urlopen(f"{base_url}/v1/containers", timeout=10) as answer:  # noqa: S310 - our own server
        containers = json.load(answer)["containers"]
    return [each["container_id"] for each in containers if each["kind"] == "grid" and each["size"] >= LEAST]


async def _run(base_url: str, grids: Sequence[str], connections: int, seconds: float, pages: int) -> Pages:
    target = urlsplit(base_url)
    seen = Pages()
    started = time.perf_counter()
    await asyncio.gather(
        *(
            _shopper(target.hostname or "127.0.0.1", target.port or 80, grids, number, started + seconds, pages, seen)
            for number in range(connections)
        )
    )
    seen.seconds = time.perf_counter() - started
    return seen


async def _shopper(
    host: str, port: int, grids: Sequence[str], number: int, until: float, pages: int, seen: Pages
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for customer, grid in cycle(product(range(1 + number, 2_400, 64), grids)):
            path = f"/v1/containers/{quote(grid, safe='')}/products?customer_id={customer}&limit={LIMIT}"
            shown: set[int] = set()
            cursor = ""
            for page in range(pages):
                if time.perf_counter() >= until:
                    return
                sent = time.perf_counter()
                asked = f"GET {path}{'&cursor=' + cursor if cursor else ''} HTTP/1.1\r\nHost: {host}\r\n\r\n"
                writer.write(asked.encode())
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = orjson.loads(await reader.readexactly(length))
                spent = time.perf_counter() - sent
                ranked = b"ensemble;dur=0.00" not in head
                seen.spent[FIRST if not page else WINDOW if ranked else CUT].append(spent)
                seen.degraded += body["degraded"]
                seen.repeats += len(shown.intersection(body["product_ids"]))
                shown.update(body["product_ids"])
                cursor = body["next_cursor"] or ""
                seen.cursor_bytes.append(len(cursor))
                if not cursor:
                    break
    finally:
        writer.close()


def main(base_url: str, connections: int = 16, seconds: float = 10.0) -> None:
    """Print both loads."""
    grids = large_grids(base_url)
    for name, pages in (("first pages alone", 1), ("scrolls of 30 pages", 30)):
        run(base_url, grids, connections, 2.0, pages=pages)
        seen = run(base_url, grids, connections, seconds, pages=pages)
        print(f"{name}: {seen.rate:,.0f} pages/s, {seen.degraded} degraded, {seen.repeats} products twice")  # noqa: T201
        for kind in KINDS:
            print(f"  {seen.line(kind)}")  # noqa: T201 - figures for people
        print(f"  cursors of {np.mean(seen.cursor_bytes):,.0f} bytes, at most {max(seen.cursor_bytes):,}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
