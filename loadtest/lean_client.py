"""A GET over one kept-open connection and nothing else: what a generator needs that shares the cores with its target.

No cookies, redirects, proxies, compression or TLS. Under Locust the socket is gevent's, so that waiting lets other
users run.
"""

from __future__ import annotations

import socket
from time import perf_counter
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ensemble.errors import RacksortError

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_CLOSE: Final = b"\r\nconnection: close"
_CHUNK: Final = 65_536


class Answer(NamedTuple):
    """What came back."""

    status: int
    """0 where there was no answer."""
    body: bytes
    ms: float
    """From before the request was sent to the last byte of the answer."""
    error: str = ""
    """Why there was no answer."""


class LeanClient:
    """For one user: a request at a time."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        """Nothing is connected before the first request.

        Raises:
            RacksortError: ``base_url`` isn't plain HTTP.
        """
        target = urlsplit(base_url)
        if target.scheme != "http" or not target.hostname:
            raise RacksortError(f"{base_url}: the lean client speaks plain HTTP only: --client fasthttp")
        self._address = target.hostname, target.port or 80
        self._head = f" HTTP/1.1\r\nhost: {target.netloc}\r\n\r\n".encode()
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def get(self, path: str) -> Answer:
        """Ask for ``path``. A kept connection that turns out to be closed is opened again once."""
        request = b"GET " + path.encode() + self._head
        started = perf_counter()
        try:
            kept = self._socket is not None
            try:
                status, body = self._exchange(request)
            except (ConnectionError, EOFError):
                if not kept:
                    raise
                self.close()
                status, body = self._exchange(request)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            return Answer(0, b"", (perf_counter() - started) * 1e3, type(error).__name__)
        return Answer(status, body, (perf_counter() - started) * 1e3)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes) -> tuple[int, bytes]:
        connection = self._socket
        if connection is None:
            connection = self._socket = socket.create_connection(self._address, self._timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if (sent := connection.send(request)) < len(request):  # one call for what fits, where sendall takes two
            connection.sendall(request[sent:])
        received = connection.recv(_CHUNK)
        while received and (end := received.find(_HEAD_END)) < 0:
            received += self._more(connection)
        if not received:
            raise EOFError
        head = received[: end + 2].lower()
        begin = head.index(_LENGTH) + len(_LENGTH)
        whole = end + len(_HEAD_END) + int(head[begin : head.index(b"\r", begin)])
        while len(received) < whole:
            received += self._more(connection)
        if _CLOSE in head:
            self.close()
        return int(head[9:12]), received[end + len(_HEAD_END) :]

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        data = connection.recv(_CHUNK)
        if not data:
            raise EOFError
        return data
