"""Load generators post JSON as they get paths."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from loadtest import closed_loop, wrk


def _recording(seen: list[bytes]) -> Callable[[socket.socket], None]:
    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            received = b""
            with connection, suppress(ConnectionError):  # a generator may hang up with a request under way
                while part := connection.recv(65_536):
                    received += part
                    if received.endswith(b"}"):
                        seen.append(received)
                        received = b""
                        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    return serve


@pytest.mark.parametrize(
    "generator",
    [closed_loop, pytest.param(wrk, marks=pytest.mark.skipif(not wrk.available(), reason="wrk isn't installed"))],
)
def test_generators_post_bodies_to_their_paths(generator) -> None:  # type: ignore[no-untyped-def]  # a module
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_recording(seen), args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        measured = generator.run(url, ["/a", "/b"], 1, 1, bodies=['{"name":"%d \\"x\\""}', '{"longer":"körper"}'])
    assert measured.errors == 0
    assert measured.requests > 2
    first, second = sorted({request.lower() for request in seen})
    assert first.startswith(b"post /a http/1.1\r\n")
    assert first.endswith(b'\r\n\r\n{"name":"%d \\"x\\""}')
    assert b"content-type: application/json\r\n" in first
    assert second.startswith(b"post /b http/1.1\r\n")
    assert second.endswith('\r\n\r\n{"longer":"körper"}'.encode())
    assert b"content-length: 20" in second
