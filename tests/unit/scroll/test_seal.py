from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import CursorExpired, CursorInvalid
from api.scroll.seal import MAX_CARRIED, MAX_CURSOR, Seal

OLD, NEW = b"an old key of the shop", b"a newer key of the shop"
MINE = b"container and customer"


class Wall:
    def __init__(self) -> None:
        self.now = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


def seal(*keys: bytes, wall: Wall | None = None) -> Seal:
    return Seal(keys or (NEW,), ttl_s=60, now=wall or Wall())


@given(st.binary(max_size=MAX_CARRIED))
def test_what_was_sealed_is_opened_by_another_replica_and_fits(carried: bytes) -> None:
    cursor = seal().close(carried, MINE)
    assert len(cursor) <= MAX_CURSOR
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert seal().open(cursor, MINE) == carried


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    cursor = seal().close(b"what it carries", MINE)
    whole = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    forged = base64.urlsafe_b64encode(whole).decode().rstrip("=")
    with pytest.raises(CursorInvalid):  # a changed key id counts as a key that isn't used any more, which is one
        seal().open(forged, MINE)


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    with pytest.raises(CursorInvalid):
        seal().open(text, MINE)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 10, 30])
def test_a_cut_cursor_is_refused(cut: int) -> None:
    cursor = seal().close(b"what it carries", MINE)
    for part in (cursor[:-cut], cursor[cut:], cursor + "A" * cut):
        with pytest.raises(CursorInvalid):
            seal().open(part, MINE)


def test_a_cursor_of_another_scroll_is_refused_by_name() -> None:
    with pytest.raises(CursorInvalid, match="another container, category or customer") as refused:
        seal().open(seal().close(b"", MINE), b"somebody else's")
    assert refused.value.status == 400


def test_a_cursor_expires() -> None:
    wall = Wall()
    cursor = seal(wall=wall).close(b"x", MINE)
    wall.now += 60
    assert seal(wall=wall).open(cursor, MINE) == b"x"
    wall.now += 1
    with pytest.raises(CursorExpired) as refused:
        seal(wall=wall).open(cursor, MINE)
    assert refused.value.status == 410


def test_a_replica_whose_clock_is_behind_opens_it_too() -> None:
    wall = Wall()
    cursor = seal(wall=wall).close(b"x", MINE)
    wall.now -= 30
    assert seal(wall=wall).open(cursor, MINE) == b"x"


def test_keys_change_without_breaking_live_cursors() -> None:
    before, during, after = seal(OLD), seal(NEW, OLD), seal(NEW)
    old = before.close(b"x", MINE)
    assert during.open(old, MINE) == b"x"
    assert after.open(during.close(b"y", MINE), MINE) == b"y"
    with pytest.raises(CursorExpired, match="key isn't used any more"):
        after.open(old, MINE)


def test_without_keys_only_the_same_process_opens_its_cursors() -> None:
    one, other = Seal((), ttl_s=60, now=Wall()), Seal((), ttl_s=60, now=Wall())
    assert one.open(one.close(b"x", MINE), MINE) == b"x"
    with pytest.raises(CursorExpired):
        other.open(one.close(b"x", MINE), MINE)


def test_short_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        seal(b"short")
