"""Log lines wait here for a thread that writes them. What there is no room for is dropped and counted.

Whoever logs only appends to a queue with an end: a full disk, a slow terminal or a pipe that nobody reads holds up no
request.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TextIO

from api.telemetry.log_format import JsonFormatter, TextFormatter

MOST: Final = 4_096
"""Lines that may wait; a few KiB each at most."""
LAST_LINES_S: Final = 1.0
"""For what waits when the process ends."""

OURS: Final = ("api", "ensemble", "racksort", "uvicorn")
"""Loggers that the level is for; of others, warnings and worse are told."""
_FORMATTERS: Final = {"json": JsonFormatter, "text": TextFormatter}


class Lines(logging.Handler):
    """Takes records, and has their lines written by a thread."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter, *, most: int = MOST) -> None:
        """Begin; ``most`` lines may wait for ``stream``."""
        super().__init__()
        self.written = 0
        self.dropped = 0
        """Lines there was no room for, and those that couldn't be written."""
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(most)
        self.setFormatter(formatter)
        self._thread = threading.Thread(target=self._run, name="write the log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; never waits."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a message that doesn't fit its arguments must not fail a request
            line = f"a line of the log couldn't be made: {record.name}, {record.pathname}:{record.lineno}"
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def end(self, patience_s: float = LAST_LINES_S) -> None:
        """Write what waits, for so many seconds at most. A stream that hangs doesn't hold up the end."""
        until = time.monotonic() + patience_s
        try:
            self._waiting.put(None, timeout=patience_s)
        except queue.Full:
            self.dropped += self._waiting.qsize()
            return
        self._thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._waiting.empty():
                    self._stream.flush()
                self.written += 1
            except (OSError, ValueError):  # ValueError: it is closed, or can't encode a character
                self.dropped += 1


@contextmanager
def logging_to(stream: TextIO, form: Literal["json", "text"], level: str, *, most: int = MOST) -> Iterator[Lines]:
    """While this lasts, the process's log goes to ``stream``.

    Args:
        stream: where lines go.
        form: how they look.
        level: of the project's loggers and the server's, in lower case.
        most: lines that may wait.
    """
    lines = Lines(stream, _FORMATTERS[form](), most=most)
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in OURS}
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    root.addHandler(lines)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
        for name, value in before.items():
            logging.getLogger(name).setLevel(value)
        lines.end()
