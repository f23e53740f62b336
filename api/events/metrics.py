"""What is counted of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.events.event import EventKind
from api.events.valkey_server import FAILED, NOT_ASKED, OK, READS, WRITES, OnCall

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25)
RECEIVED: Final = ("taken", "expired")
_ASKED: Final = (READS, WRITES)
_OUTCOMES: Final = (OK, FAILED, NOT_ASKED)


class EventMetrics:
    """Events by kind and outcome, and how the store does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        events = Counter("racksort_events", "Events that were posted", ["kind", "outcome"], registry=registry)
        self._events = {(kind, outcome): events.labels(kind, outcome) for kind in EventKind for outcome in RECEIVED}
        self.accepted = Counter("racksort_events_accepted", "Events that the store didn't have", registry=registry)
        self.duplicates = Counter("racksort_events_duplicate", "Events that the store had", registry=registry)
        self.merges_refused = Counter(
            "racksort_event_merges_refused", "Logins that could neither be stored nor held", registry=registry
        )
        self.up = Gauge("racksort_event_store_up", "1 while the store of events works", registry=registry)
        self.up.set(1)
        self.read_seconds = Histogram(
            "racksort_event_read_seconds",
            "What a request waited for its customer's events, where they weren't in memory",
            buckets=_SECONDS,
            registry=registry,
        )
        self._registry = registry

    def received(self, kind: EventKind, outcome: str) -> None:
        """Count one posted event: ``taken`` or ``expired``."""
        self._events[kind, outcome].inc()

    def follow_memory(self, owners: Callable[[], float], nbytes: Callable[[], float]) -> None:
        """Read what the embedded store holds when it is scraped."""
        for name, text, value in (
            ("racksort_event_owners", "Customers and visitors with events in memory", owners),
            ("racksort_event_bytes", "Bytes that events in memory take", nbytes),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)

    def follow_held(self, owners: Callable[[], float], dropped: Callable[[], float]) -> None:
        """Read what waits for a shared store when it is scraped."""
        for name, text, value in (
            ("racksort_event_held", "Customers and visitors whose events wait for the store", owners),
            ("racksort_event_dropped", "The same whose waiting events were given up for want of room", dropped),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)


def counted_calls(registry: CollectorRegistry) -> OnCall:
    """What is to be told of each call of a shared store, so that it is counted."""
    calls = Counter("racksort_event_calls", "Calls of the store of events", ["of", "outcome"], registry=registry)
    seconds = Histogram(
        "racksort_event_call_seconds", "Time of one such call", ["of"], buckets=_SECONDS, registry=registry
    )
    counted = {(of, outcome): calls.labels(of, outcome) for of in _ASKED for outcome in _OUTCOMES}
    timed = {of: seconds.labels(of) for of in _ASKED}

    def called(of: str, outcome: str, took_s: float) -> None:
        counted[of, outcome].inc()
        if outcome != NOT_ASKED:
            timed[of].observe(took_s)

    return called
