"""Cursors as text: sealed, so that nobody but us can make one, and bound to the request they were given out for.

``key id (4 bytes) | tag (16) | scroll (8) | issued (4) | what the cursor carries``, as URL-safe base64
without padding. The tag is a
keyed BLAKE2b (RFC 7693) over all that follows it; the scroll is a keyed digest of what the cursor was given out for, so
that a cursor of another customer can be told from a forged one without the cursor saying whose it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable, Sequence
from typing import Final

from api.errors import CursorExpired, CursorInvalid

MAX_CURSOR: Final = 8_192
"""Characters."""
_KEY_ID: Final = 4
_TAG: Final = 16
_SCROLL: Final = 8
_ISSUED: Final = struct.Struct(">I")
_FIXED: Final = _KEY_ID + _TAG + _SCROLL + _ISSUED.size
MAX_CARRIED: Final = MAX_CURSOR * 3 // 4 - _FIXED
"""Bytes that a cursor can carry."""
MIN_KEY: Final = 16
"""Bytes of a key, at least."""


class Seal:
    """Seals with the first key, opens with each of them, so that keys can be changed without breaking live cursors."""

    def __init__(self, keys: Sequence[bytes], *, ttl_s: float, now: Callable[[], float]) -> None:
        """Know ``keys``.

        Args:
            keys: the newest first; without any, one is drawn that ends with the process.
            ttl_s: how long a cursor is good, seconds.
            now: Unix time; the same on all replicas.

        Raises:
            ValueError: a key is shorter than ``MIN_KEY`` bytes.
        """
        keys = keys or (secrets.token_bytes(32),)
        if any(len(key) < MIN_KEY for key in keys):
            raise ValueError(f"a key is shorter than {MIN_KEY} bytes")
        # BLAKE2b takes 64 bytes of key; longer ones count in full, too.
        hashed = [hashlib.blake2b(key, person=b"racksort cursor").digest() for key in keys]
        self._keys: Final = {hashlib.blake2b(key, digest_size=_KEY_ID).digest(): key for key in reversed(hashed)}
        self._key: Final = hashed[0]
        self._key_id: Final = hashlib.blake2b(hashed[0], digest_size=_KEY_ID).digest()
        self._ttl: Final = ttl_s
        self._now: Final = now

    def close(self, carried: bytes, scroll: bytes) -> str:
        """The cursor that carries ``carried``, at most ``MAX_CARRIED`` bytes, for the scroll that ``scroll`` names."""
        sealed = _digest(scroll, self._key, _SCROLL) + _ISSUED.pack(int(self._now()) & 0xFFFFFFFF) + carried
        return base64.urlsafe_b64encode(self._key_id + _digest(sealed, self._key, _TAG) + sealed).rstrip(b"=").decode()

    def open(self, cursor: str, scroll: bytes) -> bytes:
        """What the cursor carries.

        Raises:
            CursorInvalid: it was forged, cut, changed, or given out for another scroll.
            CursorExpired: it is too old, or its key isn't used any more.
        """
        if len(cursor) > MAX_CURSOR:
            raise CursorInvalid(f"it is longer than {MAX_CURSOR} characters")
        try:
            whole = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise CursorInvalid("it isn't URL-safe base64") from None
        if len(whole) < _FIXED:
            raise CursorInvalid("it was cut")
        key = self._keys.get(whole[:_KEY_ID])
        if key is None:
            raise CursorExpired("its key isn't used any more")
        tag, sealed = whole[_KEY_ID : _KEY_ID + _TAG], whole[_KEY_ID + _TAG :]
        if not hmac.compare_digest(tag, _digest(sealed, key, _TAG)):
            raise CursorInvalid("it was changed")
        if not hmac.compare_digest(sealed[:_SCROLL], _digest(scroll, key, _SCROLL)):
            raise CursorInvalid("it belongs to another container, category or customer")
        (issued,) = _ISSUED.unpack_from(sealed, _SCROLL)
        if self._now() - issued > self._ttl:
            raise CursorExpired(f"it is older than {self._ttl:.0f} s")
        return sealed[_SCROLL + _ISSUED.size :]


def _digest(data: bytes, key: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size, key=key).digest()
