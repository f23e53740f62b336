from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.telemetry.context import Parent, parent_of, traceparent, tracestate_of
from api.telemetry.request_ids import new_id, sent_id

TRACE, SPAN = 0x80E1AFED08E019FC1110464CFA66635C, 0x7A085853722DC6D2
VALID = b"00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_what_is_sent_on_is_read_as_the_same_sampled_parent(trace_id: int, span_id: int) -> None:
    assert parent_of(traceparent(trace_id, span_id).encode()) == Parent(trace_id, span_id, sampled=True)


@pytest.mark.parametrize(
    ("flags", "sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"03", True), (b"ff", True)]
)
def test_the_sampled_flag_is_one_bit(flags: bytes, sampled: bool) -> None:
    assert parent_of(VALID[:-2] + flags) == Parent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        VALID[:-1],
        VALID + b"0",
        VALID + b"-more",  # version 00 has no more
        VALID.upper(),
        b"ff" + VALID[2:],  # no version
        b"00-" + b"0" * 32 + VALID[35:],
        VALID[:36] + b"0" * 16 + VALID[52:],
        VALID.replace(b"-", b"_"),
        VALID + b"\n",
        b"01" + VALID[2:] + b"x",
        b"01" + VALID[2:] + b"-" + b"x" * 300,
    ],
)
def test_what_isnt_valid_is_no_parent(header: bytes) -> None:
    assert parent_of(header) is None


def test_a_later_version_may_say_more() -> None:
    assert parent_of(b"cc" + VALID[2:] + b"-what-the-future-brings") == Parent(TRACE, SPAN, sampled=True)


@given(st.binary(max_size=80))
def test_no_bytes_are_a_mistake_of_ours(header: bytes) -> None:
    parent = parent_of(header)
    assert parent is None or (parent.trace_id and parent.span_id)


def test_states_are_joined_and_bounded() -> None:
    assert tracestate_of([(b"tracestate", b"a=1"), (b"host", b"x"), (b"tracestate", b"b=2")]) == "a=1,b=2"
    assert tracestate_of([(b"tracestate", b"a=" + b"x" * 511)]) == ""
    assert tracestate_of([(b"tracestate", b"a=\xff")]) == ""
    assert tracestate_of([]) == ""


@pytest.mark.parametrize("value", [b"4bf92f35-77b3-4da6", b"a", b"A1:b/c+d=e@f.g_h", b"x" * 128])
def test_a_callers_id_is_used(value: bytes) -> None:
    assert sent_id([(b"host", b"x"), (b"x-request-id", value)]) == value


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"a b", b'a"b', b"a\r\nset-cookie: b", b"\xff", b"-a", b"a\n"])
def test_what_a_header_or_a_log_cant_carry_isnt(value: bytes) -> None:
    assert sent_id([(b"x-request-id", value)]) is None


def test_ids_that_are_made_differ_and_fit() -> None:
    made = [new_id() for _ in range(1_000)]
    assert len(set(made)) == 1_000
    assert all(sent_id([(b"x-request-id", each)]) == each for each in made)
