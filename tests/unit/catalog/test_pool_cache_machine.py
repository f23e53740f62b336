"""The pool cache under whatever events, in virtual time: what holds at every moment."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.fetching import Limits
from api.errors import CatalogRefused, CatalogUnavailable
from tests.unit.api.virtual_time import VirtualLoop
from tests.unit.catalog.pools import REFRESH, Source, advance, make, make_guard

FAILURES = (CatalogUnavailable, CatalogRefused)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.sampled_from("abcdef")),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.05, 0.5, 3.0, 20.0])),
        st.tuples(st.just("source"), st.sampled_from(["fine", "gone", "refusing", "partial", "slow", "huge"])),
        st.tuples(st.just("keep"), st.sampled_from(["", "a", "ab", "def"])),
        st.tuples(st.just("hurry"), st.just("")),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
def test_whatever_happens_every_reader_gets_a_pool_or_an_error_and_the_books_balance(
    events: list[tuple[str, Any]], seed: int
) -> None:
    loop = VirtualLoop()
    source, guard = Source(loop), make_guard(loop, random.Random(seed))
    cache = make(loop, source, Limits(REFRESH, 100.0, max_bytes=5_000, max_fetches=2, max_waiting=4), seed, guard)
    readers: list[asyncio.Task[str]] = []
    for event, what in events:
        if event == "read":
            readers.append(loop.create_task(cache.get(what, loop.time() + 0.3)))
        elif event == "pass":
            advance(loop, what, step=max(what / 10, 0.05))
        elif event == "keep":
            cache.keep(list(what), known=lambda key, what=what: key in what or key > "c")
        elif event == "hurry":
            cache.refresh_now(lambda key: key < "c")
        else:
            source.failure = {"gone": CatalogUnavailable("gone"), "refusing": CatalogRefused("no")}.get(what)
            source.partial = what == "partial"
            source.takes = 5.0 if what == "slow" else 0.1
            source.nbytes = 4_000 if what == "huge" else 1_000
        loop.advance()
        values = [entry for _, entry in cache._entries.items() if entry.value is not None]
        assert cache.nbytes == sum(entry.nbytes for _, entry in cache._entries.items())
        assert cache.nbytes <= 5_000 or len(cache._entries) == 1
        assert len(cache) == len(values)
        assert len(cache._waited_for) <= 4
        assert source.most_at_once <= 2
        assert len(source.asked) == guard.breaker.counts.permitted  # no fetch without a permit
        # Nothing that is there is forgotten: it is being fetched, or it has its time.
        assert all(key in cache._running or cache._due.when(key) > float("-inf") for key, _ in cache._entries.items())
    advance(loop, 1)
    assert all(reader.done() for reader in readers)
    assert all(reader.exception() is None or type(reader.exception()) in FAILURES for reader in readers)
    loop.run_until_complete(cache.close())
    loop.close()
