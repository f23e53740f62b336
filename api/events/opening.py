"""Which store of events stands behind the protocol."""

from __future__ import annotations

import time

from redis.exceptions import RedisError

from api.errors import EventsUnusable
from api.events.embedded import EmbeddedStore
from api.events.intake import Events
from api.events.journal import Journal
from api.events.metrics import EventMetrics, counted_calls
from api.events.store import EventStore
from api.events.valkey import ValkeyStore
from api.metrics import Metrics
from api.resilience.breaker import State
from api.settings import Settings


def open_events(settings: Settings, metrics: Metrics) -> Events | None:
    """What the settings say; None where events are off. Must run in the event loop.

    Raises:
        EventsUnusable: the settings' store can't be used.
    """
    if settings.events == "off":
        return None
    figures = EventMetrics(metrics.registry)
    store = _embedded(settings, figures) if settings.events == "embedded" else _valkey(settings, metrics, figures)
    return Events(store, figures, ttl_s=settings.events_ttl_s)


def _embedded(settings: Settings, figures: EventMetrics) -> EventStore:
    journal = None if settings.events_dir is None else Journal(settings.events_dir)
    store = EmbeddedStore(ttl_s=settings.events_ttl_s, max_bytes=settings.events_bytes, now=time.time, journal=journal)
    figures.follow_memory(lambda: len(store), lambda: store.nbytes)
    if journal is not None:
        figures.up.set_function(lambda: float(journal.up))
    return store


def _valkey(settings: Settings, metrics: Metrics, figures: EventMetrics) -> EventStore:
    url = "" if settings.valkey_url is None else settings.valkey_url.get_secret_value()
    timeout_s = settings.events_timeout_ms / 1e3
    try:
        store = ValkeyStore(
            url,
            ttl_s=settings.events_ttl_s,
            timeout_s=timeout_s,
            now=time.time,
            clock=time.monotonic,
            on_call=counted_calls(metrics.registry),
        )
    except (ValueError, TypeError, RedisError):
        # Neither the address nor what the client says of it is repeated: it may hold a password.
        raise EventsUnusable(
            "RACKSORT_VALKEY_URL: the client can't use its options; take out or correct what stands behind '?'"
        ) from None
    reads, writes = store.server.reads, store.server.writes
    metrics.follow_breaker(reads, "events")
    metrics.follow_breaker(writes, "event_writes")
    figures.up.set_function(lambda: float(reads.tick() is writes.tick() is State.CLOSED))
    figures.follow_held(lambda: len(store.held), lambda: store.held.evicted)
    return store
