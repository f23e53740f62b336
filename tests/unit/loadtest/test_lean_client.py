"""The lean client reads whole answers however they arrive, opens closed connections again, and says what failed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ensemble.errors import RacksortError
from loadtest.lean_client import LeanClient


@contextmanager
def answering(*connections: list[list[bytes]]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes one connection after the other, answers each request with pieces, and then closes it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answers in connections:
                peer, _ = server.accept()
                with peer:
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for pieces in answers:
                        asked.append(peer.recv(65_536))
                        for piece in pieces:
                            peer.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        thread.join(10)
        assert not thread.is_alive()


def answer(body: bytes, status: int = 200, *, header: bytes = b"Content-Length") -> bytes:
    return b"HTTP/1.1 %d Fine\r\nserver: x\r\n%s: %d\r\n\r\n%s" % (status, header, len(body), body)


def test_requests_follow_each_other_over_one_connection() -> None:
    with answering([[answer(b"one")], [answer(b"", 429)], [answer(b"x" * 200_000, header=b"content-length")]]) as (
        url,
        asked,
    ):
        client = LeanClient(url, 5.0)
        came = [client.get(path) for path in ("/a", "/b?c=d", "/e")]
        client.close()
    assert [(each.status, len(each.body), each.error) for each in came] == [
        (200, 3, ""),
        (429, 0, ""),
        (200, 200_000, ""),
    ]
    assert all(each.ms > 0 for each in came)
    assert [each.split(b"\r\n")[0] for each in asked] == [
        b"GET /a HTTP/1.1",
        b"GET /b?c=d HTTP/1.1",
        b"GET /e HTTP/1.1",
    ]
    assert f"host: {url.removeprefix('http://')}".encode() in asked[0].split(b"\r\n")


@pytest.mark.parametrize("size", [1, 7, 40])
def test_an_answer_in_pieces_is_put_together(size: int) -> None:
    whole = answer(b"0123456789" * 5)
    with answering([[whole[at : at + size] for at in range(0, len(whole), size)]]) as (url, _):
        client = LeanClient(url, 5.0)
        assert client.get("/").body == b"0123456789" * 5
        client.close()


def test_a_kept_connection_that_the_server_has_closed_is_opened_again() -> None:
    with answering([[answer(b"one")]], [[answer(b"two")]]) as (url, asked):
        client = LeanClient(url, 5.0)
        assert client.get("/").body == b"one"
        assert client.get("/again").body == b"two"
        client.close()
    assert len(asked) == 2


def test_a_connection_that_is_said_to_close_is_not_used_again() -> None:
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1"
    with answering([[closing]], [[answer(b"2")]]) as (url, _):
        client = LeanClient(url, 5.0)
        assert [client.get("/").body, client.get("/").body] == [b"1", b"2"]
        client.close()


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\n", answer(b"12345")[:-1]])
def test_an_answer_that_is_cut_is_no_answer(cut: bytes) -> None:
    with answering([[cut]]) as (url, _):
        got = LeanClient(url, 5.0).get("/")
    assert (got.status, got.body, got.error) == (0, b"", "EOFError")


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        got = LeanClient(f"http://127.0.0.1:{server.getsockname()[1]}", 0.05).get("/")
    assert (got.status, got.error) == (0, "TimeoutError")
    assert got.ms >= 50


def test_a_head_without_a_length_and_a_closed_port_are_no_answers() -> None:
    with answering([[b"HTTP/1.1 200 OK\r\n\r\n"]]) as (url, _):
        assert LeanClient(url, 5.0).get("/").error == "ValueError"
    assert LeanClient(url, 5.0).get("/").error == "ConnectionRefusedError"


def test_tls_needs_another_client() -> None:
    with pytest.raises(RacksortError, match="fasthttp"):
        LeanClient("https://127.0.0.1:1", 1.0)
