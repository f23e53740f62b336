"""A name server that knows one name, whose addresses a test changes: what a headless Service is to a client."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Final, Self

_A: Final = 1
_TTL_S: Final = 1


class Names:
    """Answers each question about an IPv4 address with all of ``addresses``, over UDP. Use as a context manager."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4_096)
            if not question:
                return
            self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        """RFC 1035, 4.1: a header, the question as it came, then the addresses, each with a pointer to the name."""
        end = 12
        while question[end]:
            end += 1 + question[end]
        asked = question[12 : end + 5]
        (kind,) = struct.unpack("!H", question[end + 1 : end + 3])
        found = self.addresses if kind == _A else ()
        header = question[:2] + struct.pack("!HHHHH", 0x8580, 1, len(found), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, _A, 1, _TTL_S, 4) + socket.inet_aton(address) for address in found]
        return header + asked + b"".join(records)
