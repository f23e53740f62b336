from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from api.telemetry.export import Exporter
from api.telemetry.otlp import OtlpSender
from api.telemetry.span import Span, SpanContext, SpanKind
from tests.collector import WAIT_S, Collector, collecting
from tests.pace import RETRIED, timed
from tests.waiting import until


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as each:
        yield each


def span(number: int) -> Span:
    return Span(f"span {number}", SpanKind.SERVER, SpanContext(1, number + 1), None, 1_000, 2_000, {"n": number})


class Held:
    """A sender that holds what it gets until it may go on."""

    def __init__(self) -> None:
        self.sending = threading.Event()
        self.go_on = threading.Event()
        self.sent: list[Span] = []

    def send(self, spans: Sequence[Span]) -> bool:
        self.sending.set()
        self.go_on.wait(WAIT_S)
        self.sent += spans
        return True

    def close(self) -> None:
        self.go_on.set()


def test_spans_reach_a_collector_as_they_were(collector: Collector) -> None:
    exporter = Exporter(lambda: OtlpSender(collector.url), every_s=0.01)
    above, linked = SpanContext(2**127 + 5, 7), SpanContext(9, 11)
    exporter.put(
        [
            Span(
                "GET /x",
                SpanKind.SERVER,
                SpanContext(2**127 + 5, 8),
                above,
                10,
                30,
                {"a": "b", "n": 3, "x": 0.5, "t": True, "many": ("p", "q")},
                (linked,),
                "ensemble_timeout",
                remote_parent=True,
                tracestate="shop=1",
            )
        ]
    )
    (got,) = collector.wait_for(bool)
    exporter.close()
    assert (got.service, got.name, got.kind) == ("racksort", "GET /x", 2)
    assert (int(got.trace_id, 16), int(got.span_id, 16), int(got.parent_id, 16)) == (2**127 + 5, 8, 7)
    assert (got.began_ns, got.ended_ns, got.failed) == (10, 30, True)
    assert got.attributes == {"a": "b", "n": 3, "x": 0.5, "t": True, "many": ["p", "q"]}
    assert [(int(trace, 16), int(each, 16)) for trace, each in got.links] == [(9, 11)]
    assert got.tracestate == "shop=1"
    assert exporter.exported == 1


def test_what_there_is_no_room_for_is_dropped_and_counted() -> None:
    held = Held()
    exporter = Exporter(lambda: held, most=10, at_once=1, every_s=0.01)
    exporter.put([span(0)])
    assert held.sending.wait(WAIT_S)
    exporter.put(span(number) for number in range(1, 16))
    assert (exporter.waiting, exporter.dropped) == (10, 5)
    held.go_on.set()
    exporter.close(WAIT_S)
    assert [each.attributes["n"] for each in held.sent] == list(range(11))
    assert (exporter.exported, exporter.failed, exporter.dropped) == (11, 0, 5)


def test_closing_sends_what_waits(collector: Collector) -> None:
    exporter = Exporter(lambda: OtlpSender(collector.url), every_s=3_600)
    exporter.put(span(number) for number in range(3))
    exporter.close(WAIT_S)
    assert [each.name for each in collector.spans] == ["span 0", "span 1", "span 2"]


@RETRIED
@pytest.mark.alone  # within a second
def test_a_collector_that_hangs_holds_up_neither_spans_nor_the_end(collector: Collector) -> None:
    collector.gate.clear()
    exporter = Exporter(lambda: OtlpSender(collector.url), most=100, at_once=10, every_s=0.01)
    exporter.put(span(number) for number in range(10))
    until(lambda: exporter.waiting == 0)  # they hang on their way
    began = time.monotonic()
    exporter.put(span(number) for number in range(1_000))
    with timed():
        assert time.monotonic() - began < 1.0
    assert exporter.dropped == 900
    exporter.close(0.2)
    assert (exporter.dropped, exporter.failed, exporter.exported, exporter.waiting) == (1_010, 0, 0, 0)


def test_each_span_counts_once_whatever_becomes_of_it_after_the_end() -> None:
    class Stubborn(Held):
        def close(self) -> None:
            """Goes on."""

    stubborn = Stubborn()
    exporter = Exporter(lambda: stubborn, at_once=2, every_s=0.01)
    exporter.put([span(0), span(1)])
    assert stubborn.sending.wait(WAIT_S)
    exporter.put([span(2)])
    exporter.close(0.01)
    assert exporter._thread.is_alive()  # nobody has waited for it
    assert (exporter.exported, exporter.failed, exporter.dropped) == (0, 0, 3)
    exporter.put([span(3)])
    stubborn.go_on.set()
    exporter._thread.join(WAIT_S)
    assert (exporter.exported, exporter.failed, exporter.dropped, exporter.waiting) == (0, 0, 4, 0)
    assert stubborn.sent == [span(0), span(1)]


def test_a_dead_collector_is_said_once_and_so_is_its_return(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    exporter = Exporter(lambda: OtlpSender(collector.url), at_once=1, every_s=0.01)
    for number in range(3):
        exporter.put([span(number)])
        until(lambda number=number: exporter.failed == number + 1)  # type: ignore[misc]
    collector.status = 200
    exporter.put([span(3)])
    until(lambda: exporter.exported == 1)
    exporter.close()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the collector of traces doesn't take spans",
        "the collector of traces takes spans again",
    ]


def test_an_odd_span_costs_its_message_alone() -> None:
    class Odd(Held):
        def send(self, spans: Sequence[Span]) -> bool:
            if spans[0].attributes["n"] == 0:
                raise ValueError("odd")
            return super().send(spans)

    odd = Odd()
    odd.go_on.set()
    exporter = Exporter(lambda: odd, at_once=1, every_s=0.01)
    exporter.put([span(0), span(1)])
    until(lambda: exporter.exported == 1)
    exporter.close()
    assert exporter.failed == 1
