"""How a record of the log becomes a line: JSON for machines, text for people. A record is one line either way."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

import orjson

MAX_MESSAGE: Final = 4_096
"""Characters of a message; what is longer is cut."""
MAX_TRACEBACK: Final = 16_384
"""Characters of a traceback: its end, which says what happened."""
FIELDS: Final = "fields"
"""Attribute of a record with fields of its own: ``extra={FIELDS: {...}}``. No other attribute gets into a line, so that
what a library attaches can't."""


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        for name, value in _fields(record).items():
            line.setdefault(name, value)
        if traceback := _traceback(self, record):
            line["traceback"] = traceback
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half a character, or an integer of more than 64 bits
            return json.dumps({str(name): str(value) for name, value in line.items()})


class TextFormatter(logging.Formatter):
    """The same for people: fields follow the message as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback follows on lines of its own."""
        message = _cut(record.getMessage()).replace("\r", "\\r").replace("\n", "\\n")
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items() if value is not None)
        line = f"{_moment(record)} {record.levelname.lower()} {record.name}: {message}{fields}"
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, FIELDS, None)
    return fields if isinstance(fields, dict) else {}


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return formatter.formatException(record.exc_info)[-MAX_TRACEBACK:]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"
