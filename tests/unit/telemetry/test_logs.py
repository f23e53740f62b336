from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.telemetry.log_format import FIELDS, MAX_MESSAGE, MAX_TRACEBACK, JsonFormatter, TextFormatter
from api.telemetry.log_queue import Lines, logging_to
from tests.waiting import until

_log = logging.getLogger("api.test")


def record(message: str, *args: object, fields: Any = None, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("api.test", logging.WARNING, __file__, 1, message, args, info)
    made.created = 1_700_000_000.1234
    if fields is not None:
        setattr(made, FIELDS, fields)
    return made


@settings(max_examples=200)
@given(st.text(), st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.none()), max_size=5))
def test_any_record_is_one_line_of_json(message: str, fields: dict[str, object]) -> None:
    line = JsonFormatter().format(record(message.replace("%", "%%"), fields=fields))
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["time"] == "2023-11-14T22:13:20.123Z"
    assert (parsed["level"], parsed["logger"]) == ("warning", "api.test")
    assert set(parsed) == {"time", "level", "logger", "message"} | set(fields)


def test_a_traceback_is_a_field_and_bounded() -> None:
    parsed = json.loads(JsonFormatter().format(record("a", error=ValueError("x" * 100_000))))
    assert len(parsed["traceback"]) == MAX_TRACEBACK
    assert len(json.loads(JsonFormatter().format(record("y" * 100_000)))["message"]) == MAX_MESSAGE + 1


def test_text_has_one_line_that_nobody_can_break() -> None:
    line = TextFormatter().format(record("a %s", "b\nfake line\r", fields={"request_id": "r1", "trace_id": None}))
    assert line == "2023-11-14T22:13:20.123Z warning api.test: a b\\nfake line\\r request_id=r1"


def test_lines_are_written_in_order_with_levels_of_their_own() -> None:
    stream = io.StringIO()
    with logging_to(stream, "json", "warning") as lines:
        _log.info("not told")
        _log.warning("first")
        logging.getLogger("uvicorn.error").error("the server's")
        logging.getLogger("somebody.else").warning("another's")
        lines.emit(record("doesn't fit: %d", "text"))  # not by the logger: pytest's own handler would raise
    said = stream.getvalue().splitlines()
    assert [json.loads(each)["message"] for each in said[:3]] == ["first", "the server's", "another's"]
    assert "couldn't be made" in said[3]
    assert (lines.written, lines.dropped) == (4, 0)
    assert lines not in logging.getLogger().handlers


def test_a_flood_is_bounded_and_holds_up_nobody() -> None:
    """A pipe that nobody reads: what doesn't fit is dropped, and the end comes all the same."""
    reading, writing = os.pipe()
    began = time.monotonic()
    with open(writing, "w", buffering=1) as stream:  # noqa: PTH123 - a descriptor has no path
        with logging_to(stream, "text", "warning", most=50) as lines:
            for number in range(20_000):
                _log.warning("line %d of a flood that is long enough to fill a pipe", number)
            assert lines.dropped > 10_000
        assert time.monotonic() - began < 30.0
        threading.Thread(target=_drained, args=(reading,), daemon=True).start()


def _drained(descriptor: int) -> None:
    while os.read(descriptor, 65_536):
        pass


def test_a_full_disk_costs_lines_alone() -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    lines = Lines(stream, TextFormatter())
    lines.emit(record("lost"))
    until(lambda: lines.dropped)
    stream.full = False
    lines.emit(record("written"))
    lines.end()
    assert (lines.written, lines.dropped) == (1, 1)
    assert "written" in stream.getvalue()
